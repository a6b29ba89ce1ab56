"""Which folders `prepare` takes for splits and which for classes, in folders and in tars alike."""

import io
import os
import tarfile
import unicodedata

import pytest

from alexnet.errors import AlexNetError
from tests.photos import encode, pattern
from tests.train.folders import archive, pets, write
from train.catalogue import make_catalogue
from train.layout import role_of
from train.listing import Listing
from train.sources import add_file, open_source

PHOTO = encode(pattern())


def catalogue(place, **options):
    return make_catalogue(open_source(str(place), spool=place.parent / ".spool"), **options)


@pytest.fixture(params=["folder", "tar", "tar.gz"])
def place(request, tmp_path):
    """Puts {path: bytes} into a folder or an archive."""

    def put(files, entries=()):
        if request.param == "folder":
            (tmp_path / "set").mkdir(exist_ok=True)
            return write(tmp_path / "set", files)
        return archive(tmp_path / f"set.{request.param}", files, entries=entries)

    return put


def classes(found):
    return [label.wnid for label in found.labels]


def names(found, split):
    return {item.member.name.partition("/")[2] for item in found.splits[split]}


# Names of splits


@pytest.mark.parametrize(
    ("role", "folders"),
    [
        ("train", "train Train TRAIN training training_set train-set trainset TrainSet train_data"),
        ("train", "images_train train_images training-data"),
        ("val", "val Val valid Valid validation Validation_Set val_set valset eval Evaluation dev"),
        ("test", "test Test testing test_set testset TestData test-images"),
        (None, "cat trainer test_tube bullet_train train2017 val_1 testimony devil evaluate set"),
        (None, "train_test images 2020 n01440764"),
    ],
)
def test_splits_are_told_by_the_names_people_give_them(role, folders):
    assert {folder: role_of(folder) for folder in folders.split()} == dict.fromkeys(
        folders.split(), role
    )


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "valid", "test"),
        ("Train", "Valid", "Test"),
        ("training", "validation", "testing"),
        ("training_set", "dev", "test_set"),
        ("TRAIN", "eval", "TEST"),
    ],
)
def test_three_splits_give_training_and_validation_photos_and_say_what_is_not_used(
    place, train, val, test
):
    files = pets(3, prefix=f"{train}/") | pets(2, prefix=f"{val}/") | pets(1, prefix=f"{test}/")
    found = catalogue(place(files))
    assert classes(found) == ["cat", "dog"]
    assert (names(found, "train"), names(found, "val")) == (set(pets(3)), set(pets(2)))
    assert found.passed_over.unused == {test: 2}
    assert found.rejected == ()


@pytest.mark.parametrize(
    ("train", "test"), [("Train", "Test"), ("training", "testing"), ("training_set", "test_set")]
)
def test_without_a_validation_split_the_test_split_serves(place, train, test, capsys):
    found = catalogue(place(pets(3, prefix=f"{train}/") | pets(1, prefix=f"{test}/")))
    assert (names(found, "train"), names(found, "val")) == (set(pets(3)), set(pets(1)))
    assert found.passed_over.unused == {}
    assert f"no validation photos: those of {test}/ serve as such" in capsys.readouterr().err


def test_the_names_of_the_splits_do_not_matter_for_the_data_set(tmp_path):
    write(tmp_path / "a", pets(3, prefix="train/") | pets(1, prefix="val/"))
    write(tmp_path / "b", pets(3, prefix="Training_Set/") | pets(1, prefix="dev/"))
    assert catalogue(tmp_path / "a").digest() == catalogue(tmp_path / "b").digest()


@pytest.mark.parametrize("top", ["", "set/", "a/b/"])
def test_a_picture_beside_the_splits_is_left_out_and_named(place, top):
    files = pets(3, prefix=f"{top}train/") | pets(2, prefix=f"{top}val/")
    found = catalogue(place(files | {f"{top}overview.png": PHOTO}))
    assert classes(found) == ["cat", "dog"]
    assert names(found, "val") == set(pets(2))
    assert [(row.name, row.code) for row in found.rejected] == [(f"{top}overview.png", "no_class")]


def test_a_picture_beside_a_folder_of_classes_is_left_out_and_named(place):
    found = catalogue(place(pets(3, prefix="set/") | {"set/overview.png": PHOTO}))
    assert classes(found) == ["cat", "dog"]
    assert [row.name for row in found.rejected] == ["set/overview.png"]


