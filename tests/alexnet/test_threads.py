"""How many threads runtimes start by themselves where a process may use fewer cores."""

from pathlib import Path

import pytest
import torch

from alexnet.backends import open_backend, threads
from alexnet.backends.threads import within_cores
from alexnet.checkpoint import save_checkpoint
from export.graph import write_onnx
from tests.models import tiny
from train.untrained import untrained


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("threads")
    checkpoint = untrained(tiny(), seed=0)
    save_checkpoint(checkpoint, folder / "model.safetensors")
    write_onnx(checkpoint, folder / "model.onnx", views="centre")
    return folder


@pytest.fixture
def quota(monkeypatch):
    """A container that has 2.5 cores of a machine of eight."""
    monkeypatch.setattr("alexnet.machine.cpu_quota", lambda: 2.5)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "_physical_cores", lambda: 8)
    monkeypatch.setenv("ALEXNET_CACHE", "off")


@pytest.fixture
def eight_threads():
    """PyTorch as it counts on such a machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(before)


def test_the_smaller_of_cores_and_the_runtimes_own_number_counts(quota):
    assert within_cores(None) == 3
    assert within_cores(None, own=8) == 3
    # With fewer of its own a runtime is left alone: on two logical cores of one, say.
    assert within_cores(None, own=3) is within_cores(None, own=2) is None


def test_what_was_asked_for_stays(quota):
    assert within_cores(16) == 16
    assert within_cores(1) == 1


def test_without_a_limit_runtimes_choose(monkeypatch):
    monkeypatch.setattr("alexnet.machine.cpu_quota", lambda: None)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "_physical_cores", lambda: 8)
    assert within_cores(None) is None


def test_physical_cores_are_counted_once(monkeypatch, tmp_path):
    # Two cores of two threads each; a folder beside them that is none.
    for cpu, siblings in enumerate(["0,2\n", "1,3\n", "0,2\n", "1,3\n"]):
        place = tmp_path / f"cpu{cpu}" / "topology"
        place.mkdir(parents=True)
        (place / "thread_siblings_list").write_text(siblings)
    (tmp_path / "cpufreq" / "topology").mkdir(parents=True)
    monkeypatch.setattr(threads, "_CPUS", tmp_path)
    assert threads._physical_cores() == 2
    monkeypatch.setattr(threads, "_CPUS", tmp_path / "none")
    assert threads._physical_cores() >= 1


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted by /proc")
def test_onnx_runtime_keeps_to_a_quota(quota, folder):
    def of(**options):
        before = len(list(Path("/proc/self/task").iterdir()))
        backend = open_backend(folder / "model.onnx", backend="onnxruntime", **options)
        started = len(list(Path("/proc/self/task").iterdir())) - before
        backend.close()
        return started + 1  # with the one that calls

    open_backend(folder / "model.onnx", backend="onnxruntime").close()  # what starts only once
    assert of() == 3
    assert of(threads=2) == 2
    assert of(mode="throughput") == 1  # and as many calls side by side as there are cores


def test_openvino_keeps_to_a_quota(quota, folder):
    pytest.importorskip("openvino", reason="needs pip install -e '.[openvino]'")
    backend = open_backend(folder / "model.onnx", backend="openvino")
    # What it was told; it starts fewer on a machine that has fewer.
    assert backend._threads == 3
    (model,) = backend._models.values()
    assert 1 <= model.compiled.model.get_property("INFERENCE_NUM_THREADS") <= 3


def test_pytorch_keeps_to_a_quota(quota, eight_threads, folder):
    open_backend(folder / "model.safetensors")
    assert torch.get_num_threads() == 3


def test_pytorch_with_fewer_threads_keeps_them(quota, eight_threads, folder):
    torch.set_num_threads(2)
    open_backend(folder / "model.safetensors")
    assert torch.get_num_threads() == 2
