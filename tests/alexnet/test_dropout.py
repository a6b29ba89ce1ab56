"""Dropout in both conventions, its draws from outside, and where columns meet."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from alexnet.config import PRESETS, DropoutConfig, preset
from alexnet.network import AlexNet, Dropout
from tests.models import narrow, tiny

# F.10: dropout


def test_dropout_of_2012_drops_without_rescaling_and_halves_in_use():
    dropout = Dropout(DropoutConfig())
    values = torch.rand(100_000) + 0.5
    dropped = dropout.train()(values)
    kept = dropped != 0
    assert torch.equal(dropped[kept], values[kept])
    assert dropped.mean().item() == pytest.approx(values.mean().item() / 2, rel=0.02)
    assert not torch.equal(dropped, dropout(values))
    used = dropout.eval()(values)
    assert torch.equal(used, values / 2)
    assert torch.equal(used, dropout(values))


def test_inverted_dropout_doubles_survivors_and_leaves_use_alone():
    dropout = Dropout(DropoutConfig(scaled="in_training"))
    values = torch.rand(100_000) + 0.5
    dropped = dropout.train()(values)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], 2 * values[kept])
    assert kept.float().mean().item() == pytest.approx(0.5, abs=0.01)
    assert torch.equal(dropout.eval()(values), values)


@pytest.mark.parametrize(("name", "steady"), [("paper", False), ("torchvision", True)])
def test_dropout_of_inputs_leaves_the_features_of_fc7_whole(name, steady):
    """With outputs dropped, fc7 loses none of its own values either: features come before."""
    network = AlexNet(narrow(name)).initialise(torch.Generator().manual_seed(0)).train()
    side = network.config.input.crop
    crops = 50 * torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    logits, features = network.forward_features(crops)
    again, features_again = network.forward_features(crops)
    assert not torch.equal(features, features_again)  # fc6's values, or its inputs, are dropped
    whole = torch.equal(F.linear(features, network.fc8.weight, network.fc8.bias), logits)
    assert whole == steady
    assert not torch.equal(logits, again)


def test_a_value_is_kept_where_its_draw_is_below_the_probability_of_keeping():
    values = torch.tensor([1.0, 2.0, 3.0, 4.0])
    draw = torch.tensor([0.0, 0.69, 0.7, 0.99])
    in_test = Dropout(DropoutConfig(rate=0.3)).train()
    assert in_test(values, draw).tolist() == [1, 2, 0, 0]
    inverted = Dropout(DropoutConfig(rate=0.3, scaled="in_training")).train()
    assert inverted(values, draw).tolist() == pytest.approx([1 / 0.7, 2 / 0.7, 0, 0])
    assert in_test.eval()(values, draw).tolist() == pytest.approx([0.7, 1.4, 2.1, 2.8])
    assert torch.equal(inverted.eval()(values, draw), values)


def test_dropout_of_rate_0_keeps_all():
    values = torch.rand(100)
    for scaled in ("in_test", "in_training"):
        dropout = Dropout(DropoutConfig(rate=0.0, scaled=scaled))
        assert torch.equal(dropout.train()(values), values)
        assert torch.equal(dropout.eval()(values), values)


# Draws from outside


def network_of(**dropout):
    """A small network of two columns and hidden layers of 48 and 32 units, and two crops."""
    config = tiny()
    network = config.network
    network = replace(network, dropout=replace(network.dropout, **dropout))
    made = AlexNet(replace(config, network=network))
    made.initialise(torch.Generator().manual_seed(0)).train()
    return made, 50 * torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(1))


def maps_of(network, crops):
    maps = crops
    for name, conv in network.convs:
        maps = network.conv_stage(name, conv, maps)
    return maps.flatten(1)


def test_the_first_draw_is_for_fc6_s_values_and_the_second_for_fc7_s():
    network, crops = network_of()
    draws = torch.rand(2, 48), torch.rand(2, 32)
    hidden = F.relu(network.fc6(maps_of(network, crops))) * (draws[0] < 0.5)
    hidden = F.relu(network.fc7(hidden))
    assert hidden.any()
    expected = network.fc8(hidden * (draws[1] < 0.5))
    torch.testing.assert_close(network(crops, draws), expected)


def test_where_inputs_are_dropped_the_draws_are_for_the_inputs_of_fc6_and_fc7():
    network, crops = network_of(of="inputs", scaled="in_training")
    values = maps_of(network, crops)
    draws = torch.rand(values.shape), torch.rand(2, 48)
    hidden = F.relu(network.fc6(2 * values * (draws[0] < 0.5)))
    hidden = F.relu(network.fc7(2 * hidden * (draws[1] < 0.5)))
    assert hidden.any()
    torch.testing.assert_close(network(crops, draws), network.fc8(hidden))


def test_the_same_draws_give_the_same_logits():
    network, crops = network_of()
    draws = torch.rand(2, 48), torch.rand(2, 32)
    assert torch.equal(network(crops, draws), network(crops, draws))
    assert not torch.equal(network(crops), network(crops))


def test_draws_are_for_training_only():
    network, crops = network_of()
    network.eval()
    assert torch.equal(network(crops, (torch.ones(2, 48), torch.ones(2, 32))), network(crops))


# Where columns meet


@pytest.mark.parametrize("name", PRESETS)
def test_columns_meet_where_layers_read_all_of_them_and_in_the_logits(name):
    config = narrow(name)
    network = AlexNet(config).initialise(torch.Generator().manual_seed(0)).eval()
    met = []

    def join(layer, values):
        met.append((layer, values.shape[1]))
        return values

    network.join = join
    side = config.input.crop
    network(torch.randn(1, 3, side, side))
    convs = preset(name).network.convs
    # conv1 reads pixels, which every column has [P §3.2, figure 2].
    reading = [number for number, conv in enumerate(convs, 1) if conv.reads == "all" and number > 1]
    layers = [(f"conv{number}", convs[number - 2].maps) for number in reading]
    values = convs[-1].maps * 6 * 6
    assert met == [*layers, ("fc6", values), ("fc7", 64), ("fc8", 48), ("logits", 20)]


def test_in_the_paper_s_network_columns_meet_before_conv3_alone_of_the_convolutions():
    network, crops = network_of()
    met = []
    network.join = lambda layer, values: (met.append(layer), values)[1]
    network(crops)
    assert met == ["conv3", "fc6", "fc7", "fc8", "logits"]


def test_what_is_joined_was_dropped_before_where_outputs_are_dropped():
    """So each column drops its own values, and sends what is left."""
    network, crops = network_of()
    joined = {}
    network.join = lambda layer, values: joined.setdefault(layer, values)
    nothing = torch.ones(2, 48), torch.ones(2, 32)
    network(crops, nothing)
    assert not joined["fc7"].any()
    assert not joined["fc8"].any()


def test_where_inputs_are_dropped_they_are_joined_first():
    network, crops = network_of(of="inputs")
    torch.nn.init.ones_(network.fc6.bias)  # so that units answer although all inputs are dropped
    joined = {}
    network.join = lambda layer, values: joined.setdefault(layer, values)
    network(crops, (torch.ones(2, network.fc6.in_features), torch.ones(2, 48)))
    assert joined["fc6"].any()
    assert joined["fc7"].any()