def test_a_split_may_lie_in_a_folder_of_its_own_name(place):
    files = pets(3, prefix="training_set/training_set/") | pets(2, prefix="test_set/test_set/")
    found = catalogue(place(files))
    assert classes(found) == ["cat", "dog"]
    assert (len(found.splits["train"]), len(found.splits["val"])) == (6, 4)


def test_flat_test_photos_are_listed_as_left_out_and_the_rest_is_used(place):
    files = pets(20, prefix="train/") | {f"test/{number}.jpg": PHOTO for number in range(3)}
    found = catalogue(place(files))
    assert (len(found.splits["train"]), len(found.splits["val"])) == (36, 4)
    assert [(row.name, row.code) for row in found.rejected] == [
        (f"test/{number}.jpg", "no_class") for number in range(3)
    ]


def test_test_photos_in_a_folder_of_no_class_are_not_used(place):
    files = pets(20, prefix="train/") | {f"test/unknown/{n}.jpg": PHOTO for n in range(3)}
    found = catalogue(place(files))
    assert len(found.splits["val"]) == 4
    assert found.passed_over.unused == {"test": 3}


@pytest.mark.parametrize(
    ("train", "val"), [("Train.tar", "Valid.tar.gz"), ("train.tar.xz", "dev.tbz2")]
)
def test_a_folder_may_hold_an_archive_for_each_split_and_one_for_none(tmp_path, train, val):
    archive(tmp_path / train, pets(3, prefix="set/"))
    archive(tmp_path / val, pets(2))
    archive(tmp_path / "TEST.tar", pets(1))
    found = catalogue(tmp_path)
    assert (names(found, "train"), names(found, "val")) == (set(pets(3)), set(pets(2)))
    assert found.passed_over.unused == {"TEST": 2}


def test_one_split_may_be_an_archive_and_the_other_a_folder(tmp_path):
    archive(tmp_path / "train.tar", pets(3))
    write(tmp_path / "val", pets(2))
    assert names(catalogue(tmp_path), "val") == set(pets(2))


@pytest.mark.parametrize("beside", ["train", "training.tar.gz"])
def test_one_split_twice_is_a_sentence(tmp_path, beside):
    archive(tmp_path / "train.tar", pets(3))
    if beside == "train":
        write(tmp_path / "train", pets(3))
    else:
        archive(tmp_path / beside, pets(3))
    with pytest.raises(AlexNetError, match=r"holds train.* and train.*: keep one"):
        catalogue(tmp_path)


def test_validation_photos_from_elsewhere_leave_those_that_are_here_unused_and_say_so(tmp_path):
    write(tmp_path / "set", pets(3, prefix="train/") | pets(2, prefix="val/"))
    write(tmp_path / "more", pets(4, prefix="train/") | pets(1, prefix="valid/"))
    source, val = (open_source(str(tmp_path / name), spool=tmp_path) for name in ("set", "more"))
    found = make_catalogue(source, val_source=val)
    assert names(found, "val") == set(pets(1))
    assert found.passed_over.unused == {"val": 4, "more/train": 8}


# What looks like splits and is not clear


def both(first, second):
    return pets(2, prefix=f"{first}/") | pets(2, prefix=f"{second}/")


UNCLEAR = {
    "no training photos": both("val", "test"),
    "two folders for one split": both("train", "val") | pets(2, prefix="valid/"),
    "splits with numbers": both("train1", "test1"),
    "splits in other words": both("my_train_v2", "my_test_v2"),
    "flat splits with years": {
        f"{name}2017/{n}.png": PHOTO for name in ("train", "val") for n in "12"
    },
    "splits and classes": both("train", "val") | {"owl/1.png": PHOTO, "elk/1.png": PHOTO},
    "a split beside classes": pets(2) | {"test/1.png": PHOTO},
    "folds": both("fold1", "fold2"),
    "splits in each class": both("cats/train", "cats/test") | both("dogs/train", "dogs/test"),
    "splits in splits": both("data/train/train", "data/train/test") | pets(2, prefix="data/val/"),
    "folds in a split": both("train/fold1", "train/fold2") | pets(1, prefix="val/"),
    "all of it beside its parts": pets(2) | pets(2, prefix="all/"),
}


@pytest.mark.parametrize("kind", UNCLEAR)
def test_a_layout_that_is_not_clear_is_refused_with_what_was_seen(place, kind):
    with pytest.raises(AlexNetError, match=r"holds .*/.*is not clear: .*--layout classes") as error:
        catalogue(place(UNCLEAR[kind]))
    top = next(iter(UNCLEAR[kind])).split("/")[0]
    assert f"{top}/" in str(error.value) or top == "data"


