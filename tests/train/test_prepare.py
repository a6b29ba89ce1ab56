"""`alexnet-train prepare`: what it makes of photos, and that it always makes the same."""

import fcntl
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.config import InputConfig
from alexnet.errors import AlexNetError
from alexnet.photo import load_photo
from tests.photos import encode, pattern, sklearn_photos, with_orientation
from tests.train.conftest import run
from tests.train.folders import archive, contents, make, pets, webdataset, write

# What is made of photos


def test_shards_are_webdatasets_of_square_photos_and_their_classes(tmp_path):
    write(tmp_path / "pets", pets(prefix="train/") | pets(2, prefix="val/"))
    make(tmp_path / "pets", tmp_path / "data", size=16)
    rows = webdataset(tmp_path / "data" / "train-000000.tar")
    assert [key for key, _, _ in rows] == [f"{number:08}" for number in range(12)]
    assert {pixels.shape for _, pixels, _ in rows} == {(16, 16, 3)}
    assert sorted(label for _, _, label in rows) == [0] * 6 + [1] * 6


def test_training_photos_are_mixed_and_validation_photos_in_order(tmp_path):
    write(tmp_path / "pets", pets(40, prefix="train/") | pets(3, prefix="val/"))
    data = make(tmp_path / "pets", tmp_path / "data")
    labels = data.split("train").labels
    # A sorted order changes its class once, an even mixture of 80 about 40 times.
    assert 25 < (labels[1:] != labels[:-1]).sum() < 55
    assert data.split("val").labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_photo_is_stored_as_load_photo_reads_it(tmp_path):
    china = sklearn_photos()[0].read_bytes()
    write(tmp_path / "src", {"a/china.jpg": china, "b/x.png": encode(pattern())})
    data = make(tmp_path / "src", tmp_path / "data", size=64, filter="bicubic", val_fraction=0)
    split = data.split("train")
    wanted = load_photo(china, InputConfig(size=64, crop=64, filter="bicubic")).pixels
    stored = split.photos([split.labels.tolist().index(0)])[0]
    # JPEG at quality 95 changes two levels on average; a shift by one pixel would change 20.
    assert np.abs(stored.astype(int) - wanted).mean() < 3


def test_stored_jpegs_have_quality_95_and_full_colour(tmp_path):
    picture = pattern(64, 48)
    write(tmp_path / "src", {"a/x.png": encode(picture), "b/y.png": encode(picture)})
    data = make(tmp_path / "src", tmp_path / "data", size=16, val_fraction=0)
    pixels = load_photo(encode(picture), InputConfig(size=16, crop=16)).pixels
    wanted = encode(Image.fromarray(pixels), "JPEG", quality=95, subsampling=0)
    assert data.split("train").jpeg(0) == wanted


def test_a_jpeg_of_the_right_size_keeps_its_bytes(tmp_path):
    kept = encode(pattern(16, 16), "JPEG", quality=40)
    turned = with_orientation(pattern(16, 16), 6)
    grey = encode(pattern(16, 16).convert("L"), "JPEG")
    write(tmp_path / "src", {"a/kept.jpg": kept, "b/turned.jpg": turned, "c/grey.jpg": grey})
    data = make(tmp_path / "src", tmp_path / "data", size=16, val_fraction=0)
    split = data.split("train")
    stored = {int(label): split.jpeg(index) for index, label in enumerate(split.labels)}
    assert stored[0] == kept
    assert stored[1] != turned
    assert stored[2] != grey
    assert data.facts["stored_as_they_were"] == 1


def test_mean_and_colours_are_those_of_the_stored_training_photos(tmp_path):
    write(tmp_path / "pets", pets(prefix="train/") | pets(3, prefix="val/"))
    data = make(tmp_path / "pets", tmp_path / "data")
    photos = data.split("train").photos(range(12)).astype(np.float64)
    assert data.mean == pytest.approx(photos.mean(axis=0), abs=1e-4)
    pca = data.color_pca
    covariance = pca.components @ np.diag(pca.stds**2) @ pca.components.T
    assert covariance == pytest.approx(np.cov(photos.reshape(-1, 3).T, bias=True), abs=1e-6)


def test_corrupt_photos_are_left_out_and_listed(tmp_path):
    files = pets() | {
        "cat/empty.jpg": b"",
        "cat/text.png": b"This is no picture.",
        "dog/short.jpg": sklearn_photos()[1].read_bytes()[:9000],
        "cat/notes.txt": b"not even called a photo",
    }
    data = make(write(tmp_path / "pets", files), tmp_path / "data", val_fraction=0)
    rows = (tmp_path / "data" / "rejected.tsv").read_text().splitlines()
    assert rows[0] == "path\tcode\tsentence"
    assert [row.split("\t")[:2] for row in rows[1:]] == [
        ["train/cat/empty.jpg", "empty_file"],
        ["train/cat/text.png", "not_a_photo"],
        ["train/dog/short.jpg", "corrupt_photo"],
    ]
    assert all(row.endswith(".") for row in rows[1:])
    assert (data.count("train"), data.facts["left_out"]) == (12, 3)


