"""A network whose columns are apart is the network in one piece: what it says and how it learns."""

from dataclasses import replace

import pytest
import torch

from alexnet.config import caffe, net145, one_gpu
from alexnet.network import AlexNet
from tests.models import tiny, with_tanh
from tests.train.conftest import THIN, on_ranks, run
from train.columns import ColumnsError, split
from train.mesh import Mesh, open_mesh

# Two columns by hand


def joined_by_hand():
    """In one of two columns: what `join` returns, its gradients, and bytes that were sent."""
    config = replace(tiny(), network=replace(tiny().network, classes=3))
    with open_mesh(columns=2) as mesh:
        exchange = split(AlexNet(config), mesh)
        column, found = mesh.column, {}
        # Before conv3: two photos of 8 maps a column, 1 x 3 positions.
        values = 1000.0 * column + torch.arange(48.0).view(2, 8, 1, 3)
        values.requires_grad_()
        joined = exchange.join("conv3", values)
        slopes = torch.arange(96.0).view(2, 16, 1, 3) * (10.0 if column else 1.0)
        (joined * slopes).sum().backward()
        found["conv3"] = (joined.tolist(), values.grad.tolist())
        # Logits: two classes in the first column and one in the second.
        values = torch.tensor([[[1.0, 2.0], [4.0, 5.0]], [[3.0], [6.0]]][column])
        values.requires_grad_()
        joined = exchange.join("logits", values)
        (joined * torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])).sum().backward()
        found["logits"] = (joined.tolist(), values.grad.tolist())
        # A process without photos.
        values = torch.zeros(0, 24, requires_grad=True)
        joined = exchange.join("fc7", values)
        joined.sum().backward()
        found["fc7"] = (tuple(joined.shape), tuple(values.grad.shape))
        found["bytes"] = {layer: cost.bytes for layer, cost in exchange.traffic.items()}
        found["networks"] = {name: _compared(one, mesh) for name, one in _networks().items()}
    return found


def _networks():
    """Small two-column networks, each with something of its own."""
    convs = tuple(replace(conv, maps=16) for conv in net145().network.convs)
    base = tiny()
    fc6, fc7 = replace(base.network.fc6, units=15), replace(base.network.fc7, units=13)
    inputs = replace(base.network.dropout, of="inputs", scaled="in_training")
    return {
        "net145": replace(
            net145(),
            input=replace(net145().input, size=72, crop=64),
            network=replace(_small(net145().network), convs=convs),
        ),
        "odd units": replace(base, network=replace(base.network, fc6=fc6, fc7=fc7, classes=3)),
        "dropout of inputs": replace(base, network=replace(base.network, dropout=inputs)),
        "tanh": with_tanh(base),
    }


def _small(network):
    fc6, fc7 = replace(network.fc6, units=16), replace(network.fc7, units=16)
    return replace(network, fc6=fc6, fc7=fc7, classes=5)


def _compared(config, mesh):
    """How far a column is from the same column of the network in one piece."""
    stream = torch.Generator().manual_seed(1)
    whole = AlexNet(config).double()
    for weight in whole.parameters():  # every layer matters
        with torch.no_grad():
            deviation = (2 / max(1, weight[0].numel())) ** 0.5
            weight.copy_(deviation * torch.randn(weight.shape, generator=stream).double())
    own = AlexNet(config).double()
    own.load_state_dict(whole.state_dict())
    exchange = split(own, mesh)
    side = config.input.crop
    crops = torch.randn(3, 3, side, side, generator=stream).double()
    inputs = config.network.dropout.of == "inputs"
    widths = (whole.fc6.in_features if inputs else whole.fc6.out_features, whole.fc6.out_features)
    widths = widths if inputs else (widths[0], whole.fc7.out_features)
    draws = [torch.rand(3, width, generator=stream).double() for width in widths]
    mine = draws
    if not inputs:  # each column drops its own units
        mine = [draw[:, exchange.parts(name)[mesh.column]] for draw, name in _drawn(draws)]
    answers = []
    for network, numbers in ((whole, draws), (own, mine)):
        logits = network(crops, tuple(numbers))
        torch.nn.functional.cross_entropy(logits, torch.tensor([0, 2, 1])).backward()
        answers.append(logits.detach())
    slopes = {name: weight.grad for name, weight in whole.named_parameters()}
    assert all(bool(slope.abs().max() > 1e-6) for slope in slopes.values())
    expected = exchange.own(slopes)
    collected = exchange.whole(dict(own.state_dict()))
    return {
        "logits": float((answers[0] - answers[1]).abs().max()),
        "gradients": max(
            float((weight.grad - expected[name]).abs().max())
            for name, weight in own.named_parameters()
        ),
        "numbers": sum(weight.numel() for weight in own.parameters()),
        "of": sum(weight.numel() for weight in whole.parameters()),
        "collected": [
            name
            for name, w in whole.state_dict().items()
            if name in collected and torch.equal(w, collected[name])
        ],
    }


