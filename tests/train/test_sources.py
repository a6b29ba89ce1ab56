"""What `prepare` takes for photos, classes and splits, and what it says of anything else."""

import gzip
import io
import os
import tarfile

import pytest

from alexnet.errors import AlexNetError
from tests.photos import encode, pattern, shared_data
from tests.train.conftest import run
from tests.train.folders import archive, contents, make, pets, write
from train.catalogue import make_catalogue
from train.sources import open_source

PHOTO = encode(pattern())


def catalogue(place, **options):
    """List a place without preparing it."""
    return make_catalogue(open_source(str(place), spool=place / ".spool"), **options)


def names(found):
    """The photos of each split, as sets of paths."""
    return {
        split: {item.member.name.partition("/")[2] for item in items}
        for split, items in found.splits.items()
    }


# Layouts


def test_class_folders_sorted_by_name_give_the_indices(tmp_path):
    files = {f"{name}/1.jpg": PHOTO for name in ("zebra", "Ant", "bee", "10", "9")}
    found = catalogue(write(tmp_path, files), val_fraction=0)
    assert [label.wnid for label in found.labels] == ["10", "9", "Ant", "bee", "zebra"]


@pytest.mark.parametrize("val", ["val", "validation", "test"])
def test_train_and_validation_folders_are_taken_as_they_are(tmp_path, val):
    found = catalogue(write(tmp_path, pets(prefix="train/") | pets(2, prefix=f"{val}/")))
    assert names(found) == {"train": set(pets()), "val": set(pets(2))}
    assert found.val_fraction is None


def test_val_goes_before_test(tmp_path):
    files = pets(3, prefix="train/") | pets(2, prefix="val/") | pets(1, prefix="test/")
    assert names(catalogue(write(tmp_path, files)))["val"] == set(pets(2))


@pytest.mark.parametrize("top", ["train", "photos", "a/b/photos"])
def test_folders_around_the_class_folders_mean_nothing(tmp_path, top):
    found = catalogue(write(tmp_path, pets(prefix=f"{top}/")), val_fraction=0)
    assert names(found)["train"] == set(pets())


def test_a_class_may_be_called_train(tmp_path):
    files = {f"{name}/{number}.jpg": PHOTO for name in ("train", "car") for number in range(2)}
    found = catalogue(write(tmp_path, files), val_fraction=0)
    assert [label.wnid for label in found.labels] == ["car", "train"]


def test_photos_may_lie_deeper_in_their_class_folder(tmp_path):
    files = {"a/images/1.jpg": PHOTO, "a/boxes.txt": b"1 2 3", "b/x/y/1.jpg": PHOTO}
    found = catalogue(write(tmp_path, files), val_fraction=0)
    assert names(found)["train"] == {"a/images/1.jpg", "b/x/y/1.jpg"}


def test_files_that_are_no_photos_and_hidden_ones_are_passed_over(tmp_path):
    extra = ("cat/readme.txt", "cat/.hidden.jpg", ".cache/1.jpg", "cat/._1.jpg", "cat/data.npy")
    files = pets() | dict.fromkeys(extra, PHOTO)
    found = catalogue(write(tmp_path, files), val_fraction=0)
    assert names(found)["train"] == set(pets())
    assert found.rejected == ()


def test_endings_of_all_formats_count_in_capitals_too(tmp_path):
    endings = ("jpg", "JPEG", "Png", "webp", "BMP", "tif", "tiff", "gif")
    files = {f"{name}/1.{ending}": PHOTO for name in "ab" for ending in endings}
    found = catalogue(write(tmp_path, files), val_fraction=0)
    assert len(found.splits["train"]) == 16


def test_photos_outside_of_any_class_folder_are_listed_as_left_out(tmp_path):
    found = catalogue(write(tmp_path, pets() | {"loose.jpg": PHOTO}))
    assert [(row.name, row.code) for row in found.rejected] == [("loose.jpg", "no_class")]


