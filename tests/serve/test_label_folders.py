"""Folders and globs that alexnet-label searches: any depth, no thumbnails, nothing in silence."""

import functools
import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from alexnet.photo import PhotoError
from serve.folders import LeftOut, open_at
from serve.inputs import InputError, Inputs, entries
from serve.label import main
from serve.reading import items
from serve.shards import photos_in_shard
from tests.serve.label_runs import nested, read_csv, small_photo, write_model, write_tar


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(*names):
    for name in names:
        folder = os.path.dirname(name)  # noqa: PTH120
        if folder:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        with open(name, "wb") as file:  # noqa: PTH123
            file.write(small_photo(0))


def listed(*arguments):
    left_out = LeftOut()
    return list(entries(Inputs(arguments=arguments), left_out)), left_out


def labelled(capfd, *words):
    """Exit code and standard error of the command, run in this process with the real stdout."""
    with pytest.raises(SystemExit) as ended:
        main(["--model", "model.onnx", "--threads", "1", *words], prog_name="alexnet-label")
    return ended.value.code, capfd.readouterr().err


# Depth


@pytest.fixture
def deep(tmp_path):
    """Makes folders in each other with a photo in the last; returns its path."""
    yield functools.partial(nested, tmp_path)
    # Python's own way to remove a tree recurses.
    subprocess.run(["rm", "-rf", tmp_path / "deep"], check=True)


def test_a_photo_is_found_and_read_at_any_depth(deep):
    """Deeper than Python recurses; tests/slow has five times as many folders."""
    path = deep(1100)
    assert listed("deep")[0] == listed("deep/**/*.bmp")[0] == [path]
    (item,) = items([path])
    assert item.source() == small_photo(3)


