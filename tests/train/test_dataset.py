"""Reading a prepared data set: the same photos by index as in the shards, and damage in words."""

import json
import multiprocessing
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from alexnet.labels import Label
from tests.train.folders import make, pets, webdataset, write
from train.dataset import Dataset, DatasetError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 training photos in three shards and 6 validation photos in one."""
    folder = tmp_path_factory.mktemp("dataset")
    write(folder / "pets", pets(12, prefix="train/") | pets(3, prefix="val/"))
    make(folder / "pets", folder / "data", size=16, shard_photos=10)
    return folder / "data"


@pytest.fixture
def copy(folder, tmp_path):
    """A copy of it, to be damaged."""
    shutil.copytree(folder, tmp_path / "data")
    return tmp_path / "data"


def test_photos_by_index_are_those_of_the_shards_in_order(folder):
    data = Dataset(folder)
    for name, count in (("train", 3), ("val", 1)):
        rows = [
            row for number in range(count) for row in webdataset(folder / f"{name}-{number:06}.tar")
        ]
        split = data.split(name)
        assert len(split) == data.count(name) == len(rows)
        assert split.labels.tolist() == [label for _, _, label in rows]
        assert split.labels.dtype == np.int64
        assert (split.photos(range(len(rows))) == [pixels for _, pixels, _ in rows]).all()


def test_photos_come_in_the_order_in_which_they_are_asked_for(folder):
    split = Dataset(folder).split("train")
    everything = split.photos(np.arange(24))
    chosen = [23, 0, 7, 7, 12, -1]
    photos = split.photos(chosen)
    assert photos.dtype == np.uint8
    assert photos.shape == (6, 16, 16, 3)
    assert photos.flags.c_contiguous
    assert (photos == everything[chosen]).all()


def test_no_photos_are_an_empty_array(folder):
    assert Dataset(folder).split("train").photos([]).shape == (0, 16, 16, 3)


def test_an_index_out_of_range_is_an_index_error(folder):
    split = Dataset(folder).split("val")
    with pytest.raises(IndexError):
        split.photos([6])
    with pytest.raises(IndexError):
        split.jpeg(6)


def test_a_data_set_knows_its_classes_size_and_resize(folder):
    data = Dataset(folder)
    assert data.labels == (Label("cat", "cat"), Label("dog", "dog"))
    assert (data.size, data.source) == (16, "pets")
    assert (data.resize["fit"], data.resize["filter"]) == ("crop", "bilinear")
    assert data.mean.shape == (16, 16, 3)
    assert data.mean.dtype == np.float32
    assert data.color_pca.components.shape == (3, 3)


def test_the_index_is_plain_numpy_without_pickle(folder):
    with np.load(folder / "index.npz", allow_pickle=False) as index:
        types = {name: str(index[name].dtype) for name in index.files}
        offset, length = int(index["offset"][4]), int(index["length"][4])
    assert types == {
        "split": "uint8",
        "shard": "uint32",
        "offset": "uint64",
        "length": "uint32",
        "label": "int32",
    }
    stored = (folder / "train-000000.tar").read_bytes()[offset : offset + length]
    assert stored == Dataset(folder).split("train").jpeg(4)


def test_many_threads_and_copies_by_pickle_read_the_same(folder):
    split = Dataset(folder, threads=4).split("train")
    wanted = split.photos(range(24))
    again = pickle.loads(pickle.dumps(split))
    assert again.dataset.threads == 4
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda part: part.photos(range(24)), [split, again] * 20))
    assert all((photos == wanted).all() for photos in results)


def test_a_forked_process_reads_on(folder):
    # As PyTorch's DataLoader does on Linux: the threads of the parent are not there.
    split = Dataset(folder, threads=4).split("train")
    wanted = split.photos(range(24)).sum()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=lambda: theirs.send(split.photos(range(24)).sum()))
    process.start()
    try:
        assert ours.poll(30), "the forked process is stuck"
        assert ours.recv() == wanted
    finally:
        process.kill()
        process.join()


def test_reading_needs_neither_torch_nor_the_packages_of_the_commands(folder):
    code = f"""