def test_links_to_photos_and_folders_are_followed_but_not_in_circles(tmp_path):
    write(tmp_path / "far", {"1.jpg": PHOTO})
    write(tmp_path / "src", {"a/1.jpg": PHOTO})
    (tmp_path / "src" / "b").symlink_to(tmp_path / "far")
    (tmp_path / "src" / "a" / "2.jpg").symlink_to(tmp_path / "far" / "1.jpg")
    (tmp_path / "src" / "a" / "up").symlink_to(tmp_path / "src")
    (tmp_path / "src" / "a" / "3.jpg").symlink_to(tmp_path / "nowhere.jpg")
    found = catalogue(tmp_path / "src", val_fraction=0)
    assert names(found)["train"] == {"a/1.jpg", "a/2.jpg", "b/1.jpg"}
    assert [(row.name, row.code) for row in found.rejected] == [("a/3.jpg", "not_a_file")]


@pytest.mark.parametrize(("train", "val"), [("train.tar", "val.tar.gz"), ("train.tgz", "test.tar")])
@pytest.mark.parametrize("prefixed", [True, False])
def test_a_folder_may_hold_an_archive_for_each_split(tmp_path, train, val, prefixed):
    archive(tmp_path / train, pets(prefix="train/" if prefixed else ""))
    archive(tmp_path / val, pets(2, prefix=val.partition(".")[0] + "/" if prefixed else ""))
    data = make(tmp_path, tmp_path / "data")
    assert (data.count("train"), data.count("val")) == (12, 4)
    assert [label.wnid for label in data.labels] == ["cat", "dog"]


def test_validation_photos_may_come_from_elsewhere(tmp_path):
    write(tmp_path / "src", pets())
    archive(tmp_path / "more.tar.gz", pets(3, prefix="val/"))
    data = make(tmp_path / "src", tmp_path / "data", val=str(tmp_path / "more.tar.gz"))
    assert (data.count("train"), data.count("val")) == (12, 6)


def test_the_later_of_two_photos_of_one_name_in_an_archive_counts(tmp_path):
    path = tmp_path / "src.tar"
    archive(path, {"a/1.jpg": b"first", "b/1.jpg": PHOTO})
    with tarfile.open(path, "a") as tar:
        entry = tarfile.TarInfo("a/1.jpg")
        entry.size = len(PHOTO)
        tar.addfile(entry, io.BytesIO(PHOTO))
    data = make(path, tmp_path / "data", val_fraction=0)
    assert (data.count("train"), data.facts["left_out"]) == (2, 0)


def test_the_digits_of_scikit_learn_are_a_source(digits):
    from sklearn.datasets import load_digits

    from train.dataset import Dataset

    data = Dataset(digits)
    assert data.count("train") + data.count("val") == 1797
    assert [label.name for label in data.labels] == list("0123456789")
    assert data.labels == tuple(sorted(data.labels, key=lambda label: label.name))
    split = data.split("val")
    known = load_digits()
    # A stored digit, shrunk again, is one of scikit-learn's with the same label.
    small = split.photos([0])[0, :, :, 0].reshape(8, 8, 8, 8).mean(axis=(1, 3)) / 255 * 16
    distance = ((known.images - small) ** 2).sum(axis=(1, 2))
    assert known.target[distance.argmin()] == split.labels[0]


@pytest.mark.shared
def test_real_photos_of_the_right_size_keep_their_bytes(tmp_path):
    path = shared_data("tiny-imagenet-50") / "val.tar.gz"
    data = make(path, tmp_path / "data", size=64)
    assert (data.count("train"), data.count("val")) == (2_250, 250)
    with tarfile.open(path) as tar:
        originals = {tar.extractfile(entry).read() for entry in tar if entry.isfile()}
    split = data.split("train")
    kept = sum(split.jpeg(index) in originals for index in range(len(split)))
    assert 0.95 * len(split) < kept < len(split)  # the rest is grey


# Validation photos set aside


def test_a_tenth_of_every_class_is_set_aside(tmp_path):
    files = {f"{name}/{number}.jpg": PHOTO for name in "ab" for number in range(30)}
    files |= {"c/1.jpg": PHOTO, "d/1.jpg": PHOTO, "d/2.jpg": PHOTO}
    found = catalogue(write(tmp_path, files))
    counts = [sum(item.label == label for item in found.splits["val"]) for label in range(4)]
    assert counts == [3, 3, 0, 1]
    assert names(found)["train"] | names(found)["val"] == set(files)
    assert not names(found)["train"] & names(found)["val"]


