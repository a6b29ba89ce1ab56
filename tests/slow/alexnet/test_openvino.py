"""OpenVINO from the first call of a process on."""

import subprocess
import sys

import pytest

from alexnet.checkpoint import load_checkpoint, shipped_model
from export.choices import choices_for
from export.graph import write_onnx

# Without a GIL that anybody gets, a process that waits for ever does not even hear its own alarm.
FIRST_CALLS = """
import sys, threading
import numpy as np
from alexnet.backends import open_backend

backend = open_backend(sys.argv[1], backend="openvino", mode="throughput", threads=8)
photos, ready, answers = np.zeros((4, 64, 64, 3), np.uint8), threading.Barrier(8), []

def call():
    ready.wait()
    answers.append(backend.run(photos))

threads = [threading.Thread(target=call) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(answers))
"""


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    path = tmp_path_factory.mktemp("first") / "mini.onnx"
    checkpoint = load_checkpoint(shipped_model())
    write_onnx(checkpoint, path, choices=choices_for("openvino", checkpoint.config))
    return path


@pytest.mark.parametrize("start", range(6))
def test_first_calls_side_by_side_do_not_wait_for_each_other(graph, start):
    """Every second process stood still when nothing kept its first calls apart."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_CALLS, graph], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "8\n"), done.stderr
