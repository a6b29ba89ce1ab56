"""Epochs of minibatches: which photos, in which order, by whom decoded, and what if that fails."""

import errno
import gc
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.train.conftest import run
from train import photo_workers
from train.dataset import Dataset, DatasetError
from train.loader import Loader
from train.mesh import Mesh
from train.photo_workers import LoaderError, PhotoWorkers

# A process that trains, as far as its decoders can see; `{end}` is how it ends.
TRAINING = """
import sys, time
from train.dataset import Dataset
from train.loader import Loader

def main():
    loader = Loader(Dataset(sys.argv[1]).split("train"), batch=8, seed=0, workers=2)
    epoch = loader.epoch(1)
    next(epoch), next(epoch)  # of either process one: both are there
    print("decoding", flush=True)
    {end}

if __name__ == "__main__":
    main()
"""


def split_of(data):
    return Dataset(data).split("train")


def loader_of(data, **options):
    return Loader(split_of(data), **{"batch": 20, "seed": 0, **options})


@pytest.fixture(scope="module")
def served(colors):
    """A loader with two worker processes."""
    return loader_of(colors, workers=2)


def rows_of(data, minibatches):
    """Which photos of the training split these are."""
    split = split_of(data)
    known = {photo.tobytes(): row for row, photo in enumerate(split.photos(range(len(split))))}
    assert len(known) == len(split)
    return [known[photo.numpy().tobytes()] for part in minibatches for photo in part.photos]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.photos, other.photos)
        assert torch.equal(one.labels, other.labels)
        assert (one.own, one.whole) == (other.own, other.whole)


# Order


def test_an_epoch_is_each_photo_once_with_its_label(colors):
    loader = loader_of(colors)
    minibatches = list(loader.epoch(1))
    assert [len(part.labels) for part in minibatches] == [20, 20, 8]
    assert loader.steps == 3
    rows = rows_of(colors, minibatches)
    assert sorted(rows) == list(range(48))
    labels = torch.cat([part.labels for part in minibatches])
    assert labels.tolist() == loader.split.labels[rows].tolist()
    assert labels.dtype == torch.int64
    assert minibatches[0].photos.dtype == torch.uint8


def test_the_order_is_drawn_from_seed_and_epoch_and_nothing_else(colors):
    def order(seed, epoch):
        return rows_of(colors, loader_of(colors, seed=seed).epoch(epoch))

    assert order(0, 1) == order(0, 1)
    orders = [order(0, 1), order(0, 2), order(1, 1), order(1, 2), list(range(48))]
    assert len({tuple(rows) for rows in orders}) == 5
    assert rows_of(colors, loader_of(colors, batch=7).epoch(1)) == orders[0]


def test_worker_processes_change_no_bit(colors, served):
    for epoch in (1, 2):
        assert_same(list(served.epoch(epoch)), list(loader_of(colors).epoch(epoch)))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_goes_on_in_the_middle(colors, served, workers):
    loader = served if workers else loader_of(colors)
    whole = list(loader_of(colors).epoch(3))
    for first in range(4):
        assert_same(list(loader.epoch(3, first=first)), whole[first:])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_that_was_given_up_leaves_the_next_alone(colors, served, workers):
    loader = served if workers else loader_of(colors)
    expected = list(loader_of(colors).epoch(2))
    for stop in range(3):
        for _ in zip(range(stop), loader.epoch(1), strict=False):
            pass
        assert_same(list(loader.epoch(2)), expected)


# Several processes


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("batch", [20, 5])
def test_the_processes_parts_are_the_whole_minibatch_in_order(colors, processes, batch):
    """The last minibatch has 8 photos, or 3: fewer than processes."""
    whole = list(loader_of(colors, batch=batch).epoch(1))
    parts = [
        list(loader_of(colors, batch=batch, mesh=Mesh(data=rank, data_size=processes)).epoch(1))
        for rank in range(processes)
    ]
    for number, expected in enumerate(whole):
        found = [part[number] for part in parts]
        assert torch.equal(torch.cat([part.photos for part in found]), expected.photos)
        assert torch.equal(torch.cat([part.labels for part in found]), expected.labels)
        places = np.concatenate([np.arange(expected.whole)[part.own] for part in found])
        assert places.tolist() == list(range(expected.whole))
        assert {part.whole for part in found} == {len(expected.labels)}
        sizes = [len(part.labels) for part in found]
        assert max(sizes) - min(sizes) <= 1