def test_which_photos_are_set_aside_does_not_depend_on_the_others(tmp_path):
    few = catalogue(write(tmp_path / "few", pets(40)))
    more = catalogue(write(tmp_path / "more", pets(40) | {"owl/1.jpg": PHOTO}))
    assert names(few)["val"] == names(more)["val"]


def test_nothing_is_set_aside_where_validation_photos_are_there(tmp_path):
    write(tmp_path, pets(prefix="train/") | pets(2, prefix="val/"))
    with pytest.raises(AlexNetError, match="leave out --val-fraction"):
        catalogue(tmp_path, val_fraction=0.2)


# Names of classes


def test_wnids_of_ilsvrc2012_get_their_names_and_other_folders_their_own(tmp_path):
    found = catalogue(write(tmp_path, {"n01440764/1.jpg": PHOTO, "fish/1.jpg": PHOTO}))
    assert [label.name for label in found.labels] == ["fish", "tench"]


def test_classes_tsv_gives_names(tmp_path):
    names = "cat\tcat, Felis catus\nox\tnot among the photos\n\n".encode("utf-8-sig")
    write(tmp_path / "src", pets() | {"classes.tsv": names})
    archive(tmp_path / "src.tar.gz", pets(prefix="all/") | {"all/classes.tsv": names})
    for place in (tmp_path / "src", tmp_path / "src.tar.gz"):
        assert [label.name for label in catalogue(place).labels] == ["cat, Felis catus", "dog"]


def test_a_file_of_names_goes_before_classes_tsv(tmp_path):
    write(tmp_path / "src", pets() | {"classes.tsv": b"cat\tTom"})
    write(tmp_path, {"names.tsv": "cat\tMüsli".encode()})
    found = catalogue(tmp_path / "src", names=tmp_path / "names.tsv")
    assert [label.name for label in found.labels] == ["Müsli", "dog"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"cat\tTom\ndog Rex\n", "Line 2 of .*names.tsv must be a class folder, a tab and a name"),
        (b"cat\t\n", "Line 1"),
        (b"cat\t\xff\n", "is not UTF-8 text"),
    ],
)
def test_a_bad_file_of_names_is_a_sentence(tmp_path, text, words):
    write(tmp_path, {"names.tsv": text})
    with pytest.raises(AlexNetError, match=words):
        catalogue(write(tmp_path / "src", pets()), names=tmp_path / "names.tsv")


def test_a_missing_file_of_names_is_a_sentence(tmp_path):
    with pytest.raises(AlexNetError, match="There is no file"):
        catalogue(write(tmp_path / "src", pets()), names=tmp_path / "names.tsv")


