"""Tiny ImageNet as it is published, in a folder and in a tar, from photos of our own."""

import json

import pytest

from alexnet.errors import AlexNetError
from tests.photos import encode, pattern
from tests.train.folders import archive, contents, make, write

WNIDS = ("n01443537", "n01629819", "n01641577")
WORDS = (
    "n00001740\tentity\nn01443537\tgoldfish, Carassius auratus\nn01629819\tEuropean fire "
    "salamander\nn99999999\tsome creature\n"
)


def photo(seed):
    return encode(pattern(16, 16, seed=seed), "JPEG")


def published(prefix="tiny-imagenet-200/", wnids=WNIDS):
    """{path: bytes}: three classes of four training photos, six validation, two test photos."""
    files = {
        f"train/{wnid}/images/{wnid}_{n}.JPEG": photo(10 * place + n)
        for place, wnid in enumerate(wnids)
        for n in range(4)
    }
    files |= {f"train/{wnid}/{wnid}_boxes.txt": b"0 0 9 9" for wnid in wnids}
    files |= {f"val/images/val_{n}.JPEG": photo(100 + n) for n in range(6)}
    lines = (f"val_{n}.JPEG\t{wnids[n % 3]}\t0\t32\t44\t62\n" for n in range(6))
    files["val/val_annotations.txt"] = "".join(lines).encode()
    files |= {f"test/images/test_{n}.JPEG": photo(200 + n) for n in range(2)}
    files |= {"words.txt": WORDS.encode(), "wnids.txt": "\n".join(wnids).encode()}
    return {prefix + path: data for path, data in files.items()}


def in_class_folders():
    """The same photos as others are used to have them."""
    files = {
        path.removeprefix("tiny-imagenet-200/"): data
        for path, data in published().items()
        if "/train/" in path and path.endswith("JPEG")
    }
    return files | {f"val/{WNIDS[n % 3]}/val_{n}.JPEG": photo(100 + n) for n in range(6)}


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wanted")
    make(write(folder / "set", in_class_folders()), folder / "data")
    return contents(folder / "data")


@pytest.mark.parametrize("kind", ["folder", "folder around", "tar", "tar.gz"])
def test_it_gives_the_photos_of_class_folders(tmp_path, wanted, kind):
    if kind.startswith("folder"):
        place = write(tmp_path / "set", published())
        place = place if kind == "folder around" else place / "tiny-imagenet-200"
    else:
        place = archive(tmp_path / f"set.{kind}", published())
    data = make(place, tmp_path / "data")
    made = contents(tmp_path / "data")
    for name in ("train-000000.tar", "val-000000.tar", "index.npz", "rejected.tsv"):
        assert made[name] == wanted[name]
    assert (data.count("train"), data.count("val"), len(data.labels)) == (12, 6, 3)


def test_words_txt_names_the_classes(tmp_path):
    wnids = ("n01443537", "n01629819", "n99999999")
    data = make(write(tmp_path / "set", published("", wnids)), tmp_path / "data")
    assert [label.name for label in data.labels] == [
        "goldfish",  # as ILSVRC-2012 has it
        "European fire salamander",
        "some creature",
    ]


def test_a_photo_without_a_line_is_left_out_and_listed(tmp_path):
    files = published("") | {"val/images/val_9.JPEG": photo(9)}
    data = make(write(tmp_path / "set", files), tmp_path / "data")
    rows = contents(tmp_path / "data")["rejected.tsv"].decode().splitlines()[1:]
    assert rows == ["val/images/val_9.JPEG\tno_class\tval_annotations.txt has no line for it."]
    assert data.count("val") == 6


def test_a_line_without_a_photo_is_a_warning(tmp_path, capsys):
    files = published("")
    del files["val/images/val_3.JPEG"]
    assert make(write(tmp_path / "set", files), tmp_path / "data").count("val") == 5
    assert "1 photos that val/val_annotations.txt names are not there" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["val_1.JPEG n01443537", "val_1.JPEG\t", "\tn01443537"])
def test_a_line_that_names_no_class_is_a_sentence(tmp_path, line):
    files = published("") | {"val/val_annotations.txt": f"val_0.JPEG\tn01443537\n{line}\n".encode()}
    with pytest.raises(AlexNetError, match=r"Line 2 of val/val_annotations\.txt in .* a tab"):
        make(write(tmp_path / "set", files), tmp_path / "data")


def test_validation_photos_that_were_sorted_into_class_folders_stay_there(tmp_path, wanted):
    files = in_class_folders() | {"val/val_annotations.txt": b"val_0.JPEG\tn01443537\t0\t0\t9\t9\n"}
    make(write(tmp_path / "set", files), tmp_path / "data")
    assert json.loads(contents(tmp_path / "data")["dataset.json"]) == json.loads(
        wanted["dataset.json"]
    )
