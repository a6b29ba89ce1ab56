"""What a recipe says is what a step of training does."""

import itertools
from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from tests.alexnet import plain
from tests.train.runs import ODD, QUIET, train_epoch, trainer_of
from train.dataset import Dataset
from train.loader import Loader
from train.recipe import Conv1Config, ScheduleConfig
from train.recipes import RECIPES, recipe, run_config
from train.trainer import Trainer

# Dropout


def watch(trainer):
    """(values, output) of every dropout from here on, layer by layer."""
    seen = []
    for layer in (trainer.network.dropout6, trainer.network.dropout7):
        layer.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    return seen


def test_values_are_dropped_in_training_and_halved_in_validation(colors):
    trainer = trainer_of(colors, recipe=replace(ODD, noise=QUIET))
    seen = watch(trainer)

    def train():
        seen.clear()
        train_epoch(trainer)
        assert len(seen) == 2 * 3  # 20, 20 and 8 photos
        for values, output in seen:
            kept = output != 0
            assert torch.equal(output[kept], values[kept])
            assert 0.3 < kept[values != 0].float().mean() < 0.7
        return seen[::2]

    first = train()
    seen.clear()
    trainer.validate()
    assert len(seen) == 2
    assert all(torch.equal(output, values / 2) for values, output in seen)
    passes = first + train()
    assert len(passes) == 6
    for one, other in itertools.combinations(passes, 2):
        (values, kept), (others, kept_then) = ((v[:8] != 0, o[:8] != 0) for v, o in (one, other))
        both = values & others
        assert both.sum() > 30
        assert not torch.equal(kept[both], kept_then[both])  # a mask of its own


def test_masks_depend_on_the_run_s_seed_and_on_nothing_that_others_draw(colors):
    masks = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        trainer = trainer_of(colors)
        seen = watch(trainer)
        next(trainer.steps())
        masks.append([output for _, output in seen])
    assert all(torch.equal(one, other) for one, other in zip(*masks, strict=True))


def test_inverted_dropout_doubles_survivors_in_training_and_leaves_validation_alone(colors):
    trainer = trainer_of(colors, scaled="in_training")
    seen = watch(trainer)
    next(trainer.steps())
    assert len(seen) == 2
    for values, output in seen:
        kept = output != 0
        assert torch.equal(output[kept], 2 * values[kept])
        assert 0.3 < kept[values != 0].float().mean() < 0.7
    seen.clear()
    trainer.validate()
    assert all(torch.equal(output, values) for values, output in seen)


# Steps