def test_the_way_out_for_classes_with_folders_in_a_split_makes_no_classes_of_splits(tmp_path):
    """--layout classes alone would take train/ and val/ for them."""
    sides = [(name, side) for name in ("cat", "dog") for side in ("back", "front")]
    for split in ("train", "val"):
        files = {f"{split}/{name}/{side}/{split}.png": PHOTO for name, side in sides}
        write(tmp_path, files)
    with pytest.raises(AlexNetError, match="give train/ itself, the validation photos as --val"):
        catalogue(tmp_path)
    val = open_source(str(tmp_path / "val"), spool=tmp_path / ".spool")
    found = catalogue(tmp_path / "train", val_source=val, as_classes=True)
    assert (classes(found), len(found.splits["train"])) == (["cat", "dog"], 4)


@pytest.mark.parametrize("kind", ["no training photos", "folds", "a split beside classes"])
def test_layout_classes_takes_the_top_folders_for_classes(place, kind):
    found = catalogue(place(UNCLEAR[kind]), as_classes=True)
    assert classes(found) == sorted({path.split("/")[0] for path in UNCLEAR[kind]})


@pytest.mark.parametrize(
    "files",
    [
        {f"{name}/{n}.png": PHOTO for name in ("train", "car", "bus") for n in range(2)},
        {f"{name}/{n}.png": PHOTO for name in ("steam_train", "bullet_train") for n in range(2)},
        {f"{name}/{n}.png": PHOTO for name in ("test_tube", "flask") for n in range(2)},
        {f"{name}/images/{n}.png": PHOTO for name in ("n01440764", "n01443537") for n in range(2)},
        {"cat/indoors/1.png": PHOTO, "cat/garden/1.png": PHOTO, "dog/street/1.png": PHOTO},
    ],
    ids=["train, the vehicle", "two trains", "test tubes", "one folder in each", "others in each"],
)
def test_classes_stay_classes(place, files):
    found = catalogue(place(files), val_fraction=0)
    assert classes(found) == sorted({path.split("/")[0] for path in files})
    assert len(found.splits["train"]) == len(files)


# What is counted


def test_folders_of_thumbnails_and_trash_are_left_out_and_counted(place):
    junk = ("@eaDir/cat/SYNOPHOTO_THUMB_M.jpg", "cat/@eaDir/0.jpg/SYNOPHOTO_THUMB_M.jpg")
    junk += ("#recycle/1.jpg", "$RECYCLE.BIN/S-1-5/1.jpg", ".Trash-1000/files/1.jpg")
    junk += ("dog/.thumbnails/1.jpg", "__MACOSX/dog/._1.jpg", ".ipynb_checkpoints/1.jpg")
    found = catalogue(place(pets() | dict.fromkeys(junk, PHOTO)), val_fraction=0)
    assert classes(found) == ["cat", "dog"]
    assert names(found, "train") == set(pets())
    assert found.passed_over.junk_folders == 8
    assert "8 folders of thumbnails, trash or hidden files" in found.passed_over.sentence()


def test_hidden_photos_archives_and_other_files_are_counted(place):
    more = {"cat/._1.jpg": b"x", "cat/.hidden.png": PHOTO, ".DS_Store": b"x", "cat/Thumbs.db": b"x"}
    more |= {"notes.txt": b"x", "cat/box.xml": b"x", "dog/old.zip": b"PK", "cat/0.json": b"{}"}
    found = catalogue(place(pets() | more), val_fraction=0)
    assert found.rejected == ()
    assert found.passed_over.to_dict() == {
        "unused_photos": {},
        "empty_class_folders": 0,
        "junk_folders": 0,
        "hidden_photos": 2,
        "archives": 1,
        "other_files": 3,
    }


def folder_entry(name):
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE
    return entry


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_class_folders_without_photos_are_counted_and_named(place, tmp_path, prefix):
    files = pets(prefix=prefix) | {f"{prefix}owl/readme.txt": b"none yet"}
    if prefix:
        files |= pets(1, prefix="val/")
    source = place(files, entries=[folder_entry(f"{prefix}elk")])
    if source.is_dir():
        (source / f"{prefix}elk").mkdir()
    found = catalogue(source)
    assert classes(found) == ["cat", "dog"]
    assert [path.rpartition("/")[2] for path in found.passed_over.empty_class_folders] == [
        "elk",
        "owl",
    ]
    assert "2 class folders without photos" in found.passed_over.sentence()