def test_photos_around_a_corrupt_one_keep_their_classes(tmp_path):
    files = {f"{name}/{number}.png": encode(pattern(seed=0)) for name in "ab" for number in "123"}
    files |= {f"c/{number}.png": b"bad" for number in "123456789"}
    files |= {"d/1.png": encode(pattern().rotate(90))}
    data = make(write(tmp_path / "src", files), tmp_path / "data", val_fraction=0)
    split = data.split("train")
    photos = split.photos(range(len(split)))
    assert np.bincount(split.labels).tolist() == [3, 3, 0, 1]
    for photo, label in zip(photos, split.labels, strict=True):
        assert (photo == photos[split.labels.tolist().index(label)]).all()


def test_dataset_json_names_the_source_but_no_path_of_this_machine(tmp_path):
    make(write(tmp_path / "pets", pets()), tmp_path / "data")
    text = (tmp_path / "data" / "dataset.json").read_text()
    assert json.loads(text)["source"] == "pets"
    assert str(tmp_path) not in text


# Always the same


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """700 photos of three classes, a few of them bad, as {path: bytes}."""
    files = {
        f"{split}/{name}/{number:03}.jpg": encode(pattern(40, 30, seed=number), "JPEG")
        for split, count in (("train", 220), ("val", 20))
        for name in ("ant", "bee", "cow")
        for number in range(count)
    }
    for number in (0, 7, 64, 219):
        files[f"train/bee/{number:03}.jpg"] = files[f"train/bee/{number:03}.jpg"][:300]
    return files


@pytest.fixture(scope="module")
def crowd_data(crowd, tmp_path_factory):
    """The bytes that `crowd` is made into, from a folder, by one worker in one go."""
    folder = tmp_path_factory.mktemp("crowd")
    make(write(folder / "crowd", crowd), folder / "data", shard_photos=200)
    return contents(folder / "data")


def test_order_on_disk_and_number_of_workers_do_not_matter(tmp_path, crowd, crowd_data):
    names = list(crowd)
    random.Random(0).shuffle(names)
    write(tmp_path / "crowd", {name: crowd[name] for name in names})
    make(tmp_path / "crowd", tmp_path / "data", shard_photos=200, workers=3)
    assert contents(tmp_path / "data") == crowd_data


@pytest.mark.parametrize("name", ["crowd.tar", "crowd.tar.gz"])
def test_an_archive_gives_the_same_photos_as_a_folder(tmp_path, crowd, crowd_data, name):
    names = sorted(crowd, reverse=True)
    archive(tmp_path / name, {f"./any/{path}": crowd[path] for path in names})
    make(tmp_path / name, tmp_path / "data", shard_photos=200)
    made = contents(tmp_path / "data")
    assert json.loads(made.pop("dataset.json"))["source"] == name
    assert made == {key: data for key, data in crowd_data.items() if key != "dataset.json"}


def test_nothing_but_the_data_set_is_left_in_its_folder(tmp_path, crowd, crowd_data):
    archive(tmp_path / "crowd.tar.gz", crowd)
    make(tmp_path / "crowd.tar.gz", tmp_path / "data", shard_photos=200)
    shards = [f"train-{number:06}.tar" for number in range(4)] + ["val-000000.tar"]
    files = ["color_pca.json", "dataset.json", "index.npz", "mean.npy", "rejected.tsv", *shards]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == sorted(files)


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """A folder of 448 photos that take a second or two, and the bytes that they are made into."""
    folder = tmp_path_factory.mktemp("slow")
    photos = [encode(pattern(800, 600, seed=seed), "JPEG") for seed in range(4)]
    files = {f"{name}/{number}.jpg": photos[number % 4] for name in "ab" for number in range(224)}
    archive(folder / "slow.tar.gz", files)
    make(folder / "slow.tar.gz", folder / "data", shard_photos=64)
    return folder / "slow.tar.gz", contents(folder / "data")


def begin(source, data, *, until):
    """Start the real command with two workers, and return once it wrote the shard `until`."""
    options = ("--size=16", "--shard-photos=64", "--workers=2")
    command = [sys.executable, "-m", "train", "prepare", source, data, *options]
    process = subprocess.Popen(
        list(map(str, command)),
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (data / until).exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)  # the processor is for those that decode
    return process


def workers(process):
    """The processes that decode photos for it."""
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [pid for pid in found if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]


def leaves_interrupts(pid):
    """Whether a process has set itself up to ignore SIGINT."""
    ignored = Path(f"/proc/{pid}/status").read_text().partition("SigIgn:")[2].split()[0]
    return bool(int(ignored, 16) >> (signal.SIGINT - 1) & 1)


CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children")
needs_proc = pytest.mark.skipif(not CHILDREN.exists(), reason="reads Linux's /proc")