def _drawn(draws):
    return zip(draws, ("fc7", "fc8"), strict=True)  # who reads what the dropouts let through


@pytest.fixture(scope="module")
def by_hand():
    return on_ranks(2, joined_by_hand)


@pytest.mark.slow
def test_each_column_gets_the_maps_of_both_in_their_order(by_hand):
    photo, other = torch.arange(48.0).view(2, 8, 1, 3)
    expected = torch.stack([torch.cat([part, part + 1000]) for part in (photo, other)])
    assert by_hand[0]["conv3"][0] == by_hand[1]["conv3"][0] == expected.tolist()


def test_a_column_s_gradient_is_the_sum_of_what_all_columns_say_of_it(by_hand):
    slopes = 11 * torch.arange(96.0).view(2, 16, 1, 3)  # one says 1 x, the other 10 x
    assert by_hand[0]["conv3"][1] == slopes[:, :8].tolist()
    assert by_hand[1]["conv3"][1] == slopes[:, 8:].tolist()


def test_logits_are_collected_and_their_gradient_is_not_summed(by_hand):
    first, second = (answers["logits"] for answers in by_hand)
    assert first[0] == second[0] == [[1, 2, 3], [4, 5, 6]]
    assert (first[1], second[1]) == ([[1, 2], [4, 5]], [[3], [6]])


def test_columns_without_photos_exchange_nothing(by_hand):
    assert by_hand[0]["fc7"] == by_hand[1]["fc7"] == ((0, 48), (0, 24))


def test_bytes_are_those_that_a_column_sends(by_hand):
    # conv3: 2 photos, 8 maps, 3 positions, 4 bytes, and as much back. logits: 2 photos.
    maps = 2 * (2 * 8 * 3 * 4)
    assert by_hand[0]["bytes"] == {"conv3": maps, "logits": 2 * 2 * 4, "fc7": 0}
    assert by_hand[1]["bytes"] == {"conv3": maps, "logits": 2 * 1 * 4, "fc7": 0}


@pytest.mark.parametrize("network", ["net145", "odd units", "dropout of inputs", "tanh"])
def test_a_column_computes_its_part_of_logits_and_gradients(by_hand, network):
    for answers in by_hand:
        assert answers["networks"][network]["logits"] < 1e-12
        assert answers["networks"][network]["gradients"] < 1e-12


@pytest.mark.parametrize("network", ["net145", "odd units", "dropout of inputs", "tanh"])
def test_columns_share_the_weights_and_give_them_back_as_they_were(by_hand, network):
    first, second = (answers["networks"][network] for answers in by_hand)
    assert first["numbers"] + second["numbers"] == first["of"]
    assert len(first["collected"]) == 16
    assert second["collected"] == []


# What can't be spread


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (one_gpu, "has 1 column.*can't be held in 2 processes: use --columns 1.$"),
        (caffe, "conv1 of this network is normalised across its columns.*use --columns 1.$"),
    ],
)
def test_a_network_that_has_no_two_columns_is_refused(config, sentence):
    with torch.device("meta"):
        network = AlexNet(config())
    with pytest.raises(ColumnsError, match=sentence):
        split(network, Mesh(columns=2))


def test_two_columns_are_not_spread_over_three_processes():
    with pytest.raises(ColumnsError, match=r"has 2 column.*use --columns 1 or 2.$"):
        split(AlexNet(tiny()), Mesh(columns=3))


def test_two_columns_without_torchrun_are_a_sentence_that_names_it(colors, tmp_path):
    done = run(
        "fit", *THIN, "--columns=2", "--data", colors, "--out", tmp_path / "run", check=False
    )
    assert done.returncode == 1
    assert "2 columns need 2 processes, or a multiple of that, and there is 1" in done.stderr
    assert "`torchrun --nproc-per-node 2 --no-python alexnet-train " in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()