def test_nothing_is_said_where_nothing_is_passed_over(place):
    assert catalogue(place(pets())).passed_over.sentence() == ""


def test_photos_of_formats_that_are_not_read_are_listed_like_any_other(place):
    files = pets() | {f"owl/1.{ending}": b"x" for ending in ("heic", "jxl", "dng", "NEF", "avif")}
    found = catalogue(place(files), val_fraction=0)
    assert classes(found) == ["cat", "dog", "owl"]
    assert len(names(found, "train")) == len(files)


def test_photos_without_an_ending_are_told_by_their_bytes(place):
    files = {f"{name}/{number}": PHOTO for name in ("cat", "dog") for number in range(3)}
    found = catalogue(place(files | {"cat/LICENSE": b"Do as you like."}), val_fraction=0)
    assert names(found, "train") == set(files)
    assert found.passed_over.other_files == 1


# Names that are nearly the same


def test_an_accent_may_be_encoded_in_two_ways(place):
    one, two = (unicodedata.normalize(form, "kätzchen") for form in ("NFC", "NFD"))
    files = {f"train/{one}/{n}.png": PHOTO for n in range(3)} | pets(1, prefix="train/")
    files |= {f"val/{two}/1.png": PHOTO}
    found = catalogue(place(files))
    assert names(found, "val") == {f"{one}/1.png"}


def test_both_ways_among_the_validation_photos_are_a_sentence(tmp_path):
    one, two = (unicodedata.normalize(form, "kätzchen") for form in ("NFC", "NFD"))
    files = {f"train/{one}/1.png": PHOTO} | pets(1, prefix="train/")
    files |= {f"val/{one}/1.png": PHOTO, f"val/{two}/1.png": PHOTO}
    with pytest.raises(AlexNetError, match="have validation photos but no training photos"):
        catalogue(write(tmp_path / "set", files))


def test_classes_that_differ_by_case_only_stay_two_with_a_warning(place, capsys):
    files = {f"{name}/{n}.png": PHOTO for name in ("A", "a", "b") for n in range(2)}
    assert classes(catalogue(place(files), val_fraction=0)) == ["A", "a", "b"]
    assert "class folders A and a differ only by case" in capsys.readouterr().err


def test_photos_with_names_that_are_no_text_are_taken(tmp_path):
    write(tmp_path, pets(1))
    try:
        (tmp_path / os.fsdecode(b"cat/\xff.png")).write_bytes(PHOTO)
    except OSError:
        pytest.skip("this disk takes names in UTF-8 only")
    found = catalogue(tmp_path, val_fraction=0)
    assert os.fsdecode(b"cat/\xff.png") in names(found, "train")
    assert len(found.digest()) == 64


# Links


def link(name, target, kind=tarfile.SYMTYPE):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_links_in_an_archive_give_the_bytes_that_they_lead_to(tmp_path, ending):
    entries = [
        link("dog/hard.png", "cat/000.png", tarfile.LNKTYPE),
        link("dog/soft.png", "../cat/001.png"),
        link("dog/chain.png", "soft.png"),
        link("dog/annex.png", "../.git/annex/key.png"),
        link("owl/1.png", "../cat/002.png"),
    ]
    files = pets(3) | {".git/annex/key.png": PHOTO}
    found = catalogue(archive(tmp_path / f"set.{ending}", files, entries=entries), val_fraction=0)
    regions = {
        item.member.name.partition("/")[2]: item.member[1:] for item in found.splits["train"]
    }
    assert regions["dog/hard.png"] == regions["cat/000.png"]
    assert regions["dog/soft.png"] == regions["dog/chain.png"] == regions["cat/001.png"]
    assert regions["owl/1.png"] == regions["cat/002.png"]
    assert regions["dog/annex.png"][2] == len(PHOTO)
    assert (len(regions), found.rejected) == (11, ())


def test_links_that_lead_nowhere_or_to_folders_are_left_out_and_listed(tmp_path):
    entries = [
        link("dog/away.png", "/etc/passwd"),
        link("dog/nowhere.png", "../cat/999.png"),
        link("dog/itself.png", "itself.png"),
        link("owl", "cat"),
        link("cat/readme.txt", "nowhere.txt"),
    ]
    found = catalogue(archive(tmp_path / "set.tar", pets(3), entries=entries), val_fraction=0)
    assert classes(found) == ["cat", "dog"]
    assert [(row.name, row.code) for row in found.rejected] == [
        ("dog/away.png", "not_a_file"),
        ("dog/itself.png", "not_a_file"),
        ("dog/nowhere.png", "not_a_file"),
        ("owl", "not_a_file"),
    ]


