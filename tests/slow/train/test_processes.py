"""Processes that prepare photos or train: one that ends ends the command, with a sentence."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from alexnet.errors import AlexNetError
from tests.train.folders import make, pets, write
from train.experiments import processes
from train.experiments.experiment import ExperimentError, Task
from train.experiments.processes import Processes

# A training's work is a function of a module, which its process imports.


def kill_itself(task, name, run, dataset):
    os.kill(os.getpid(), signal.SIGKILL)


def have_a_defect(task, name, run, dataset):
    raise ZeroDivisionError("a defect")


def write_down(task, name, run, dataset):
    (task.out / name).write_text(str(run))


def stop_still(task, name, run, dataset):
    (task.out / name).touch()
    os.kill(os.getpid(), signal.SIGSTOP)  # as if its disk hung


@pytest.fixture
def task(colors, tmp_path):
    return Task(data=colors, out=tmp_path, settings=None)


def children():
    return set(multiprocessing.active_children())


def test_trainings_are_done_by_the_processes(task):
    Processes(task, write_down, count=1).train({"a": 1, "b": 2})
    assert [(task.out / name).read_text() for name in ("a", "b")] == ["1", "2"]


@pytest.mark.parametrize(("work", "code"), [(kill_itself, -9), (have_a_defect, 1)])
def test_a_training_process_that_ends_is_a_sentence(task, work, code):
    before = children()
    with pytest.raises(ExperimentError, match=f"that trained a ended with {code}, .* goes on"):
        Processes(task, work, count=1).train({"a": 1})
    assert children() == before


def test_a_training_process_that_ends_before_its_training_is_a_sentence(task):
    before = children()
    made = Processes(task, write_down, count=1)
    (process,) = children() - before
    process.kill()
    process.join()
    with pytest.raises(ExperimentError, match="that trained a ended with -9"):
        made.train({"a": 1})


def test_sigterm_is_heard_though_a_training_hangs(task, monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", 1.0)
    before = children()
    made = Processes(task, stop_still, count=1)

    def ask():
        while not (task.out / "a").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    asking = threading.Thread(target=ask)
    asking.start()
    made.train({"a": 1, "b": 2})
    asking.join()
    assert not (task.out / "b").exists()
    assert children() == before


# Preparation


def test_a_process_that_prepares_photos_and_is_killed_is_a_sentence(tmp_path):
    write(tmp_path / "photos", pets(200))
    before = children()

    def kill():
        while not (begun := children() - before):
            time.sleep(0.01)
        for process in begun:
            process.kill()

    killing = threading.Thread(target=kill)
    killing.start()
    with pytest.raises(AlexNetError, match=r"was ended from outside, .* finished shards are kept"):
        make(tmp_path / "photos", tmp_path / "data", workers=2)
    killing.join()


FULL = """
mount -t tmpfs -o size=4k tmpfs /dev/shm || exit 77
exec "$@"
"""


def test_no_room_for_the_locks_of_a_pool_is_a_sentence_that_names_dev_shm(tmp_path):
    write(tmp_path / "photos", pets(200))
    command = str(Path(sys.executable).with_name("alexnet-train"))
    words = ["prepare", tmp_path / "photos", tmp_path / "data", "--size", "16", "--workers"]
    done = [
        subprocess.run(
            ["unshare", "-m", "sh", "-c", FULL, "sh", command, *words, count],
            capture_output=True,
            text=True,
            timeout=120,
        )
        for count in ("2", "1")
    ]
    if done[0].returncode == 77 or "unshare" in done[0].stderr:
        pytest.skip(f"only root may mount another /dev/shm here: {done[0].stderr.strip()}")
    assert done[0].returncode == 1
    assert done[0].stderr.count("\n") == 1
    assert "/dev/shm, where their locks are kept, is full or missing" in done[0].stderr
    assert "or use --workers 1." in done[0].stderr
    assert done[1].returncode == 0, done[1].stderr
