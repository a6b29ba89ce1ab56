"""Peers are really measured."""

import importlib.util
import json
import os
import subprocess
import sys
from contextlib import ExitStack

import psutil
import pytest

from bench import peer_local
from bench.interleave import Took
from bench.peer import FILES
from bench.peers import PARTS
from bench.photos import read_photos
from tests.bench.test_peers import setup_of

ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


MEASURED = ("tencrop", "exported", "ours", "pipelined", "services", "timm")


@pytest.fixture(scope="module")
def measured(tmp_path_factory, model_path):
    """Every part but torchvision's full-size network, on the shipped model and two photographs."""
    file = tmp_path_factory.mktemp("peers") / "peers.json"
    options = ["--checkpoint", model_path, "--only", ",".join(MEASURED), "--threads", "1"]
    options += ["--count", "2", "--warmup", "0", "--pause", "0", "--json", file]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "peers", *options],
        capture_output=True,
        text=True,
        env=ENV | {"PEERS_TEST": str(os.getpid())},
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(file.read_text()), done


def test_every_peer_is_measured_or_left_out_with_a_sentence(measured):
    result, _ = measured
    rows = [row["name"] for row in result["results"]]
    left_out = {one["name"]: one["why"] for one in result["skipped"]}
    names = [name for part in MEASURED for name in PARTS[part]]
    assert len(rows) + len(left_out) == 1 + len(names)
    assert all(why.endswith((".", "?")) for why in left_out.values()), left_out
    assert rows[0] == "PyTorch eager"
    assert {"PyTorch's export (legacy), ONNX Runtime", "our service"} <= set(rows)
    assert {"FastAPI service", "BentoML service"} <= set(rows)
    assert "BentoML, adaptive batching service" in rows
    assert "PyTorch eager, TenCrop" in rows
    assert {"ONNX Runtime fp32, ours", "ONNX Runtime fp32, pipelined"} <= set(rows)
    if importlib.util.find_spec("openvino") is not None:
        assert "OpenVINO fp32, ours" in rows
    has_onnxscript = importlib.util.find_spec("onnxscript") is not None
    assert ("PyTorch's export (dynamo), ONNX Runtime" in rows) == has_onnxscript


def test_peers_with_the_same_network_give_the_same_answers(measured):
    result, _ = measured
    compared = [row for row in result["results"] if row["views"] == "ten"]
    assert len(compared) >= 7
    assert "pipelined" in {row["part"] for row in compared}
    for row in compared:
        assert row["max_difference"] <= (1e-5 if row["precision"] == "fp32" else 0.05), row["name"]
    # One view has no answer of ten to be compared with.
    assert all(
        row["max_difference"] is None and row["ratio"] is None
        for row in result["results"]
        if row["views"] == "centre"
    )


def test_a_ratio_is_the_baselines_median_over_the_rows(measured):
    result, _ = measured
    base = sorted(result["results"][0]["samples_ms"])
    assert result["results"][0]["baseline"]
    for row in result["results"]:
        times = sorted(row["samples_ms"])
        assert len(times) == result["rounds"] == 2
        if row["ratio"] is not None:
            # Of two times the median is the mean.
            assert row["ratio"]["value"] == pytest.approx(sum(base) / sum(times), rel=1e-3)
        assert row["infer_samples_per_sec"] == pytest.approx(2000 / sum(times), rel=1e-3)


def test_the_output_ends_with_the_result_and_no_service_stays_behind(measured):
    result, done = measured
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["benchmark"] == "peers"
    assert [row["name"] for row in last["results"]] == [row["name"] for row in result["results"]]
    assert "differs by" in done.stdout
    assert result["isolated"]
    assert not [process for process in psutil.process_iter() if _belongs(process)]


def _belongs(process):
    """Whether the command of these tests started it."""
    try:
        return process.environ().get("PEERS_TEST") == str(os.getpid())
    except psutil.Error:
        return False


def remote_calls(peer):
    """Whether a peer's call tells a time that was taken in another process."""
    return isinstance(peer.call(), Took)


@pytest.fixture
def opened(tmp_path, model_path):
    """Opens peers as the command does, and closes them."""
    with ExitStack() as stack:
        yield lambda opener: opener(setup_of(tmp_path, model_path), stack)


@pytest.mark.parametrize(
    "part_and_name",
    [(part, next(iter(PARTS[part]))) for part in ("tencrop", "exported", "ours", "pipelined")],
    ids=lambda one: one[0],
)
def test_what_runs_here_is_timed_in_a_process_of_its_own(opened, part_and_name):
    part, name = part_and_name
    peer = opened(PARTS[part][name])
    assert remote_calls(peer)
    # Every class of every photo, so that all of them can be compared.
    assert {len(answer) for answer in peer.answers} == {peer.config.network.classes}
    photos = len(read_photos(None))
    assert len(peer.answers) == (FILES if part == "pipelined" else photos)


def test_torchvision_s_way_is_too(opened):
    peer = opened(peer_local.torchvision)
    assert remote_calls(peer)
    assert {len(answer) for answer in peer.answers} == {1000}


TIMM = """
import torch
from pathlib import Path
from torch.utils.data import DataLoader

def create_dataset(name, root):
    return sorted(Path(root).iterdir())

def create_loader(files, input_size, batch_size, num_workers, **_):
    def collate(batch):
        return torch.zeros(len(batch), *input_size), torch.zeros(len(batch))
    return DataLoader(files, batch_size=batch_size, num_workers=num_workers, collate_fn=collate)
"""


def test_timm_s_loader_may_start_processes_in_its_own(monkeypatch, tmp_path, opened):
    # A stand-in with timm's two functions, whose loader has workers as timm's has.
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "__init__.py").touch()
    (tmp_path / "timm" / "data.py").write_text(TIMM)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    peer = opened(PARTS["timm"]["timm"])
    try:
        assert remote_calls(peer)
        assert (peer.views, peer.answers) == ("centre", None)
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "timm"]:
            del sys.modules[name]
    assert remote_calls(opened(PARTS["timm"]["our predictor"]))