def test_columns_of_one_network_read_the_same_photos(colors):
    first, second = (
        loader_of(colors, mesh=Mesh(data=1, data_size=2, column=column, columns=2))
        for column in (0, 1)
    )
    assert_same(list(first.epoch(1)), list(second.epoch(1)))


def test_a_worker_process_hands_over_no_photos_when_there_are_none(colors):
    mesh = Mesh(data=6, data_size=7)
    parts = list(loader_of(colors, batch=5, mesh=mesh, workers=1).epoch(1))
    assert len(parts) == 10
    assert all(part.photos.shape == (0, 64, 64, 3) for part in parts)
    assert all(part.labels.shape == (0,) for part in parts)


# Damage


@pytest.fixture
def damaged(colors, tmp_path):
    """A copy of the data in which one training photo is no JPEG any more."""
    shutil.copytree(colors, tmp_path / "data")
    shard = tmp_path / "data" / "train-000000.tar"
    data = bytearray(shard.read_bytes())
    place = data.index(b"\xff\xd8\xff", len(data) // 2)
    data[place : place + 64] = bytes(64)
    shard.write_bytes(data)
    return tmp_path / "data"


def test_a_damaged_photo_is_a_sentence_that_names_the_file(damaged):
    with pytest.raises(DatasetError) as caught:
        list(loader_of(damaged).epoch(1))
    sentence = str(caught.value)
    assert sentence.startswith("The photo at byte ")
    assert sentence.endswith("train-000000.tar is damaged: copy or prepare the data again.")


def test_the_sentence_is_all_that_a_person_sees_of_worker_processes(damaged, tmp_path):
    options = ("--preset", "mini", "--set", "recipe.batch=16", "--workers", 1)
    done = run("fit", "--data", damaged, "--out", tmp_path / "run", *options, check=False)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "train-000000.tar is damaged" in done.stderr


# Lost workers


@pytest.fixture
def working(colors):
    """A loader of single photos with one worker process, its epoch, and the process."""
    before = set(multiprocessing.active_children())
    loader = loader_of(colors, batch=1, workers=1)
    epoch = loader.epoch(1)
    next(epoch)
    (worker,) = set(multiprocessing.active_children()) - before
    yield loader, epoch, worker
    worker.kill()


MEMORY = " from outside, often because memory ran out"


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (signal.SIGKILL, f"SIGKILL{MEMORY}"),
        (signal.SIGSEGV, "SIGSEGV"),
        (signal.SIGBUS, "SIGBUS"),
        (signal.SIGRTMIN + 1, f"signal {signal.SIGRTMIN + 1}"),  # it has no name
    ],
)
def test_a_worker_process_that_was_ended_is_a_sentence_that_says_by_what(working, end, words):
    _, epoch, worker = working
    os.kill(worker.pid, end)
    worker.join()
    with pytest.raises(LoaderError) as caught:
        list(epoch)
    assert str(caught.value) == (
        f"A process that decodes photos was ended by {words}: go on with --resume and fewer "
        "--workers, or with --workers 0."
    )


def test_what_hinders_the_training_process_itself_is_not_blamed_on_a_worker(working, monkeypatch):
    def none_left(connection):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    _, epoch, _ = working
    monkeypatch.setattr(photo_workers, "recv_handle", none_left)
    with pytest.raises(OSError, match="Too many open files"):
        list(epoch)


def test_a_worker_process_that_ends_between_epochs_is_noticed_in_the_next(working):
    loader, epoch, worker = working
    list(epoch)
    worker.kill()
    worker.join()
    with pytest.raises(LoaderError, match="ended by SIGKILL"):
        list(loader.epoch(2))


def test_a_defect_in_a_worker_process_is_shown_and_ends_the_run(colors, capfd):
    rows = [np.array([0]), np.array([10**6]), np.array([1])]  # there is no such photo
    found = PhotoWorkers(split_of(colors), count=1, threads=1).batches(rows)
    with pytest.raises(LoaderError, match="ended with exit code 1, by what is shown above"):
        list(found)
    shown = capfd.readouterr().err
    assert "IndexError" in shown
    assert "Traceback" in shown


def test_a_run_that_is_to_stop_waits_for_photos_no_longer_than_it_must(working, monkeypatch):
    monkeypatch.setattr(photo_workers, "PATIENCE", 0.3)
    loader, epoch, worker = working
    os.kill(worker.pid, signal.SIGSTOP)  # as if its disk hung
    loader.stop_asked = lambda: True
    began = time.monotonic()
    found = list(epoch)
    assert 0.3 <= time.monotonic() - began < 20
    assert len(found) < 47  # what had come, and no more