def test_the_optimizer_has_the_numbers_of_the_recipe(colors):
    chosen = replace(ODD, lr_in_velocity=False)
    trainer = trainer_of(colors, recipe=chosen)
    names = {weight: name for name, weight in trainer.network.named_parameters()}
    layers = ["conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
    expected = {
        "conv1_weights": (["conv1.weight"], 0.003, 0.04),
        "weights": ([f"{layer}.weight" for layer in layers], 0.003, 0.04),
        "conv1_biases": (["conv1.bias"], 0.007, 0),
        "biases": ([f"{layer}.bias" for layer in layers], 0.007, 0),
    }
    for group in trainer.optimizer.param_groups:
        found = [names[weight] for weight in group["params"]]
        assert (found, group["lr"], group["weight_decay"]) == expected.pop(group["name"])
        assert (group["momentum"], group["lr_in_velocity"]) == (0.8, False)
    assert not expected
    decayed = trainer_of(colors, recipe=replace(chosen, bias_decay=True)).optimizer
    assert {group["weight_decay"] for group in decayed.param_groups} == {0.04}


def gradients_of(weights, crops, labels, *, smoothing):
    """The mean loss of a minibatch, photos that are wrong, and gradients by the second network.

    The target is 1 - s for the label, and s / K for each of the K classes on top.
    """
    leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    logits = plain.forward("mini", leaves, crops, keep=1.0)
    surprise = logits.exp().sum(1, keepdim=True).log() - logits
    own = logits.gather(1, labels[:, None])[:, 0]
    target = torch.zeros_like(logits)
    target[torch.arange(len(labels)), labels] = 1 - smoothing
    target += smoothing / logits.shape[1]
    loss = (target * surprise).sum() / len(labels)
    loss.backward()
    wrong = int((logits.max(1).values > own).sum())
    return loss.item(), wrong, {name: leaf.grad for name, leaf in leaves.items()}


# Factors on the rates of three epochs, as the variants below ask for them.
CUTS = (1.0, 0.25, 0.25)
STEADY = (1.0, 1.0, 1.0)
CONV1 = Conv1Config(slow_at=2, slow_factor=0.5, frozen_at=3)


def factor(name, epoch, *, bias_factors, conv1):
    """What a parameter's own rate is multiplied with, read from the tables above."""
    bias, first = name.endswith("bias"), name.startswith("conv1.")
    slow = 1.0 if bias else 0.5
    factors = bias_factors if bias else CUTS
    return factors[epoch - 1] * ((1.0, slow, 0.0)[epoch - 1] if first and conv1 else 1.0)


VARIANTS = [
    {"bias_decay": True, "label_smoothing": 0.2},
    {"lr_in_velocity": False, "bias_schedule": ScheduleConfig(kind="constant")},
    {"conv1": CONV1},
    {"conv1": CONV1, "zero_lr_skips": False},
]
EVERYTHING = {"conv1": CONV1, "zero_lr_skips": False, "lr_in_velocity": False, "bias_decay": True}


def check_three_epochs(colors, fields):
    """v <- m v - lr (g + d w), w <- w + v [P §5], with the rates cut before the second epoch."""
    schedule = ScheduleConfig(kind="epochs", factor=0.25, cut_at=(2,))
    chosen = replace(ODD, dtype="float64", schedule=schedule, **fields)
    trainer = trainer_of(colors, recipe=chosen, rate=0.0)
    for name, weight in trainer.network.named_parameters():
        if name.endswith("bias"):  # mini's start from 0, where decay would not show
            torch.nn.init.constant_(weight, 0.1)
    inputs = []
    trainer.network.register_forward_pre_hook(lambda _, given: inputs.append(given[0].clone()))
    weights = {name: weight.detach().clone() for name, weight in trainer.network.named_parameters()}
    start = deepcopy(weights)
    velocities = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    loader = Loader(trainer.dataset.split("train"), batch=20, seed=5)
    bias_factors = STEADY if "bias_schedule" in fields else CUTS

    for epoch in (1, 2, 3):
        inputs.clear()
        metrics = train_epoch(trainer)
        assert [len(crops) for crops in inputs] == [20, 20, 8]
        losses, errors = 0.0, 0
        for crops, part in zip(inputs, loader.epoch(epoch), strict=True):
            loss, wrong, gradients = gradients_of(
                weights, crops, part.labels, smoothing=chosen.label_smoothing
            )
            losses, errors = losses + loss * len(crops), errors + wrong
            for name, weight in weights.items():
                bias = name.endswith("bias")
                rate = 0.007 if bias else 0.003
                rate *= factor(name, epoch, bias_factors=bias_factors, conv1="conv1" in fields)
                if rate == 0 and chosen.zero_lr_skips:
                    continue
                slope = gradients[name]
                if not bias or chosen.bias_decay:
                    slope = slope + 0.04 * weight
                if chosen.lr_in_velocity:
                    velocities[name] = 0.8 * velocities[name] - rate * slope
                    weights[name] = weight + velocities[name]
                else:
                    velocities[name] = 0.8 * velocities[name] + slope
                    weights[name] = weight - rate * velocities[name]
        assert metrics["train_loss"] == pytest.approx(losses / 48, rel=1e-9)
        assert metrics["train_error"] == errors / 48
        for name, weight in trainer.network.named_parameters():
            moved, expected = weight.detach() - start[name], weights[name] - start[name]
            assert moved.any(), name
            torch.testing.assert_close(moved, expected, rtol=1e-6, atol=1e-12)
            velocity = trainer.optimizer.state[weight]["velocity"]
            torch.testing.assert_close(velocity, velocities[name], rtol=1e-6, atol=1e-12)


# The variants one by one are in tests/slow.
@pytest.mark.parametrize("fields", [{}, EVERYTHING], ids=["plain", "everything"])
def test_three_epochs_are_the_steps_of_the_formula(colors, fields):
    check_three_epochs(colors, fields)


def test_a_frozen_conv1_stays_to_the_bit(colors):
    trainer = trainer_of(colors, recipe=replace(ODD, conv1=Conv1Config(frozen_at=2)))
    train_epoch(trainer)
    before = deepcopy(trainer.network.state_dict())
    train_epoch(trainer)
    for name, weight in trainer.network.state_dict().items():
        assert torch.equal(weight, before[name]) == name.startswith("conv1."), name


# The course of a run


def rates_of_steps(trainer):
    """The weights' rate in each step of an epoch."""
    for _ in trainer.steps():
        pass
    trainer.settle()
    return [report.lr for report in trainer.drain()]


@pytest.mark.parametrize(
    ("schedule", "first", "second"),
    [
        # Two epochs of 48 photos: three steps each, after 0, 1/6, 2/6 ... of the run.
        (ScheduleConfig(kind="dexp", reduction=4, steps=3), (1, 1, 1), (0.5, 0.5, 0.25)),
        (ScheduleConfig(kind="cosine"), (1, 0.9330127, 0.75), (0.5, 0.25, 0.0669873)),
        (
            ScheduleConfig(kind="constant", warm_up=1.5),
            (2 / 9, 4 / 9, 6 / 9),
            (8 / 9, 1, 1),
        ),
    ],
)
def test_a_rate_may_change_from_step_to_step(colors, schedule, first, second):
    trainer = trainer_of(colors, recipe=replace(ODD, schedule=schedule, epochs=2))
    assert rates_of_steps(trainer) == pytest.approx([0.003 * share for share in first])
    trainer.end_epoch(0.5)
    assert rates_of_steps(trainer) == pytest.approx([0.003 * share for share in second])


def test_a_plateau_cuts_the_rate_and_ends_the_run(colors):
    schedule = ScheduleConfig(kind="plateau", factor=0.5, cuts=1, patience=2)
    trainer = trainer_of(colors, recipe=replace(ODD, schedule=schedule, batch=48))
    seen = []
    for error in (0.6, 0.5, 0.5, 0.5, 0.5, 0.5):
        assert not trainer.finished
        seen += rates_of_steps(trainer)
        trainer.end_epoch(error)
    assert seen == pytest.approx([0.003, 0.003, 0.003, 0.003, 0.0015, 0.0015])
    assert trainer.finished


def test_the_run_ends_with_the_recipe_s_epochs(colors):
    trainer = trainer_of(colors, recipe=replace(ODD, epochs=2))
    for over in (False, False, True):
        assert trainer.finished == over
        trainer.end_epoch(0.5)


# Arithmetic


@pytest.mark.parametrize(
    ("dtype", "products", "weights"),
    [
        ("float32", torch.float32, torch.float32),
        ("float64", torch.float64, torch.float64),
        ("bfloat16", torch.bfloat16, torch.float32),
    ],
)
def test_products_are_of_the_recipe_s_type_and_weights_precise(colors, dtype, products, weights):
    trainer = trainer_of(colors, recipe=replace(ODD, dtype=dtype))
    seen = []
    for layer in (trainer.network.conv2, trainer.network.fc6):
        layer.register_forward_hook(lambda *given: seen.append(given[2].dtype))
    next(trainer.steps())
    trainer.validate()
    assert set(seen) == {products}
    for weight in trainer.network.parameters():
        velocity = trainer.optimizer.state[weight]["velocity"]
        assert weight.dtype == weight.grad.dtype == velocity.dtype == weights


@pytest.mark.parametrize("channels_last", [True, False])
def test_weights_lie_in_memory_as_the_recipe_says(colors, channels_last):
    trainer = trainer_of(colors, recipe=replace(ODD, channels_last=channels_last))
    weight = trainer.network.conv3.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert weight.is_contiguous() != channels_last


# The named recipes


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_takes_a_step(colors, name):
    settings = ["recipe.batch=8", "recipe.compiled=false", "network.fc6.units=32"]
    config = run_config("mini", recipe(name), classes=3, settings=settings)
    trainer = Trainer(config, Dataset(colors))
    before = deepcopy(trainer.network.state_dict())
    next(trainer.steps())
    trainer.settle()
    (report,) = trainer.drain()
    assert 0.5 < report.loss < 3  # ln 3 = 1.0986 for a guess
    for key, weight in trainer.network.state_dict().items():
        assert not torch.equal(weight, before[key]), key