def test_a_file_that_vanishes_while_a_folder_is_listed_is_left_out_and_listed(tmp_path):
    write(tmp_path, {"1.png": PHOTO})
    with os.scandir(tmp_path) as entries:
        entry = next(entries)
    (tmp_path / "1.png").unlink()
    listing = Listing()
    add_file(listing, entry, "cat/1.png")
    assert [(row.name, row.code) for row in listing.rejected] == [("cat/1.png", "not_a_file")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_an_error(tmp_path):
    write(tmp_path, pets(2))
    (tmp_path / "cat").chmod(0)
    with pytest.raises(PermissionError, match="cat"):
        catalogue(tmp_path)


def test_a_link_to_itself_on_the_disk_is_left_out_and_listed(tmp_path):
    write(tmp_path, pets(2))
    (tmp_path / "cat" / "loop.png").symlink_to("loop.png")
    found = catalogue(tmp_path, val_fraction=0)
    assert [(row.name, row.code) for row in found.rejected] == [("cat/loop.png", "not_a_file")]


# Tars


def inner(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def test_tars_may_lie_in_tars_in_tars(tmp_path):
    both = {f"{name}.tar": inner({"1.png": PHOTO, "2.png": PHOTO}) for name in ("cat", "dog")}
    archive(tmp_path / "set.tar", {"train.tar": inner(both), "val.tar": inner(both)})
    found = catalogue(tmp_path / "set.tar")
    assert (
        names(found, "train")
        == names(found, "val")
        == {f"{name}/{number}.png" for name in ("cat", "dog") for number in (1, 2)}
    )


def test_a_packed_tar_in_a_tar_is_a_sentence(tmp_path):
    archive(tmp_path / "dog.tar.gz", {"1.png": PHOTO})
    packed = (tmp_path / "dog.tar.gz").read_bytes()
    archive(tmp_path / "set.tar", {"cat.tar": inner({"1.png": PHOTO}), "dog.tar.gz": packed})
    with pytest.raises(AlexNetError, match=r"in dog\.tar\.gz: it is packed with gzip: unpack it"):
        catalogue(tmp_path / "set.tar")


@pytest.mark.parametrize("name", ["set.tar", "set.tar.gz", "set.tar.bz2", "set.tar.xz", "set.bin"])
@pytest.mark.parametrize("packing", ["tar", "gz", "bz2", "xz"])
def test_a_tar_is_read_whatever_its_name_says(tmp_path, name, packing):
    archive(tmp_path / f"real.{packing}", pets(3)).rename(tmp_path / name)
    assert names(catalogue(tmp_path / name, val_fraction=0), "train") == set(pets(3))


def test_tars_behind_each_other_give_the_photos_of_both(tmp_path):
    data = inner(pets(2, prefix="one/")) + inner(pets(3, prefix="one/"))
    write(tmp_path, {"set.tar": data})
    assert names(catalogue(tmp_path / "set.tar", val_fraction=0), "train") == set(pets(3))


@pytest.mark.parametrize("magic", [b"\x28\xb5\x2f\xfd", b"PK\x03\x04"])
def test_an_archive_that_is_not_read_is_a_sentence(tmp_path, magic):
    write(tmp_path, {"set.tar.zst": magic + bytes(5000)})
    with pytest.raises(
        AlexNetError, match=r"set\.tar\.zst can't be read: it is packed with .*unpack"
    ):
        catalogue(tmp_path / "set.tar.zst")


def test_archives_that_are_not_read_are_named_where_there_are_no_photos(tmp_path):
    write(tmp_path / "set", {"cats.tar": inner({"1.png": PHOTO}), "dogs.zip": b"PK"})
    with pytest.raises(AlexNetError, match=r"Not used: 2 archives \(cats\.tar, dogs\.zip\)\.$"):
        catalogue(tmp_path / "set")


def test_an_archive_of_a_class_that_is_packed_is_a_sentence(tmp_path):
    write(tmp_path / "set", pets(2))
    archive(tmp_path / "set" / "n01440764.tar.gz", {"1.png": PHOTO})
    with pytest.raises(AlexNetError, match=r"n01440764\.tar\.gz is compressed: unpack it"):
        catalogue(tmp_path / "set")
