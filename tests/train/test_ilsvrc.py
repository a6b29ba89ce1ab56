"""ImageNet's own archives: tars in a tar, flat validation photos, and the development kit."""

import io
import json
import shutil
import sys
import tarfile

import numpy as np
import pytest
import scipy.io

from alexnet.errors import AlexNetError
from tests.photos import encode, pattern
from tests.train.conftest import run
from tests.train.folders import archive, contents, make, write
from train.ilsvrc import read_devkit
from train.sources import open_source

WNIDS = ("n02099601", "n01440764", "n01484850", "n01443537")
"""The classes in the order of their ILSVRC2012_ID, from 1 on: not that of their names."""
TRUTH = (2, 4, 1, 3, 2, 1, 4, 3)
"""The ILSVRC2012_ID of each validation photo."""
TRAIN, VAL = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
KIT = "ILSVRC2012_devkit_t12"


def tar(files, format=tarfile.GNU_FORMAT):
    """The bytes of a tar of {path: bytes}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as file:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def train_photos(count=6, wnids=WNIDS, size=(40, 30)):
    """{wnid: {file name: bytes}}."""
    return {
        wnid: {
            f"{wnid}_{9 * number + 7}.JPEG": encode(
                pattern(*size, seed=97 * place + number), "JPEG"
            )
            for number in range(count)
        }
        for place, wnid in enumerate(wnids)
    }


def val_photos(count=8):
    """{file name: bytes}, the number 1 first."""
    return {
        f"ILSVRC2012_val_{number:08}.JPEG": encode(pattern(30, 40, seed=5000 + number), "JPEG")
        for number in range(1, count + 1)
    }


def meta(rows):
    """A meta.mat of (ID, wnid, words, number of children)."""
    names = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children")
    names += ("wordnet_height", "num_train_images")
    table = np.empty((len(rows), 1), dtype=[(name, object) for name in names])
    for place, (number, wnid, words, children) in enumerate(rows):
        numbers = np.arange(1.0, children + 1)
        row = (float(number), wnid, words, "a gloss", float(children), numbers)
        table[place, 0] = (*row, float(children > 0), 6.0)
    out = io.BytesIO()
    scipy.io.savemat(out, {"synsets": table}, do_compression=True)
    return out.getvalue()


def synsets(wnids=WNIDS, words="word, other word"):
    """The classes, and behind them the groups that hold them."""
    leaves = [(number, wnid, words, 0) for number, wnid in enumerate(wnids, start=1)]
    groups = [(len(wnids) + 1, "n00001740", "entity", 2), (len(wnids) + 2, "n00021939", "thing", 3)]
    return leaves + groups


def devkit(truth=TRUTH, rows=None):
    """The files of the development kit."""
    lines = "".join(f"{line}\n" for line in truth)
    return {
        f"{KIT}/readme.txt": b"Read me.",
        f"{KIT}/data/ILSVRC2012_validation_ground_truth.txt": lines.encode(),
        f"{KIT}/data/meta.mat": meta(synsets() if rows is None else rows),
    }


def published(folder, *, train=None, val=None, kit=None):
    """A folder with the three archives."""
    folder.mkdir(parents=True)
    train = train_photos() if train is None else train
    write(folder, {TRAIN: tar({f"{wnid}.tar": tar(files) for wnid, files in train.items()})})
    write(folder, {VAL: tar(val_photos() if val is None else val)})
    archive(folder / f"{KIT}.tar.gz", devkit() if kit is None else kit)
    return folder


def unpacked(folder):
    """The same photos in class folders."""
    for wnid, files in train_photos().items():
        write(folder / "train" / wnid, files)
    for number, (name, data) in zip(TRUTH, val_photos().items(), strict=True):
        write(folder / "val" / WNIDS[number - 1], {name: data})
    return folder


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    return published(tmp_path_factory.mktemp("published") / "imagenet")


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    """The data set that the photos in class folders are made into."""
    folder = tmp_path_factory.mktemp("unpacked")
    make(unpacked(folder / "imagenet"), folder / "data")
    return contents(folder / "data")


def without_source(files):
    """The data set but for the name of its source."""
    facts = json.loads(files["dataset.json"])
    facts.pop("source")
    return files | {"dataset.json": facts}


# What is read


def test_the_three_archives_give_the_bytes_of_class_folders(tmp_path, imagenet, wanted):
    done = run("prepare", imagenet, tmp_path / "data", "--size", 16)
    assert contents(tmp_path / "data") == wanted
    counts = json.loads(done.stdout)
    assert (counts["train"], counts["val"], counts["classes"], counts["left_out"]) == (24, 8, 4, 0)


def test_the_folders_of_another_layout_mean_nothing(tmp_path, wanted):
    folder = tmp_path / "imagenet" / "ILSVRC" / "Data" / "CLS-LOC"
    for wnid, files in train_photos().items():
        write(folder / "train" / wnid, files)
    write(folder / "val", val_photos())
    archive(tmp_path / "kit.tar.gz", devkit())
    make(tmp_path / "imagenet", tmp_path / "data", devkit=tmp_path / "kit.tar.gz")
    assert contents(tmp_path / "data") == wanted


@pytest.mark.parametrize("kit", [f"{KIT}.tar.gz", KIT, "."])
def test_the_archives_may_be_named_one_by_one(tmp_path, imagenet, wanted, kit):
    place = write(tmp_path / "kit", devkit())
    shutil.copy(imagenet / f"{KIT}.tar.gz", place)
    options = ("--val", imagenet / VAL, "--devkit", place / kit, "--size", 16)
    run("prepare", imagenet / TRAIN, tmp_path / "data", *options)
    assert without_source(contents(tmp_path / "data")) == without_source(wanted)


def test_a_validation_photo_has_the_class_of_the_line_of_its_number(tmp_path, imagenet):
    data = make(imagenet, tmp_path / "data", size=30)
    assert [label.wnid for label in data.labels] == sorted(WNIDS)
    assert data.labels[0].name == "tench"
    # By hand: IDs 2 4 1 3 are tench, goldfish, golden retriever and shark, 0 1 3 2 by wnid; the
    # photos 1 5, 2 7, 4 8, 3 6 follow each other, sorted by class and name.
    val = data.split("val")
    assert val.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    ours = val.photos(range(8)).astype(int)
    for photo, number in zip(ours, (1, 5, 2, 7, 4, 8, 3, 6), strict=True):
        picture = np.asarray(pattern(30, 40, seed=5000 + number).crop((0, 5, 30, 35))).astype(int)
        assert np.abs(photo - picture).mean() < 4


def test_members_are_regions_of_the_outer_archive(tmp_path, imagenet):
    source = open_source(str(imagenet), spool=tmp_path)
    assert source.spools == []
    files = {name: data for photos in train_photos().values() for name, data in photos.items()}
    assert len(source.members) == 24 + 8
    for member in source.members:
        with open(member.path, "rb") as file:  # noqa: PTH123
            file.seek(member.offset)
            assert file.read(member.length) == (files | val_photos())[member.name.split("/")[-1]]
    assert {member.path for member in source.members} == {
        str(imagenet / TRAIN),
        str(imagenet / VAL),
    }


@pytest.mark.parametrize("name", ["train.tar", "train.tar.gz"])
def test_an_archive_of_archives_is_one_of_class_folders(tmp_path, name):
    nested, plain = {}, {}
    for wnid, files in train_photos().items():
        nested[f"./{wnid}.tar"] = tar({f"./{file}": data for file, data in files.items()})
        plain |= {f"{wnid}/{file}": data for file, data in files.items()}
    for folder, files in (("nested", nested), ("plain", plain)):
        (tmp_path / folder).mkdir()
        archive(tmp_path / folder / name, files)
        make(tmp_path / folder / name, tmp_path / folder / "data")
    assert contents(tmp_path / "nested" / "data") == contents(tmp_path / "plain" / "data")


def test_class_archives_in_a_folder_are_class_folders(tmp_path, wanted):
    folder = unpacked(tmp_path / "imagenet")
    for wnid, files in train_photos().items():
        shutil.rmtree(folder / "train" / wnid)
        write(folder / "train", {f"{wnid}.tar": tar(files)})
    make(folder, tmp_path / "data")
    assert contents(tmp_path / "data") == wanted


def test_only_archives_called_after_a_wnid_count_in_a_folder(tmp_path, wanted):
    folder = unpacked(tmp_path / "imagenet")
    write(folder, {"backup.tar": tar({"a/1.jpg": b"x"}), "train/photos.tar": b"no tar at all"})
    make(folder, tmp_path / "data")
    assert contents(tmp_path / "data") == wanted


def test_a_flat_folder_of_validation_photos_gets_its_classes_too(tmp_path, wanted):
    folder = unpacked(tmp_path / "imagenet")
    shutil.rmtree(folder / "val")
    write(folder, {f"val/{name}": data for name, data in val_photos().items()} | devkit())
    make(folder, tmp_path / "data")
    assert contents(tmp_path / "data") == wanted


def test_validation_photos_in_class_folders_of_any_name_need_no_devkit(tmp_path):
    photos = list(val_photos().items())
    for folder, files in (("real", photos[:4]), ("drawn", [(f"{n}.jpg", b"x") for n in range(4)])):
        write(tmp_path / "src" / folder, dict(files))
    write(tmp_path / "two" / "train" / "cat", dict(photos[:2]))
    write(tmp_path / "two" / "train" / "dog", dict(photos[2:4]))
    write(tmp_path / "two" / "val" / "cat", dict(photos[4:5]))
    write(tmp_path / "two" / "val" / "dog", dict(photos[5:6]))
    assert len(make(tmp_path / "src", tmp_path / "1").labels) == 2
    data = make(tmp_path / "two", tmp_path / "2")
    assert (data.count("train"), data.count("val")) == (4, 2)


def test_an_archive_and_a_folder_may_each_hold_a_split(tmp_path, wanted):
    folder = published(tmp_path / "imagenet")
    unpacked(folder)
    (folder / VAL).unlink()
    shutil.rmtree(folder / "train")
    make(folder, tmp_path / "data")
    assert contents(tmp_path / "data") == wanted


def test_a_folder_around_the_validation_photos_means_nothing(tmp_path, wanted):
    photos = {f"./val/{name}": data for name, data in val_photos().items()}
    make(published(tmp_path / "imagenet", val=photos), tmp_path / "data")
    assert contents(tmp_path / "data") == wanted


def test_the_training_archive_alone_has_a_part_set_aside(tmp_path, imagenet):
    data = make(imagenet / TRAIN, tmp_path / "data")
    assert (data.count("train"), data.count("val")) == (20, 4)


def test_classes_that_are_not_on_the_list_are_called_as_the_devkit_says(tmp_path):
    wnids = ("n99999999", *WNIDS[1:])
    kit = devkit(rows=synsets(wnids, words="some\tcreature,  odd one"))
    folder = published(tmp_path / "imagenet", train=train_photos(2, wnids), kit=kit)
    names = [label.name for label in make(folder, tmp_path / "data").labels]
    assert names[0] == "tench"
    assert names[3] == "some creature, odd one"


def test_a_validation_photo_without_a_number_is_left_out_and_listed(tmp_path, imagenet, wanted):
    extra = {"ILSVRC2012_val_one.JPEG": b"x", "cat.jpg": b"x", "readme.txt": b"x"}
    make(published(tmp_path / "imagenet", val=val_photos() | extra), tmp_path / "data")
    made = contents(tmp_path / "data")
    rows = [row.split("\t") for row in made["rejected.tsv"].decode().splitlines()[1:]]
    reason = "The name has no number of a validation photo, as in ILSVRC2012_val_00000001.JPEG."
    assert rows == [[name, "no_class", reason] for name in sorted(extra)[:2]]
    assert made["val-000000.tar"] == wanted["val-000000.tar"]


# What is wrong


def broken(tmp_path, **parts):
    """The sentence that a folder of archives is refused with."""
    with pytest.raises(AlexNetError) as error:
        make(published(tmp_path / "imagenet", **parts), tmp_path / "data")
    assert not (tmp_path / "data").exists()
    return str(error.value)


def inner_tar():
    return tar(train_photos()[WNIDS[0]])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda whole: whole[:5000], "it ends early"),
        (lambda whole: whole[: whole.index(b"n02099601_25.JPEG")], "it ends early"),
        (lambda whole: b"", "it ends early"),
        (lambda whole: b"no tar at all " * 100, "invalid header"),
        (lambda whole: whole.replace(b"n02099601_25", b"n02099601_26"), "bad checksum"),
    ],
    ids=["in a photo", "between two", "empty", "text", "header"],
)
def test_a_damaged_tar_in_a_tar_is_named(tmp_path, damage, reason):
    files = {f"{wnid}.tar": tar(photos) for wnid, photos in train_photos().items()}
    files[f"{WNIDS[0]}.tar"] = damage(inner_tar())
    write(tmp_path, {"src.tar": tar(files)})
    with pytest.raises(AlexNetError) as error:
        make(tmp_path / "src.tar", tmp_path / "data")
    assert str(error.value) == (
        f"{tmp_path / 'src.tar'} is damaged, or no tar archive (.tar, .tar.gz): in n02099601.tar: "
        f"{reason}. Copy it again."
    )


def test_a_damaged_class_archive_in_a_folder_is_named(tmp_path):
    write(tmp_path / "src", {f"{wnid}.tar": inner_tar()[:5000] for wnid in WNIDS[:2]})
    with pytest.raises(AlexNetError, match=r"n0\d+\.tar is damaged.*it ends early\. Copy it again"):
        make(tmp_path / "src", tmp_path / "data")


def test_a_compressed_class_archive_in_a_folder_is_a_sentence(tmp_path):
    archive(tmp_path / "inner.tar.gz", {"1.jpg": b"x"})
    write(tmp_path / "src", {"n01440764.tar": (tmp_path / "inner.tar.gz").read_bytes()})
    with pytest.raises(AlexNetError, match=r"n01440764\.tar is compressed: unpack it with gunzip"):
        make(tmp_path / "src", tmp_path / "data")


def test_a_class_as_an_archive_and_as_a_folder_is_a_sentence(tmp_path):
    write(tmp_path / "src", {"n01440764.tar": inner_tar(), "n01440764/1.jpg": b"x"})
    with pytest.raises(AlexNetError, match=r"holds n01440764 and n01440764\.tar: keep one"):
        make(tmp_path / "src", tmp_path / "data")


def test_names_in_a_tar_in_a_tar_that_lead_out_of_it_are_left_out(tmp_path):
    bad = {"../evil.jpg": b"x", "/tmp/evil.jpg": b"x", "a/../../evil.jpg": b"x"}
    photos = {wnid: dict(files) for wnid, files in train_photos(2).items()}
    photos[WNIDS[0]] |= bad
    data = make(published(tmp_path / "imagenet", train=photos), tmp_path / "data")
    assert (data.count("train"), data.facts["left_out"]) == (8, 3)
    assert (tmp_path / "data" / "rejected.tsv").read_text().count("unsafe_name") == 3


def test_validation_photos_without_the_devkit_say_where_it_is(tmp_path, imagenet):
    command = ("prepare", imagenet / TRAIN, tmp_path / "data", "--val", imagenet / VAL)
    done = run(*command, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"alexnet-train: {imagenet / VAL} holds validation photos of ILSVRC-2012 without their "
        "classes: those are in the 'Development kit (Task 1 & 2)', ILSVRC2012_devkit_t12.tar.gz, "
        "which image-net.org offers beside the photos; put it into the same folder and prepare "
        "that, or name it with --devkit.\n"
    )


def test_a_folder_without_the_devkit_is_refused_before_anything_is_listed(tmp_path):
    folder = published(tmp_path / "imagenet")
    (folder / f"{KIT}.tar.gz").unlink()
    (folder / TRAIN).write_bytes(b"never read")
    with pytest.raises(AlexNetError, match="without their classes"):
        make(folder, tmp_path / "data")


@pytest.mark.parametrize("count", [0, 7, 9])
def test_a_ground_truth_of_another_length_is_a_sentence(tmp_path, count):
    error = broken(tmp_path, kit=devkit((*TRUTH, 1)[:count]))
    assert f"has {count} lines for 8 validation photos" in error


def test_a_number_without_a_line_is_a_sentence(tmp_path):
    photos = val_photos(7) | {"ILSVRC2012_val_00000010.JPEG": b"x"}
    error = broken(tmp_path, val=photos)
    assert "The validation photo ILSVRC2012_val_00000010 has no line in the ILSVRC2012_val" in error
    assert "which has 8 lines" in error


@pytest.mark.parametrize("line", ["0", "5", "-1", "two", "", "1.0", "²", "99999999999999999999"])
def test_a_line_that_is_no_class_is_a_sentence(tmp_path, line):
    error = broken(tmp_path, kit=devkit((2, line, *TRUTH[2:])))
    assert "Line 2 of ILSVRC2012_validation_ground_truth.txt" in error
    assert "must be the number of a class, 1 to 4, not" in error


@pytest.mark.parametrize("name", ["meta.mat", "ILSVRC2012_validation_ground_truth.txt"])
def test_a_devkit_that_lacks_a_file_is_a_sentence(tmp_path, name):
    kit = {path: data for path, data in devkit().items() if not path.endswith(name)}
    assert f"{KIT}.tar.gz holds no data/{name}: name the 'Develop" in broken(tmp_path, kit=kit)


def matlab(**values):
    out = io.BytesIO()
    scipy.io.savemat(out, values)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "can't be read"),
        (b"no MATLAB " * 100, "can't be read"),
        (meta(synsets())[:400], "can't be read"),
        (matlab(other=[1, 2]), "can't be read"),
        (matlab(synsets=[1, 2]), "can't be read"),
        (matlab(synsets={"WNID": "n01440764"}), "can't be read"),
        (meta([(1, "tench", "tench", 0)]), "does not number its 1 classes from 1 on"),
        (meta([(2, "n01440764", "tench", 0)]), "does not number"),
        (meta(synsets((WNIDS[0],) * 4)), "does not number"),
        (meta([(1, "n00001740", "entity", 3)]), "does not number its 0 classes"),
    ],
)
def test_another_meta_mat_is_a_sentence(tmp_path, data, words):
    error = broken(tmp_path, kit=devkit() | {f"{KIT}/data/meta.mat": data})
    assert error.startswith("The meta.mat of ")
    assert words in error


@pytest.mark.parametrize("data", [b"", b"no archive", None])
def test_a_devkit_that_is_none_is_a_sentence(tmp_path, imagenet, data):
    if data is not None:
        write(tmp_path, {"kit.tar.gz": data})
    words = (
        "is damaged, or no tar archive" if data is not None else "There is no .*kit.tar.gz: name"
    )
    with pytest.raises(AlexNetError, match=words):
        make(imagenet / TRAIN, tmp_path / "data", devkit=tmp_path / "kit.tar.gz")


def test_without_scipy_a_sentence_says_what_to_install(imagenet, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(AlexNetError, match=r"scipy.*not installed.*\[imagenet\]"):
        read_devkit(imagenet / f"{KIT}.tar.gz")


def test_a_place_without_validation_photos_is_a_sentence(tmp_path, imagenet):
    write(tmp_path / "other", {"a.jpg": b"x"})
    with pytest.raises(AlexNetError, match="other holds no validation photos in class folders"):
        make(imagenet / TRAIN, tmp_path / "data", val=str(tmp_path / "other"))


# A run that was stopped