import sys
from train.dataset import Dataset
assert Dataset({str(folder)!r}).split('train').photos([0]).shape == (1, 16, 16, 3)
print(*{{'torch', 'click', 'rich', 'sklearn'}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_there_are_two_splits(folder):
    with pytest.raises(DatasetError, match="no split 'test'"):
        Dataset(folder).split("test")


# Damage


def test_a_missing_folder_is_a_sentence(tmp_path):
    with pytest.raises(DatasetError, match=r"There is no data set .*alexnet-train prepare"):
        Dataset(tmp_path / "nowhere")


def test_a_foreign_folder_is_a_sentence(tmp_path):
    with pytest.raises(DatasetError, match="is no prepared data set"):
        Dataset(tmp_path)


def test_a_foreign_dataset_json_is_a_sentence(tmp_path):
    write(tmp_path, {"dataset.json": b'{"name": "something else"}'})
    with pytest.raises(DatasetError, match="was not written by `alexnet-train prepare`"):
        Dataset(tmp_path)


def test_a_newer_version_is_a_sentence(copy):
    facts = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps(facts | {"version": 2}))
    with pytest.raises(DatasetError, match="version 2, and this alexnet reads up to 1"):
        Dataset(copy)


def test_a_truncated_shard_is_a_sentence(copy):
    shard = copy / "train-000001.tar"
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes()[:-3000])
    with pytest.raises(DatasetError, match=rf"000001\.tar has {size - 3000:,} bytes instead of"):
        Dataset(copy)


def test_a_missing_shard_is_a_sentence(copy):
    (copy / "val-000000.tar").unlink()
    with pytest.raises(DatasetError, match=r"val-000000\.tar is missing"):
        Dataset(copy)


def test_a_shard_that_shrinks_while_it_is_read_is_a_sentence(copy):
    split = Dataset(copy).split("train")
    split.photos([0, 23])
    for shard in copy.glob("train-*.tar"):
        with shard.open("r+b") as file:
            file.truncate(700)
    with pytest.raises(DatasetError, match="ends early"):
        split.photos(range(24))


def test_a_damaged_photo_is_a_sentence_that_says_where(copy):
    split = Dataset(copy).split("train")
    data = (copy / "train-000000.tar").read_bytes()
    at = data.index(split.jpeg(3))
    (copy / "train-000000.tar").write_bytes(data[: at + 100] + bytes(300) + data[at + 400 :])
    with pytest.raises(
        DatasetError, match=rf"photo at byte {at} of .*train-000000\.tar is damaged"
    ):
        split.photos(range(24))


@pytest.mark.parametrize("name", ["dataset.json", "index.npz"])
@pytest.mark.parametrize("part", [0, 0.5, 0.99])
def test_a_truncated_file_of_facts_is_a_sentence(copy, name, part):
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: int(part * len(data))])
    with pytest.raises(DatasetError, match=f"{name} can't be read"):
        Dataset(copy)


@pytest.mark.parametrize("key", ["size", "classes", "source", "resize", "shards"])
def test_a_dataset_json_without_one_of_its_facts_is_a_sentence(copy, key):
    facts = json.loads((copy / "dataset.json").read_text())
    del facts[key]
    (copy / "dataset.json").write_text(json.dumps(facts))
    with pytest.raises(DatasetError, match=f"can't be read .*'{key}'"):
        Dataset(copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index | {"shard": index["shard"] + 4},
        lambda index: index | {"label": index["label"] - 1},
        lambda index: index | {"split": index["split"] + 1},
        lambda index: index | {"length": index["length"][1:]},
        lambda index: index | {"offset": index["offset"].astype(np.int64)},
        lambda index: {"split": index["split"]},
        lambda index: index | {"label": index["label"].astype(object)},
    ],
)
def test_an_index_that_does_not_fit_is_a_sentence(copy, change):
    with np.load(copy / "index.npz") as index:
        arrays = dict(index)
    np.savez(copy / "index.npz", **change(arrays))
    with pytest.raises(DatasetError, match=r"index\.npz can't be read"):
        Dataset(copy)


@pytest.mark.parametrize("data", [b"", b"junk", b"\x93NUMPY"])
def test_a_damaged_mean_image_is_a_sentence(copy, data):
    write(copy, {"mean.npy": data})
    with pytest.raises(DatasetError, match=r"mean\.npy can't be read"):
        _ = Dataset(copy).mean


def test_a_mean_image_of_another_size_is_a_sentence(copy):
    np.save(copy / "mean.npy", np.zeros((8, 8, 3), np.float32))
    with pytest.raises(DatasetError, match="not the mean image of photos of 16 pixels"):
        _ = Dataset(copy).mean


@pytest.mark.parametrize("data", [b"", b"[]", b'{"stds": [1], "components": []}'])
def test_a_damaged_colour_pca_is_a_sentence(copy, data):
    write(copy, {"color_pca.json": data})
    with pytest.raises(DatasetError, match=r"color_pca\.json can't be read"):
        _ = Dataset(copy).color_pca
