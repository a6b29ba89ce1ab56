"""Names of files and folders that lie beside photos and are none."""

import pytest

from alexnet.junk import is_junk

JUNK = (
    *("@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "@__thumb", ".@__thumb"),
    *("$RECYCLE.BIN", "$Recycle.Bin", "RECYCLER", "System Volume Information", "Thumbs.db"),
    *("desktop.ini", "__MACOSX", ".AppleDouble", ".DS_Store", "._photo.jpg", "Icon\r"),
    *(".Trash", ".Trashes", ".Trash-1000", ".thumbnails", ".ipynb_checkpoints", ".git"),
    *("lost+found", "SYNOPHOTO_THUMB_M.jpg", "SYNOFILE_THUMB_L.jpg"),
)
PHOTOS = (
    *("cat", "recycle", "Recycling bin", "trash", "thumb", "thumbnails", "eaDir", "snapshot"),
    *("photo.jpg", "@home", "#1", "$5", "_private", "n01440764", "..", ".", ""),
)


@pytest.mark.parametrize("name", JUNK)
def test_what_systems_keep_beside_photos_is_junk(name):
    assert is_junk(name)


@pytest.mark.parametrize("name", PHOTOS)
def test_names_that_people_give_are_none(name):
    assert not is_junk(name)
