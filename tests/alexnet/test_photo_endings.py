"""Which names are taken for photos where a folder or an archive is searched."""

import pytest

from alexnet.photo_endings import RAW_ENDINGS, READ_ENDINGS, UNREAD_ENDINGS, has_photo_ending


@pytest.mark.parametrize(
    "name",
    [
        *("a.jpg", "A.JPEG", "a.b.PnG", "deep/er/a.tif", "ü 木.gif", "IMG_0001.HEIC", "a.avif"),
        *("DSC.NEF", "a.cr2", "a.CR3", "a.dng", "a.arw", "a.orf", "a.raf", "a.rw2", "a.pef"),
        *("a.jxl", "a.jp2", "a.psd", "00000.ppm"),
    ],
)
def test_photos_are_known_by_their_ending_whether_they_are_read_or_not(name):
    assert has_photo_ending(name)


@pytest.mark.parametrize(
    "name", ["", "jpg", "a", "a.jpg/b", "a.jpg.txt", "a.xmp", "a.mov", "a.json", "a.", "a.jpg "]
)
def test_other_names_are_no_photos(name):
    assert not has_photo_ending(name)


def test_an_ending_is_read_or_not_and_is_named_once():
    every = READ_ENDINGS + UNREAD_ENDINGS
    assert len(every) == len(set(every))
    assert set(RAW_ENDINGS) < set(UNREAD_ENDINGS)
    assert all(ending.startswith(".") and ending == ending.lower() for ending in every)
