"""What a recipe says is what a step of training does."""

import itertools
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from alexnet.config import mini
from tests.alexnet import plain
from tests.models import tiny
from train.dataset import Dataset
from train.fit import Trainer
from train.minibatch import Minibatch, minibatches
from train.recipe import NoiseConfig, Recipe, RunConfig, ScheduleConfig, paper

# A recipe in which no two numbers are alike, and none is a default.
ODD = Recipe(name="odd", batch=20, lr=0.003, bias_lr=0.007, momentum=0.8, weight_decay=0.04)
QUIET = NoiseConfig(coefficient=0.0)


def trainer_of(colors, *, recipe=ODD, mean="aligned", dropout=0.5, classes=3):
    """A narrow mini on photos of 64 pixels, about to be trained on the three colours."""
    network = tiny().network
    network = replace(network, classes=classes, dropout=replace(network.dropout, rate=dropout))
    config = RunConfig(
        preset="mini",
        input=replace(mini().input, mean=mean),
        network=network,
        recipe=recipe,
        seed=5,
    )
    return Trainer(config, Dataset(colors))


# Crops


def crops_of(trainer, *, seed=0):
    """All training photos uint8 (48, 64, 64, 3), and what the network gets of them."""
    split = trainer.dataset.split("train")
    photos = split.photos(range(len(split)))
    minibatch = Minibatch(torch.from_numpy(photos), torch.from_numpy(split.labels))
    crops = trainer.crops(minibatch, torch.Generator().manual_seed(seed))
    assert crops.shape == (48, 3, 56, 56)
    return photos, crops.permute(0, 2, 3, 1).numpy().astype(np.float64)


def place_of(crop, photo, mean, *, aligned):
    """Where in its photo a crop was cut, (y, x, mirrored), and the colour that was added to it.

    All 9 x 9 x 2 places are tried: at the right one the crop, less what it should hold, is of one
    colour throughout.
    """
    found = []
    whole = photo.astype(np.float64) - (mean if aligned else 0)
    windows = sliding_window_view(whole, (56, 56), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    for y, x, mirrored in np.ndindex(9, 9, 2):
        expected = windows[y, x, :, ::-1] if mirrored else windows[y, x]
        rest = crop - (expected if aligned else expected - mean[4:60, 4:60])
        if np.ptp(rest[::9, ::9], axis=(0, 1)).max() < 1e-3:
            assert np.ptp(rest, axis=(0, 1)).max() < 1e-3
            found.append(((y, x, mirrored), rest.mean(axis=(0, 1))))
    assert len(found) == 1, "the crop is none of this photo's, or the mean is not its own"
    return found[0]


def places_of(trainer, photos, crops):
    """`place_of` all photos: their places, and their colours (N, 3)."""
    mean = trainer.dataset.mean.astype(np.float64)
    assert mean.std(axis=(0, 1)).min() > 2  # an even mean image would tell nothing
    aligned = trainer.config.input.mean == "aligned"
    both = [
        place_of(crop, photo, mean, aligned=aligned)
        for crop, photo in zip(crops, photos, strict=True)
    ]
    places, colours = zip(*both, strict=True)
    return list(places), np.stack(colours)


@pytest.mark.parametrize("mean", ["aligned", "centred"])
def test_each_photo_gets_a_crop_and_a_mirror_of_its_own(colors, mean):
    trainer = trainer_of(colors, mean=mean, recipe=replace(ODD, noise=QUIET))
    places, added = places_of(trainer, *crops_of(trainer))
    assert len(set(places)) > 35
    ys, xs, mirrored = zip(*places, strict=True)
    assert (min(ys), max(ys), min(xs), max(xs)) == (0, 8, 0, 8)
    assert 12 < sum(mirrored) < 36
    assert np.abs(added).max() < 1e-4
    assert places_of(trainer, *crops_of(trainer, seed=1))[0] != places


@pytest.mark.parametrize("mean", ["aligned", "centred"])
def test_32_consecutive_photos_share_a_crop_where_the_recipe_says_so(colors, mean):
    trainer = trainer_of(colors, mean=mean, recipe=replace(ODD, crops_shared_by=32))
    places, added = places_of(trainer, *crops_of(trainer))
    assert len(set(places[:32])) == len(set(places[32:])) == 1
    assert places[0] != places[-1]
    assert len(np.unique(added.round(3), axis=0)) == 48  # noise is not shared


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("mean", ["aligned", "centred"])
def test_colour_noise_is_added_after_the_mean_and_then_all_is_divided(colors, mean, rescale):
    noise = NoiseConfig(coefficient=0.1, rescale=rescale)
    trainer = trainer_of(colors, mean=mean, recipe=replace(ODD, noise=noise))
    photos, crops = crops_of(trainer)
    _, added = places_of(trainer, photos, crops * 1.1 if rescale else crops)
    # Along the components the shifts are .1 standard deviations times standard normal numbers.
    pca = trainer.dataset.color_pca
    factors = added @ pca.components / (0.1 * pca.stds)
    assert factors.shape == (48, 3)
    assert np.abs(factors.mean(axis=0)).max() < 0.5
    assert factors.std(axis=0) == pytest.approx((1, 1, 1), abs=0.3)
    assert np.abs(np.corrcoef(factors.T) - np.eye(3)).max() < 0.45


def test_without_noise_nothing_is_divided(colors):
    noise = NoiseConfig(coefficient=0.0, rescale=True)
    trainer = trainer_of(colors, recipe=replace(ODD, noise=noise))
    assert np.abs(places_of(trainer, *crops_of(trainer))[1]).max() < 1e-4


# Dropout


def test_values_are_dropped_in_training_and_halved_in_validation(colors):
    trainer = trainer_of(colors, recipe=replace(ODD, noise=QUIET))
    seen = []
    for layer in (trainer.network.dropout6, trainer.network.dropout7):
        layer.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))

    def train():
        seen.clear()
        trainer.train_epoch()
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


