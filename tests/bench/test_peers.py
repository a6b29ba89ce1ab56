"""`alexnet-bench peers`: that peers compute the same, and what happens to one that can't run."""

import sys
from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch

from alexnet.checkpoint import load_checkpoint
from alexnet.config import preset
from alexnet.errors import AlexNetError
from alexnet.fresh import fresh_checkpoint
from alexnet.photo import load_photo
from alexnet.views import Crops, views_of
from bench import peer_http, peer_local
from bench.peer import Peer, Setup, difference, run_room
from bench.peer_networks import plain_network, ten_crops
from bench.peers import PARTS, _open, _row, peers, why_unequal
from bench.peers import Plan as PeersPlan
from bench.photos import read_photos
from bench.sampling import Sampling
from tests.models import small
from tests.photos import encode, pattern, sklearn_photos

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