@pytest.mark.slow
@needs_proc
def test_an_interrupted_run_ends_quietly_and_goes_on(tmp_path, slow):
    source, wanted = slow
    process = begin(source, tmp_path / "data", until="train-000000.tar")
    while len(ready := [pid for pid in workers(process) if leaves_interrupts(pid)]) < 2:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)
    for pid in (*ready, process.pid):  # as Ctrl-C does in a terminal
        os.kill(int(pid), signal.SIGINT)
    assert process.communicate()[1].strip() == "alexnet-train: interrupted."
    assert process.returncode == 130
    make(source, tmp_path / "data", shard_photos=64)
    assert contents(tmp_path / "data") == wanted


def test_a_full_disk_is_a_sentence_and_the_next_run_goes_on(tmp_path, crowd, crowd_data):
    write(tmp_path / "crowd", crowd)
    command = ["prepare", tmp_path / "crowd", tmp_path / "data", "--size=16", "--shard-photos=200"]
    done = subprocess.run(
        [sys.executable, "-m", "train", *map(str, command)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, 250_000)),
    )
    assert (done.returncode, done.stdout) == (1, "")
    unfinished = tmp_path / "data" / ".prepare" / "shard.tar"
    assert done.stderr.splitlines()[-1] == f"alexnet-train: File too large: {unfinished}."
    assert not list((tmp_path / "data").glob("train-*"))
    run(*command)
    assert contents(tmp_path / "data") == crowd_data


# The folder it writes into


def test_a_finished_folder_is_left_as_it_is(tmp_path):
    write(tmp_path / "pets", pets())
    command = ["prepare", tmp_path / "pets", tmp_path / "data", "--size", "16"]
    first = run(*command)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()}
    second = run(*command)
    assert "is complete: nothing is left to do." in second.stderr
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()}
    results = [json.loads(done.stdout.splitlines()[-1]) for done in (first, second)]
    assert {key: results[1][key] for key in ("train", "val", "classes", "left_out")} == {
        "train": 10,
        "val": 2,
        "classes": 2,
        "left_out": 0,
    }
    assert results[0] | {"seconds": 0} == results[1] | {"seconds": 0}


@pytest.mark.parametrize(
    ("files", "options", "words"),
    [
        (pets(), {"size": 32}, "has photos of 16 pixels, not of 32"),
        (pets(), {"fit": "warp"}, "was resized with the fit crop, not warp"),
        (pets(), {"filter": "box"}, "was resized with the filter bilinear, not box"),
        (pets(), {"shard_photos": 5}, "has shards of 10000 photos, not of 5"),
        (pets(), {"val_fraction": 0.5}, "was made of other photos or split differently"),
        (pets(5), {}, "was made of other photos"),
        (pets() | {"classes.tsv": b"cat\tTom"}, {}, "has other names for its classes"),
    ],
)
def test_a_folder_made_of_other_photos_or_in_another_way_is_not_touched(
    tmp_path, files, options, words
):
    make(write(tmp_path / "first", pets()), tmp_path / "data")
    before = contents(tmp_path / "data")
    with pytest.raises(AlexNetError, match=f"{words}.*name another folder"):
        make(write(tmp_path / "second", files), tmp_path / "data", **options)
    assert contents(tmp_path / "data") == before


def test_a_folder_with_other_files_is_not_touched(tmp_path):
    write(tmp_path / "data", {"thesis.tex": b"my work"})
    with pytest.raises(AlexNetError, match="holds other files"):
        make(write(tmp_path / "pets", pets()), tmp_path / "data")
    assert contents(tmp_path / "data") == {"thesis.tex": b"my work"}


def test_a_file_in_place_of_the_folder_is_not_touched(tmp_path):
    write(tmp_path, {"data": b"my work"})
    with pytest.raises(AlexNetError, match="is a file"):
        make(write(tmp_path / "pets", pets()), tmp_path / "data")


def test_two_runs_do_not_write_into_one_folder_at_a_time(tmp_path):
    write(tmp_path / "data" / ".prepare", {"lock": b""})
    with (tmp_path / "data" / ".prepare" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(AlexNetError, match="Another run is preparing"):
            make(write(tmp_path / "pets", pets()), tmp_path / "data")


def test_photos_of_which_none_can_be_read_are_an_error(tmp_path):
    write(tmp_path / "src", {"a/1.jpg": b"bad", "b/1.jpg": b"bad"})
    with pytest.raises(AlexNetError, match=r"No training photo can be read\. train/a/1\.jpg: This"):
        make(tmp_path / "src", tmp_path / "data", val_fraction=0)


def test_shards_have_plain_headers(tmp_path):
    make(write(tmp_path / "pets", pets()), tmp_path / "data")
    with tarfile.open(tmp_path / "data" / "train-000000.tar") as tar:
        facts = {(e.mtime, e.uid, e.gid, e.uname, e.gname, oct(e.mode)) for e in tar}
    assert facts == {(0, 0, 0, "", "", "0o644")}
