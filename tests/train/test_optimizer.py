import pytest
import torch

from train.optimizer import SGD, optimizer_for, scale_rates
from train.recipe import Recipe

# One weight, w0 = 1, momentum .9, decay .0005; worked in double precision.
GRADIENTS = (0.5, 0.2, 0.2, 0.2)
RATES = (0.01, 0.01, 0.001, 0.001)


def steps(*, lr_in_velocity):
    weight = torch.nn.Parameter(torch.ones((), dtype=torch.float64))
    groups = [{"params": [weight], "lr": 0.0, "weight_decay": 0.0005}]
    optimizer = SGD(groups, momentum=0.9, lr_in_velocity=lr_in_velocity)
    seen = []
    for gradient, rate in zip(GRADIENTS, RATES, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
        seen.append(weight.item())
    return seen


def test_the_rate_is_inside_the_velocity_as_in_2012():
    assert steps(lr_in_velocity=True) == pytest.approx(
        [0.994995, 0.988485525025, 0.982426503304737, 0.976772892543250], abs=1e-14
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
    mine = steps(lr_in_velocity=False)
    assert mine == pytest.approx(expected, abs=1e-15)
    assert mine[2:] == pytest.approx([0.987699178034487, 0.986790971893437], abs=1e-14)


def test_biases_have_their_own_rate_and_do_not_decay():
    layer = torch.nn.Linear(1, 1).double()
    torch.nn.init.ones_(layer.bias)
    optimizer = optimizer_for(layer, Recipe(name="x", lr=0.01, bias_lr=0.02))
    seen = []
    for gradient in (0.5, 0.2):
        layer.bias.grad = torch.full_like(layer.bias, gradient)
        optimizer.step()
        seen.append(layer.bias.item())
    assert seen == pytest.approx([0.99, 0.977], abs=1e-15)


def test_a_layer_with_rate_0_is_left_alone_to_the_bit():
    layer = torch.nn.Linear(3, 3)
    optimizer = optimizer_for(layer, Recipe(name="x"))
    layer.weight.grad = torch.ones_like(layer.weight)
    optimizer.step()
    before = layer.weight.clone(), optimizer.state[layer.weight]["velocity"].clone()
    scale_rates(optimizer, 0.0)
    layer.weight.grad = torch.full_like(layer.weight, 7.0)
    optimizer.step()
    assert torch.equal(layer.weight, before[0])
    assert torch.equal(optimizer.state[layer.weight]["velocity"], before[1])
