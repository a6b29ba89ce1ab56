"""Models in processes of their own."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from alexnet.errors import AlexNetError
from bench.interleave import Took
from bench.processes import Apart, peak_mib
from bench.sessions import Here, Opening
from bench.work import Answers, Network, Query
from tests.bench.runs import run_here
from tests.photos import encode, pattern

WORK = Network([encode(pattern(), "JPEG")], 1)


def children():
    return {child.pid for child in psutil.Process().children()}


@pytest.fixture
def apart(exported):
    session = Apart(Opening(path=exported / "centre.onnx"))
    yield session
    session.close()


def test_a_model_in_another_process_says_of_itself_what_one_here_does(apart, exported):
    here = Here(Opening(path=exported / "centre.onnx"))
    assert (apart.name, apart.info, apart.streams) == (here.name, here.info, here.streams)
    assert here.peak_mib() is None
    here.close()


def test_calls_are_timed_there(apart):
    took = apart.call(WORK)()
    assert isinstance(took, Took)
    assert took.seconds > 0
    assert apart.startup > 0


def test_what_a_task_gives_comes_back_from_there(apart, exported):
    query = Answers(Query([encode(pattern(), "JPEG")], 1))
    here = Here(Opening(path=exported / "centre.onnx"))
    assert apart.result(query) == query.bind(here.backend)()
    here.close()


def test_its_memory_is_its_own(apart):
    apart.call(WORK)()
    assert 20 < apart.peak_mib() < peak_mib()  # PyTorch is here, and not there


def test_the_peak_is_of_memory_that_was_used():
    code = (
        "import numpy as np; from bench.processes import peak_mib; before = peak_mib(); "
        "np.ones(200 * 2**20, np.uint8); print(peak_mib() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert float(done.stdout) == pytest.approx(200, abs=10)


def test_a_process_that_was_killed_is_a_sentence(exported):
    others = children()
    session = Apart(Opening(path=exported / "centre.onnx"))
    call = session.call(WORK)
    (pid,) = {
        c for c in children() - others if "spawn_main" in " ".join(psutil.Process(c).cmdline())
    }
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(AlexNetError, match=r"centre\.onnx ended by itself \(exit code -9\)"):
        call()
    session.close()


def test_a_model_that_cannot_be_opened_there_is_the_same_sentence(tmp_path):
    with pytest.raises(AlexNetError, match=r"There is no model .*gone\.onnx"):
        Apart(Opening(path=tmp_path / "gone.onnx"))


def test_each_variant_gets_a_process_that_ends_with_the_command(exported):
    before = children()
    code, out, error = run_here(
        *("latency", exported / "centre.onnx", "--no-baseline", "--batch", "1,2"),
        *("--count", "2", "--warmup", "0"),
    )
    assert code == 0, error
    result = json.loads(out.splitlines()[-1])
    assert result["isolated"]
    assert [row["infer_batch_size"] for row in result["results"]] == [1, 2]
    assert all(row["peak_mib"] > 20 and row["startup_ms"] > 0 for row in result["results"])
    assert "peak MiB" in out
    left = [psutil.Process(pid) for pid in children() - before]
    assert not [one for one in left if "spawn_main" in " ".join(one.cmdline())]
