"""Where real photos to try a model on are found, and what is left out."""

import sys

import pytest

from alexnet.errors import AlexNetError, MissingPackageError
from alexnet.sample_photos import sample_photos
from tests.photos import encode, pattern

JPEG = encode(pattern(), "JPEG")


def found(place, count=8):
    lines = []
    return [photo.name for photo in sample_photos(place, count=count, left_out=lines.append)], lines


def write(folder, *names, data=JPEG):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def test_without_a_place_they_are_scikit_learns_two_photographs():
    pair = list(sample_photos(None, count=8, left_out=pytest.fail))
    assert [photo.name for photo in pair] == ["china.jpg", "flower.jpg"]
    assert [photo.decoded.image.size for photo in pair] == [(640, 427)] * 2
    assert all(photo.path.is_file() for photo in pair)
    assert found(None, count=1)[0] == ["china.jpg"]


def test_a_folder_is_searched_at_every_depth_for_the_endings_of_photos(tmp_path):
    write(tmp_path, "b.JPG", "deep/er/a.jfif", "a.jpeg")
    write(tmp_path, "notes.txt", ".hidden.jpg", ".cache/x.jpg", data=b"no photo")
    (tmp_path / "folder.jpg").mkdir()
    names, lines = found(tmp_path)
    assert names == [str(tmp_path / name) for name in ("a.jpeg", "b.JPG", "deep/er/a.jfif")]
    assert lines == []


def test_more_photos_than_wanted_are_taken_from_the_whole_folder(tmp_path):
    write(tmp_path, *(f"{number}.jpg" for number in range(6)))
    assert found(tmp_path, count=2)[0] == [str(tmp_path / "0.jpg"), str(tmp_path / "3.jpg")]


def test_others_stand_in_for_bad_photos_until_there_are_as_many_as_wanted(tmp_path):
    write(tmp_path, "1.jpg", "2.jpg", "4.jpg", "5.jpg")
    write(tmp_path, "0.jpg", "3.jpg", data=b"no photo")  # those that two of six are
    names, lines = found(tmp_path, count=2)
    assert names == [str(tmp_path / "1.jpg"), str(tmp_path / "2.jpg")]
    assert [line.split(":")[0] for line in lines] == [
        f"Left out {tmp_path / name}" for name in ("0.jpg", "3.jpg")
    ]
    assert len(found(tmp_path, count=5)[0]) == 4


def test_a_bad_photo_of_a_folder_is_left_out_with_a_sentence(tmp_path):
    write(tmp_path, "a.jpg", "c.jpg")
    write(tmp_path, "b.jpg", data=JPEG[: len(JPEG) // 2])
    names, lines = found(tmp_path)
    assert names == [str(tmp_path / "a.jpg"), str(tmp_path / "c.jpg")]
    assert lines == [
        f"Left out {tmp_path / 'b.jpg'}: This JPEG file breaks off: "
        "a part of the picture is missing."
    ]


def test_a_folder_of_bad_photos_alone_says_so(tmp_path):
    write(tmp_path, "a.jpg", "b.png", "c.gif", data=b"no photo")
    with pytest.raises(AlexNetError) as error:
        found(tmp_path)
    assert str(error.value) == f"No photo in {tmp_path} can be read (3 tried)."


def test_a_photo_is_taken_whatever_its_name_and_a_bad_one_is_an_error(tmp_path):
    write(tmp_path, "photo.dat")
    assert found(tmp_path / "photo.dat")[0] == [str(tmp_path / "photo.dat")]
    write(tmp_path, "bad.jpg", data=b"")
    with pytest.raises(AlexNetError, match=r"bad\.jpg: The file is empty"):
        found(tmp_path / "bad.jpg")


def test_a_place_without_photos_is_an_error(tmp_path):
    with pytest.raises(AlexNetError, match="There are no photos in"):
        found(tmp_path)
    with pytest.raises(AlexNetError, match=r"There is no .*nowhere: name a photo"):
        found(tmp_path / "nowhere")


def test_without_scikit_learn_the_sentence_names_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingPackageError, match=r"name some.*'\.\[demo\]'"):
        found(None)
