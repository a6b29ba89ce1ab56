"""Momentum, decay and rates; numbers worked in double precision (docs/fidelity.md's formulas)."""

from dataclasses import replace

import pytest
import torch

from alexnet.config import preset
from alexnet.network import AlexNet
from tests.models import narrow
from train.optimizer import SGD, optimizer_for, set_rates
from train.recipe import Recipe
from train.schedule import Rates

# One weight, w0 = 1, momentum .9, decay .0005, the rate cut before the third step.
GRADIENTS = (0.5, 0.2, 0.2, 0.2)
RATES = (0.01, 0.01, 0.001, 0.001)
WITH_RATE_INSIDE = [0.994995, 0.988485525025, 0.982426503304737, 0.976772892543250]


def one_weight(**conventions):
    weight = torch.nn.Parameter(torch.ones((), dtype=torch.float64))
    groups = [{"params": [weight], "lr": 0.0, "weight_decay": 0.0005}]
    return weight, SGD(groups, momentum=0.9, **conventions)


def steps(weight, optimizer, *, rates=RATES, gradients=GRADIENTS):
    """The weight after each step, and the velocities."""
    weights, velocities = [], []
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
        weights.append(weight.item())
        velocities.append(optimizer.state[weight]["velocity"].item())
    return weights, velocities


# F.3: the conventions


def test_the_rate_is_inside_the_velocity_as_in_2012():
    weights, velocities = steps(*one_weight())
    assert weights == pytest.approx(WITH_RATE_INSIDE, abs=1e-14)
    assert velocities == pytest.approx(
        [-0.005005, -0.006509474975, -0.006059021720263, -0.005653610761488], abs=1e-14
    )


def test_the_rate_outside_the_velocity_is_pytorchs_rule():
    weight = torch.nn.Parameter(torch.ones((), dtype=torch.float64))
    theirs = torch.optim.SGD([weight], lr=0.01, momentum=0.9, weight_decay=0.0005)
    expected = []
    for gradient, rate in zip(GRADIENTS, RATES, strict=True):
        theirs.param_groups[0]["lr"] = rate
        weight.grad = torch.full_like(weight, gradient)
        theirs.step()
        expected.append(weight.item())
    mine, _ = steps(*one_weight(lr_in_velocity=False))
    assert mine == pytest.approx(expected, abs=1e-15)
    assert mine[:2] == pytest.approx(WITH_RATE_INSIDE[:2], abs=1e-14)  # until the cut, the same
    assert mine[2:] == pytest.approx([0.987699178034487, 0.986790971893437], abs=1e-14)


def test_biases_have_their_own_rate_and_do_not_decay():
    layer = torch.nn.Linear(1, 1).double()
    torch.nn.init.ones_(layer.bias)
    optimizer = optimizer_for(layer, Recipe(name="x", lr=0.01, bias_lr=0.02))
    seen = []
    for gradient in (0.5, 0.2):
        layer.bias.grad = torch.full_like(layer.bias, gradient)
        optimizer.step()
        seen.append((layer.bias.item(), optimizer.state[layer.bias]["velocity"].item()))
    assert seen == [pytest.approx((0.99, -0.01)), pytest.approx((0.977, -0.013))]


# A rate of 0


@pytest.mark.parametrize("lr_in_velocity", [True, False])
def test_a_weight_with_rate_0_is_left_alone_to_the_bit(lr_in_velocity):
    weight, optimizer = one_weight(lr_in_velocity=lr_in_velocity)
    weights, velocities = steps(
        weight, optimizer, rates=(0.01, 0.01, 0.0, 0.0), gradients=(0.5, 0.2, 7.0, -3.0)
    )
    assert weights[1] == weights[2] == weights[3]
    assert velocities[1] == velocities[2] == velocities[3]


def test_without_skipping_a_weight_with_rate_0_drifts_on_with_its_velocity():
    """v = .9 * -.006509474975 and w = .988485525025 + v, whatever gradient and decay."""
    weight, optimizer = one_weight(zero_lr_skips=False)
    weights, velocities = steps(
        weight, optimizer, rates=(0.01, 0.01, 0.0), gradients=(0.5, 0.2, 7.0)
    )
    assert velocities[2] == pytest.approx(-0.0058585274775, abs=1e-14)
    assert weights[2] == pytest.approx(0.9826269975475, abs=1e-14)


def test_without_skipping_a_velocity_that_holds_no_rate_gathers_gradients_at_rate_0():
    """v = .9 * .6509474975 + .2 + .0005 * .988485525025; the weight stays."""
    weight, optimizer = one_weight(lr_in_velocity=False, zero_lr_skips=False)
    weights, velocities = steps(
        weight, optimizer, rates=(0.01, 0.01, 0.0), gradients=(0.5, 0.2, 0.2)
    )
    assert velocities[2] == pytest.approx(0.7863469905125125, abs=1e-14)
    assert weights[2] == weights[1]


def test_a_frozen_conv1_stays_to_the_bit_while_the_other_layers_learn():
    network = AlexNet(narrow("mini")).initialise(torch.Generator().manual_seed(0))
    optimizer = optimizer_for(network, Recipe(name="x"))
    for frozen in (False, True):
        if frozen:
            set_rates(optimizer, Rates(0.01, 0.01, 0.0, 0.0))
        before = {
            name: (w.detach().clone(), optimizer.state[w].get("velocity", w).clone())
            for name, w in network.named_parameters()
        }
        for weight in network.parameters():
            weight.grad = torch.full_like(weight, 0.5)
        optimizer.step()
        for name, weight in network.named_parameters():
            same = frozen and name.startswith("conv1.")
            assert torch.equal(weight, before[name][0]) == same, name
            assert torch.equal(optimizer.state[weight]["velocity"], before[name][1]) == same, name


# Groups


@pytest.mark.parametrize("name", ["paper", "six_conv", "torchvision"])
def test_weights_and_biases_are_apart_and_so_is_conv1(name):
    network = AlexNet(narrow(name))
    names = {weight: name for name, weight in network.named_parameters()}
    recipe = Recipe(name="x", lr=0.003, bias_lr=0.007, weight_decay=0.04, momentum=0.8)
    optimizer = optimizer_for(network, recipe)
    groups = {group["name"]: group for group in optimizer.param_groups}
    found = {key: [names[weight] for weight in group["params"]] for key, group in groups.items()}
    convs = range(2, len(preset(name).network.convs) + 1)
    others = [*(f"conv{number}" for number in convs), "fc6", "fc7", "fc8"]
    assert found == {
        "conv1_weights": ["conv1.weight"],
        "weights": [f"{layer}.weight" for layer in others],
        "conv1_biases": ["conv1.bias"],
        "biases": [f"{layer}.bias" for layer in others],
    }
    for key, group in groups.items():
        biases = key.endswith("biases")
        assert (group["lr"], group["weight_decay"]) == ((0.007, 0) if biases else (0.003, 0.04))
        assert group["momentum"] == 0.8
    decaying = optimizer_for(network, replace(recipe, bias_decay=True))
    assert {group["weight_decay"] for group in decaying.param_groups} == {0.04}


def test_every_group_gets_the_rate_of_its_name():
    optimizer = optimizer_for(AlexNet(narrow("mini")), Recipe(name="x"))
    set_rates(optimizer, Rates(weights=1.0, biases=2.0, conv1_weights=3.0, conv1_biases=4.0))
    assert {group["name"]: group["lr"] for group in optimizer.param_groups} == {
        "weights": 1.0,
        "biases": 2.0,
        "conv1_weights": 3.0,
        "conv1_biases": 4.0,
    }