def test_a_path_may_be_longer_than_the_system_takes(tmp_path, deep):
    path = deep(40, "x" * 200)
    assert len(path) > 2 * 4096 - 200
    with pytest.raises(OSError, match="File name too long"):
        open(path, "rb")  # noqa: PTH123, SIM115
    model = write_model(tmp_path / "model.onnx")
    words = ["deep", "--model", str(model), "-o", "labels.csv", "--threads", "1"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert [(row["path"], row["status"]) for row in read_csv(tmp_path / "labels.csv")] == [
        (path, "ok")
    ]
    ((_, error),) = photos_in_shard(path.replace("photo.bmp", "none.tar"))
    assert isinstance(error, PhotoError)
    assert error.code == "missing_file"
    source = next(items([path.replace("photo", "none")])).source
    with pytest.raises(PhotoError, match="There is no file"):
        source()


def test_links_are_followed_once_round(tmp_path):
    write("a/1.bmp", "b/2.bmp")
    (tmp_path / "a" / "self").symlink_to(".")
    (tmp_path / "a" / "b").symlink_to("../b")
    (tmp_path / "b" / "a").symlink_to("../a")
    (tmp_path / "a" / "round").symlink_to("round")
    (tmp_path / "a" / "broken.jpg").symlink_to("nowhere.jpg")
    expected = ["a/1.bmp", "a/b/2.bmp", "a/broken.jpg", "b/2.bmp", "b/a/1.bmp", "b/a/broken.jpg"]
    assert listed("a", "b")[0] == expected
    photos = sorted(name for name in expected if "broken" not in name)
    assert listed("**/*.bmp")[0] == photos


# Globs, as the standard library has them, but for what is left out


@pytest.mark.parametrize(
    "pattern",
    [
        *("*.bmp", "a/*", "a/?.bmp", "*/*.bmp", "**/*.bmp", "**", "a/**", "**/b/*.bmp"),
        *("./a/*.bmp", "a//*.bmp", "a/../[ab]*", "[[]x].bmp", "a/[!1]*", "**/**/1.bmp"),
        *(".hidden/*.bmp", "a/**/", ".h*/*", "**/deeper/**/*.bmp", "a/b/../*.bmp"),
    ],
)
def test_a_glob_matches_what_the_standard_library_says(pattern):
    import glob

    write("1.bmp", "[x].bmp", "a/1.bmp", "a/2.bmp", "a/.3.bmp", "a/b/1.bmp", "a/b/deeper/4.bmp")
    write("c/b/1.txt", ".hidden/1.bmp", "b/deeper/deeper/5.bmp")
    names = {os.path.normpath(name) for name in glob.glob(pattern, recursive=True)}  # noqa: PTH207
    expected = sorted(name for name in names if not os.path.isdir(name))  # noqa: PTH112
    absolute = os.path.join(os.getcwd(), pattern)  # noqa: PTH109, PTH118
    if not expected:
        with pytest.raises(InputError, match="No file matches"):
            listed(pattern)
        return
    assert [os.path.normpath(name) for name in listed(pattern)[0]] == expected
    found = listed(absolute)[0]
    assert [os.path.relpath(name) for name in found] == expected


def test_a_folder_that_cannot_be_read_is_a_sentence_in_a_glob_as_well(monkeypatch):
    write("a/b/1.bmp")
    scandir = os.scandir

    def refused(path):
        if path == b"a/b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    for argument in ("a", "a/**/*.bmp", "a/b/*.bmp"):
        with pytest.raises(InputError, match=r"The folder a/b can't be read: Permission denied"):
            listed(argument)


# What is left out


JUNK = ("@eaDir", "#recycle", "$RECYCLE.BIN", ".Trash-1000", ".thumbnails", "__MACOSX")


@pytest.mark.parametrize("argument", ["photos", "photos/**/*.jpg", "photos/*/*.jpg"])
def test_folders_of_thumbnails_and_trash_are_left_out_and_counted(argument):
    write("photos/c/1.jpg", *(f"photos/{name}/x.jpg" for name in JUNK))
    found, left_out = listed(argument)
    assert found == ["photos/c/1.jpg"]
    assert left_out.folders == len(JUNK)


def test_what_is_named_itself_is_not_left_out():
    write("@eaDir/1.jpg", ".Trash-1/2.jpg")
    assert listed("@eaDir", ".Trash-1/2.jpg")[0] == ["@eaDir/1.jpg", ".Trash-1/2.jpg"]
    assert listed("@eaDir/*.jpg")[0] == ["@eaDir/1.jpg"]


def test_the_summary_counts_what_was_left_out_also_after_a_resume(tmp_path, capfd):
    write("photos/1.bmp", "photos/@eaDir/1.bmp/SYNO.jpg", "photos/.Trash-0/2.bmp")
    members = dict.fromkeys(("@eaDir/2.bmp/SYNO.jpg", "2.bmp", "#recycle/3.bmp"), small_photo(0))
    write_tar(tmp_path / "s.tar", members)
    write_model(tmp_path / "model.onnx")
    for output in (["-o", "labels.csv"], ["-o", "labels/"], ["-o", "labels/", "--resume"], []):
        code, error = labelled(capfd, "photos", "s.tar", *output)
        assert code == 0, error
        assert "; 4 folders left out -> " in error


def test_a_photo_without_an_ending_is_told_by_its_first_bytes():
    write("photos/1.bmp", "photos/IMG_0001", "photos/c/IMG_0002", "photos/@eaDir/IMG_0003")
    for name, data in (("README", b"no photo"), ("empty", b""), ("shot.dat", small_photo(0))):
        Path("photos", name).write_bytes(data)
    os.mkfifo("photos/pipe")
    Path("photos/link").symlink_to("nowhere")
    assert listed("photos")[0] == ["photos/1.bmp", "photos/IMG_0001", "photos/c/IMG_0002"]
    path = nested(Path(), 60, name="d" * 100)  # longer than the system takes at once
    write_at(path.replace("photo.bmp", "IMG_0004"))
    assert [name.rpartition("/")[2] for name in listed("deep")[0]] == ["IMG_0004", "photo.bmp"]


def write_at(path):
    folder, _, name = path.rpartition("/")
    above = open_at(os.fsencode(folder), os.O_RDONLY)
    with os.fdopen(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=above), "wb") as file:
        file.write(small_photo(0))
    os.close(above)


def test_what_is_called_a_photo_and_is_none_keeps_its_row():
    write("photos/1.bmp")
    os.mkfifo("photos/2.bmp")
    assert listed("photos")[0] == ["photos/1.bmp", "photos/2.bmp"]
    path = nested(Path(), 60, name="d" * 100).replace("photo.bmp", "pipe.bmp")
    folder, _, name = path.rpartition("/")
    above = open_at(os.fsencode(folder), os.O_RDONLY)
    os.mkfifo(name, dir_fd=above)
    os.close(above)
    (item,) = (one for one in items(listed("deep")[0]) if one.path == path)
    with pytest.raises(PhotoError, match=r"pipe\.bmp' is not a file\."):  # and is not waited for
        item.source()


def test_tars_in_a_folder_are_not_read_which_is_said(tmp_path, capfd):
    write("photos/1.bmp", "photos/a/s.tar", "photos/a/s.TGZ", "photos/@eaDir/s.tar")
    write_model(tmp_path / "model.onnx")
    for output in (["-o", "labels.csv"], []):
        code, error = labelled(capfd, "photos", *output)
        assert code == 0, error
        assert "Tars in folders are not read (2 here): name them by themselves" in error


@pytest.mark.parametrize("argument", ["photos", "photos/*", "file:photos"])
def test_photos_of_formats_that_are_not_read_keep_their_rows(argument, tmp_path):
    argument = argument.replace("file:photos", (tmp_path / "photos").as_uri())
    names = ["a.HEIC", "b.jxl", "c.dng", "d.CR2", "e.jpg"]
    write(*(f"photos/{name}" for name in names))
    assert [name.rpartition("/")[2] for name in listed(argument)[0]] == names


def test_stores_leave_out_and_take_the_same(tmp_path):
    write("photos/@eaDir/1.jpg", "photos/.hidden/2.jpg", "photos/c/3.nef", "photos/notes.txt")
    for end in ("", "/**", "/*/*"):
        found, left_out = listed((tmp_path / "photos").as_uri() + end)
        assert [name for name in found if "notes" not in name] == [
            (tmp_path / "photos/c/3.nef").as_uri()
        ]
        assert left_out.folders == (2 if end != "/*/*" else left_out.folders)


# Inputs without a photo


def test_an_input_without_photos_beside_others_is_told(tmp_path, capfd):
    write("photos/1.bmp")
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("path\n")
    write_model(tmp_path / "model.onnx")
    for output in (["-o", "labels.csv"], []):
        code, error = labelled(capfd, "empty", "photos", "--manifest", "table.csv", *output)
        assert code == 0, error
        assert error.count("There are no photos in empty.\n") == 1
        assert error.count("There are no photos in table.csv.\n") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["empty"], "There are no photos in empty: "),
        (["empty/*"], "No file matches empty/*."),
        (["-"], "There are no photos in the list on stdin: "),
        (["--manifest", "table.csv"], "There are no photos in table.csv: "),
        (["trash", "empty"], "There are no photos in trash, empty: "),
    ],
)
def test_a_run_without_any_photo_is_wrong_use(tmp_path, monkeypatch, capfd, words, sentence):
    (tmp_path / "empty").mkdir()
    write("trash/@eaDir/1.jpg")
    (tmp_path / "table.csv").write_text("path\n,\n")
    (tmp_path / "list").write_bytes(b"\xef\xbb\xbf\r\n\n")
    with (tmp_path / "list").open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        code, error = labelled(capfd, *words, "-o", "labels.csv")
    assert code == 2
    assert sentence in " ".join(error.split())
    names = ["empty", "list", "table.csv", "trash"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_folder_of_tars_says_how_to_name_them(tmp_path):
    (tmp_path / "tars").mkdir()
    write_tar(tmp_path / "tars" / "1.tar", {"a.bmp": small_photo(0)})
    with pytest.raises(InputError, match="tars are named by themselves"):
        listed("tars")
    assert listed("tars/*.tar")[0] == ["tars/1.tar"]
