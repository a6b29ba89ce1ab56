"""A preparation that is killed goes on."""

import os
import signal
import time
from pathlib import Path

import pytest

from alexnet.errors import AlexNetError
from tests.train.folders import contents, make
from tests.train.test_prepare import begin, needs_proc, slow, workers
from train.dataset import Dataset


def alive(pid):
    """Whether a process runs; one that ended and that nobody asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@needs_proc
def test_a_killed_run_goes_on_and_gives_the_same_bytes(tmp_path, slow):
    source, wanted = slow
    data, kept = tmp_path / "data", {}
    for shard in ("train-000000.tar", "train-000002.tar"):
        process = begin(source, data, until=shard)
        decoding = workers(process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with pytest.raises(AlexNetError, match="not finished: run the same"):
            Dataset(data)
        for path in data.glob("*.tar"):
            kept.setdefault(path.name, path.stat().st_mtime_ns)
        deadline = time.monotonic() + 30
        while any(map(alive, decoding)):
            assert time.monotonic() < deadline, "a worker outlived its parent"
            time.sleep(0.05)
    make(source, data, shard_photos=64)
    assert len(kept) >= 3
    assert {name: (data / name).stat().st_mtime_ns for name in kept} == kept, "written again"
    assert contents(data) == wanted
    assert not (data / ".prepare").exists()


@needs_proc
def test_a_worker_that_is_killed_is_a_sentence(tmp_path, slow):
    process = begin(slow[0], tmp_path / "data", until="train-000000.tar")
    os.kill(int(workers(process)[0]), signal.SIGKILL)
    error = process.communicate()[1]
    assert error.startswith("alexnet-train: A worker process was ended from outside")
    assert (process.returncode, error.count("\n")) == (1, 1)