def test_of_several_processes_none_leaves_the_others_when_photos_do_not_come(colors, monkeypatch):
    monkeypatch.setattr(photo_workers, "PATIENCE", 0.3)
    before = set(multiprocessing.active_children())
    loader = loader_of(colors, batch=2, workers=1, mesh=Mesh(data=1, data_size=2))
    epoch = loader.epoch(1)
    next(epoch)
    (worker,) = set(multiprocessing.active_children()) - before
    os.kill(worker.pid, signal.SIGSTOP)
    loader.stop_asked = lambda: True
    with pytest.raises(LoaderError, match="to stop, and no photos come"):
        list(epoch)
    worker.kill()


SMALL = """
mount -t tmpfs -o size=64k tmpfs /dev/shm || exit 77
exec "$@"
"""
SERVED = """
import sys
from train.dataset import Dataset
from train.loader import Loader

if __name__ == "__main__":
    loader = Loader(Dataset(sys.argv[1]).split("train"), batch=12, seed=0, workers=2)
    print([len(part.photos) for epoch in (1, 2) for part in loader.epoch(epoch)])
"""


def test_a_small_dev_shm_is_not_needed(colors):
    """Docker gives 64 MB; here it is 64 KiB, and a minibatch has 144."""
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", SMALL, "sh", sys.executable, "-c", SERVED, colors],
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"only root may mount another /dev/shm here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{[12] * 8}\n"
    assert done.stderr == ""


def test_where_there_is_no_shared_memory_photos_come_through_the_pipe(colors):
    split = split_of(colors)
    rows = [np.arange(start, start + 9) for start in range(0, 45, 9)] + [np.arange(0)]
    workers = PhotoWorkers(split, count=2, threads=1, memory_files=False)
    for photos, chosen in zip(workers.batches(rows), rows, strict=True):
        assert np.array_equal(photos, split.photos(chosen))
        torch.from_numpy(photos).zero_()  # like all others it may be written to


# The life of worker processes


def test_what_is_pinned_ahead_for_a_gpu_comes_in_order(colors, monkeypatch):
    """Without a GPU nothing can be pinned: a copy stands for it, and the order is looked at."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", torch.Tensor.clone)
    mesh = Mesh(device=torch.device("cuda"))
    loader = loader_of(colors, batch=7, workers=2, mesh=mesh)
    for epoch in (1, 2):
        next(loader.epoch(epoch))  # given up
        assert_same(list(loader.epoch(epoch)), list(loader_of(colors, batch=7).epoch(epoch)))


def test_worker_processes_leave_signals_to_the_training_process(colors):
    before = set(multiprocessing.active_children())
    loader = loader_of(colors, workers=1)
    epoch = loader.epoch(1)
    found = [next(epoch)]
    (worker,) = set(multiprocessing.active_children()) - before
    os.kill(worker.pid, signal.SIGTERM)
    os.kill(worker.pid, signal.SIGINT)
    found += epoch
    found += loader.epoch(2)
    expected = loader_of(colors)
    assert_same(found, [*expected.epoch(1), *expected.epoch(2)])
    assert worker.is_alive()
    del loader, epoch
    gc.collect()
    assert ended([worker.pid])  # with their loader, at the latest


def start(colors, *, end):
    """A training process that decodes, and is about to end so."""
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINING.format(end=end), colors],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "decoding\n"
    return process


def children(parent):
    """Ids of the processes that a process started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == parent:
            found.append(int(stat.parent.name))
    return found


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ended(pids, *, within=60):
    deadline = time.monotonic() + within
    while any(map(running, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not any(map(running, pids))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system has no /proc")
def test_worker_processes_end_with_a_training_process_that_was_killed(colors):
    process = start(colors, end="time.sleep(600)")
    workers = children(process.pid)
    assert len(workers) >= 2
    process.kill()
    process.communicate()
    assert ended(workers)


def test_a_training_process_ends_although_its_loader_is_still_in_use(colors):
    process = start(colors, end="globals().update(locals()); sys.exit(3)")
    _, complaints = process.communicate(timeout=120)
    assert process.returncode == 3
    assert complaints == ""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system has no /proc")
def test_shared_memory_is_given_back(colors, served):
    def mapped():
        gc.collect()
        return Path("/proc/self/maps").read_text().count("memfd:photos")

    for epoch in range(1, 4):
        list(served.epoch(epoch))
        next(served.epoch(epoch))  # given up
    kept = next(iter(list(served.epoch(1))))
    assert mapped() > 0  # that is where minibatches of worker processes are
    del kept
    assert mapped() == 0