# What is no source


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds no photos in class folders"),
        ({"1.jpg": PHOTO, "2.jpg": PHOTO}, "holds no photos in class folders"),
        ({"a/1.txt": b"", "b/2.txt": b""}, "holds no photos in class folders"),
        ({"a/1.jpg": PHOTO, "a/2.jpg": PHOTO}, "holds the class 'a' only: a classifier needs two"),
        (
            pets(prefix="train/") | {f"val/{name}/1.jpg": PHOTO for name in "abcde"},
            r"a, b, c and 2 more have validation photos but no training photos",
        ),
        ({"a\tb/1.jpg": PHOTO, "c/1.jpg": PHOTO}, r"'a\\tb' has a name that can't be kept"),
        ({"train.tar": b"", "train.tgz": b""}, "holds train.tar and train.tgz: keep one"),
    ],
)
def test_a_folder_that_gives_no_data_set_is_a_sentence(tmp_path, files, words):
    (tmp_path / "src").mkdir()
    with pytest.raises(AlexNetError, match=words):
        make(write(tmp_path / "src", files), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_folder_whose_name_is_no_text_is_a_sentence(tmp_path):
    (tmp_path / "src" / "a").mkdir(parents=True)
    try:
        os.mkdir(os.fsencode(tmp_path / "src") + b"/\xff")  # noqa: PTH102 - Path takes no bytes
    except OSError:
        pytest.skip("this disk takes names in UTF-8 only")
    with open(os.fsencode(tmp_path / "src") + b"/\xff/1.jpg", "wb") as file:  # noqa: PTH123
        file.write(PHOTO)
    with pytest.raises(AlexNetError, match="has a name that can't be kept"):
        catalogue(write(tmp_path / "src", {"a/1.jpg": PHOTO}))


def test_a_missing_source_is_one_line_and_exit_code_1(tmp_path):
    done = run("prepare", tmp_path / "nowhere", tmp_path / "data", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"alexnet-train: There is no {tmp_path / 'nowhere'}: name a folder, a tar archive, or "
        "`digits`.\n"
    )


def damaged_archives():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in pets(20).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    tar = out.getvalue()
    header = tar.index(b"dog/003.png")
    packed = gzip.compress(tar, mtime=0)
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 0xFF
    return {
        "cut in a photo": tar[: header - 700],
        "cut in a header": tar[: header + 100],
        "cut between two photos": tar[:header],
        "damaged header": tar[:header] + bytes(reversed(tar[header : header + 512])) + tar[header:],
        "cut gzip": packed[:-5000],
        "cut gzip checksum": packed[:-4],
        "damaged gzip": bytes(flipped),
        "gzip of a cut tar": gzip.compress(tar[: header - 700]),
        "gzip of text": gzip.compress(b"no tar" * 1000),
        "text": b"no tar at all " * 1000,
        "empty": b"",
    }


@pytest.mark.parametrize("kind", damaged_archives())
def test_a_damaged_archive_is_a_sentence_and_leaves_nothing_behind(tmp_path, kind):
    write(tmp_path, {"src.tar": damaged_archives()[kind]})
    with pytest.raises(
        AlexNetError, match=r"src\.tar is damaged, or no tar archive .*Copy it agai"
    ):
        make(tmp_path / "src.tar", tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["src.tar"]


def special(name, kind, target=""):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_names_and_links_that_lead_out_of_an_archive_are_left_out_and_listed(tmp_path, ending):
    files = pets() | {"../evil.jpg": PHOTO, "/tmp/evil/1.jpg": PHOTO, "cat/../../evil.jpg": PHOTO}
    entries = [
        special("dog/hard.jpg", tarfile.LNKTYPE, "/etc/passwd"),
        special("dog/link.jpg", tarfile.SYMTYPE, "/etc/passwd"),
        special("dog/pipe.jpg", tarfile.FIFOTYPE),
    ]
    folder = tmp_path / "in"
    folder.mkdir()
    archive(folder / f"src.{ending}", files, entries=entries)
    data = make(folder / f"src.{ending}", folder / "data", val_fraction=0)
    assert data.count("train") == 12
    rows = contents(folder / "data")["rejected.tsv"].decode().splitlines()[1:]
    assert [row.split("\t")[:2] for row in rows] == [
        ["../evil.jpg", "unsafe_name"],
        ["/tmp/evil/1.jpg", "unsafe_name"],
        ["cat/../../evil.jpg", "unsafe_name"],
        ["dog/hard.jpg", "not_a_file"],
        ["dog/link.jpg", "not_a_file"],
        ["dog/pipe.jpg", "not_a_file"],
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_hard_links_to_hard_links_are_photos_however_many(tmp_path):
    links = [
        special(f"cat/{n:03}.png", tarfile.LNKTYPE, f"cat/{n - 1:03}.png") for n in range(6, 106)
    ]
    found = catalogue(archive(tmp_path / "src.tar", pets(6), entries=links), val_fraction=0)
    assert (len(found.splits["train"]), found.rejected) == (112, ())


def test_an_archive_of_absolute_names_alone_is_refused_for_those(tmp_path):
    place = archive(tmp_path / "src.tar", pets(2, prefix="/data/"))
    with pytest.raises(AlexNetError, match=r"4 are left out: /data/cat/.*leads out of the archive"):
        catalogue(place)
