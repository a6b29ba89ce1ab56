"""`alexnet-bench peers`: that peers compute the same, and what happens to one that can't run."""

import importlib.util
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace

import psutil
import pytest
import torch

from alexnet.checkpoint import load_checkpoint
from alexnet.config import preset
from alexnet.errors import AlexNetError
from alexnet.fresh import fresh_checkpoint
from alexnet.photo import load_photo
from alexnet.views import Crops, views_of
from bench import peer_http, peer_local
from bench.interleave import Took
from bench.peer import FILES, Peer, Setup, difference, run_room
from bench.peer_networks import plain_network, ten_crops
from bench.peers import PARTS, _open, _row, peers, why_unequal
from bench.peers import Plan as PeersPlan
from bench.photos import read_photos
from bench.sampling import Sampling
from tests.models import small
from tests.photos import encode, pattern, sklearn_photos

ENV = {**os.environ, "OMP_NUM_THREADS": "1"}
MEASURED = ("tencrop", "exported", "ours", "pipelined", "services", "timm")


# Networks as others write them


@pytest.mark.parametrize("name", ["paper", "caffe", "torchvision", "mini"])
def test_a_network_of_plain_layers_gives_our_logits(name):
    checkpoint = fresh_checkpoint(preset("mini") if name == "mini" else small(name), seed=3)
    side = checkpoint.config.input.crop
    crops = 60 * torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    plain = plain_network(checkpoint.config)
    plain.load_state_dict(dict(checkpoint.weights))
    with torch.inference_mode():
        ours, theirs = checkpoint.network()(crops), plain(crops)
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5 * float(ours.abs().max()))


def test_a_layer_that_pytorch_lacks_is_named():
    with pytest.raises(AlexNetError, match="no layer for conv2's normalisation over positions"):
        plain_network(small("net145"))


@pytest.mark.parametrize("kind", ["photograph", "tall"])
def test_torchvisions_way_to_ten_crops_gives_our_views(kind):
    config = preset("torchvision").input
    data = sklearn_photos()[0].read_bytes() if kind == "photograph" else None
    data = data or encode(pattern(300, 411), "PNG")
    theirs = ten_crops(data, config)
    pixels = torch.from_numpy(load_photo(data, config).pixels)[None]
    ours = Crops(config, None)(pixels, views_of(config, "ten"))
    # torchvision has the corners first and the centre last, here the centre is in the middle.
    order = [0, 1, 3, 4, 2, 5, 6, 8, 9, 7]
    torch.testing.assert_close(theirs, ours[order], rtol=0, atol=1e-5)


# Answers


def test_answers_differ_by_the_most_that_a_probability_does():
    one = [(3, 0.5), (1, 0.25), (7, 0.125)]
    assert difference(one, one) == 0
    assert difference(one, [(3, 0.5), (1, 0.25), (7, 0.0625)]) == 0.0625
    assert difference(one, [(3, 0.5), (7, 0.25), (1, 0.125)]) == 0.125  # same values, other classes
    assert difference(one, [(4, 0.5), (5, 0.25), (6, 0.125)]) == 1.0  # no class in common


def test_an_answer_with_all_classes_is_compared_in_all_and_one_of_the_best_in_these():
    every = [(3, 0.5), (1, 0.25), (7, 0.125), (0, 0.0625), (2, 0.0625)]
    # The best three are equal, and the fourth is not.
    assert difference([*every[:3], (0, 0.1), (2, 0.025)], every) == pytest.approx(0.0375)
    assert difference(every[:3], every) == 0
    # Classes that are not the best ones: the probabilities of each are right, their places wrong.
    assert difference([(7, 0.125), (0, 0.0625)], every) == 0.375


def test_a_float32_row_that_answers_otherwise_makes_the_run_invalid():
    row = {"name": "other weights", "precision": "fp32", "max_difference": 0.25}
    rows = [row, row | {"precision": "bf16"}, row | {"max_difference": 9e-6}]
    rows += [row | {"max_difference": None}]  # another network
    (reason,) = why_unequal(rows)
    assert reason.startswith("other weights: its probabilities differ from the baseline's by 2.5e-")


# What can't run


def setup_of(folder, checkpoint):
    return Setup(checkpoint=checkpoint, folder=folder, photos=read_photos(None), threads=1)


@pytest.mark.parametrize(
    ("package", "opener", "says"),
    [
        ("fastapi", peer_http.fastapi, "pip install -e '.[peers]'"),
        ("onnxscript", peer_local.dynamo_export, "pip install -e '.[peers]'"),
        ("timm", PARTS["timm"]["timm"], "install timm, and the torchvision"),
    ],
)
def test_what_is_not_installed_is_left_out_with_a_sentence(
    monkeypatch, tmp_path, model_path, package, opener, says
):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(PARTS, "one", {"it": opener})
    with ExitStack() as stack:
        plan = PeersPlan(parts=["one"])
        found, skipped = _open(setup_of(tmp_path, model_path), plan, stack)
    assert [peer.name for peer in found] == ["PyTorch eager"]
    (one,) = skipped
    assert one["name"] == "it"
    assert says in one["why"]


def test_a_command_that_refuses_is_quoted(tmp_path):
    with pytest.raises(AlexNetError, match=r"alexnet-export onnx: .*no checkpoint"):
        run_room("export", "onnx", tmp_path / "none.safetensors", "-o", tmp_path / "a.onnx")


def test_rows_of_another_network_or_view_are_not_compared(model_path):
    config = load_checkpoint(model_path).config
    peer = Peer(name="a", part="ours", what="", config=config, call=lambda: None, answers=[])
    assert peer.same(replace(peer, name="b", precision="bf16"))
    assert not peer.same(replace(peer, views="centre"))
    assert not peer.same(replace(peer, config=preset("paper")))
    assert not peer.same(replace(peer, answers=None))


# The whole command


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


def test_every_answer_of_a_pipeline_is_compared(model_path):
    config = load_checkpoint(model_path).config
    first, second = [(3, 0.5), (1, 0.25)], [(2, 0.75), (0, 0.125)]
    plain = Peer(
        name="a", part="eager", what="", config=config, call=lambda: None, answers=[first, second]
    )
    # Five photos are the two in turns; the fourth has the answer of another one.
    mixed = replace(plain, part="pipelined", answers=[first, second, first, first, first])
    right = replace(plain, part="pipelined", answers=[first, second, first, second, first])
    found, times = [plain, right, mixed], [[1.0, 1.0]] * 3
    differences = [_row(found, times, place)["max_difference"] for place in range(3)]
    assert differences == [0, 0, 1.0]


# A process for each


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


def test_a_run_is_said_to_be_isolated_whatever_its_sampling(monkeypatch, model_path):
    monkeypatch.setattr("bench.peers.PARTS", {})
    plan = PeersPlan(
        checkpoint=model_path,
        parts=[],
        threads=1,
        sampling=Sampling(count=2, duration=None, warmup=0, isolate=False),
    )
    result = peers(plan)
    assert result["isolated"]
    assert [row["name"] for row in result["results"]] == ["PyTorch eager"]


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