# Steps


def test_the_optimizer_has_the_numbers_of_the_recipe(colors):
    recipe = replace(ODD, lr_in_velocity=False)
    trainer = trainer_of(colors, recipe=recipe)
    names = {weight: name for name, weight in trainer.network.named_parameters()}
    weights, biases = trainer.optimizer.param_groups
    layers = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
    assert [names[weight] for weight in weights["params"]] == [f"{n}.weight" for n in layers]
    assert [names[bias] for bias in biases["params"]] == [f"{n}.bias" for n in layers]
    assert (weights["lr"], weights["weight_decay"]) == (0.003, 0.04)
    assert (biases["lr"], biases["weight_decay"]) == (0.007, 0)
    for group in (weights, biases):
        assert (group["momentum"], group["lr_in_velocity"]) == (0.8, False)
    decayed = trainer_of(colors, recipe=replace(recipe, bias_decay=True)).optimizer
    assert [group["weight_decay"] for group in decayed.param_groups] == [0.04, 0.04]


def gradients_of(weights, crops, labels):
    """The mean loss of a minibatch, photos that are wrong, and gradients by the second network."""
    leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    logits = plain.forward("mini", leaves, crops, keep=1.0)
    own = logits.gather(1, labels[:, None])[:, 0]
    loss = (logits.exp().sum(1).log() - own).sum() / len(labels)
    loss.backward()
    wrong = int((logits.max(1).values > own).sum())
    return loss.item(), wrong, {name: leaf.grad for name, leaf in leaves.items()}


@pytest.mark.parametrize(
    ("lr_in_velocity", "bias_decay"), [(True, False), (True, True), (False, False)]
)
def test_two_epochs_are_the_steps_of_the_formula(colors, lr_in_velocity, bias_decay):
    """v <- m v - lr (g + d w), w <- w + v [P §5], with the rates cut before the second epoch."""
    recipe = replace(
        ODD,
        lr_in_velocity=lr_in_velocity,
        bias_decay=bias_decay,
        schedule=ScheduleConfig(kind="epochs", factor=0.25, cut_at=(2,)),
    )
    trainer = trainer_of(colors, recipe=recipe, dropout=0.0)
    trainer.network.double()
    trainer.input.double()
    for name, weight in trainer.network.named_parameters():
        if name.endswith("bias"):  # mini's start from 0, where decay would not show
            torch.nn.init.constant_(weight, 0.1)
    inputs = []
    trainer.network.register_forward_pre_hook(lambda _, given: inputs.append(given[0].clone()))
    weights = {name: weight.detach().clone() for name, weight in trainer.network.named_parameters()}
    start = deepcopy(weights)
    velocities = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    split = trainer.dataset.split("train")

    for epoch, factor in ((1, 1.0), (2, 0.25)):
        inputs.clear()
        metrics = trainer.train_epoch()
        parts = list(minibatches(split, batch=20, seed=5, epoch=epoch))
        assert [len(crops) for crops in inputs] == [20, 20, 8]
        losses, errors = 0.0, 0
        for crops, part in zip(inputs, parts, strict=True):
            assert crops.dtype == torch.float64
            loss, wrong, gradients = gradients_of(weights, crops, part.labels)
            losses, errors = losses + loss * len(crops), errors + wrong
            for name, weight in weights.items():
                bias = name.endswith("bias")
                rate = factor * (0.007 if bias else 0.003)
                decay = 0.0 if bias and not bias_decay else 0.04
                slope = gradients[name] + decay * weight
                if lr_in_velocity:
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
        trainer.schedule.after_epoch(metrics["train_error"])


def test_the_paper_s_recipe_has_the_numbers_of_its_section_5():
    recipe = paper()
    assert recipe.batch == 128
    assert (recipe.lr, recipe.bias_lr) == (0.01, 0.01)  # "equal for all layers"
    assert recipe.momentum == 0.9
    assert (recipe.weight_decay, recipe.bias_decay) == (0.0005, False)
    assert recipe.lr_in_velocity
    schedule = recipe.schedule
    assert (schedule.kind, schedule.cuts, schedule.factor) == ("plateau", 3, 0.1)
    assert recipe.epochs == 90
    assert recipe.noise == NoiseConfig(coefficient=0.1, of="deviations", rescale=False)
    assert recipe.crops_shared_by == 1
