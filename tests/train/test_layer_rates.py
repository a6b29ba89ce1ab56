"""Layers with learning rates of their own; numbers worked by hand."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from alexnet.config import FullConfig, preset
from alexnet.network import AlexNet
from alexnet.settings import SettingsError, from_dict, to_dict, with_settings
from tests.models import narrow
from tests.train.conftest import run
from tests.train.runs import ODD, train_epoch, trainer_of
from train.fit_command import fit, recipe_settings
from train.layers import chosen_layers, layer_names, names
from train.optimizer import optimizer_for, set_rates
from train.recipe import Conv1Config, LayersConfig, RateStep, Recipe, RunConfig, ScheduleConfig
from train.recipes import net145, run_config, stretched
from train.recipes import recipe as named
from train.schedule import Moment, Rates, rates

CONSTANT = ScheduleConfig(kind="constant")
# Updates of an epoch of ILSVRC-2012 with the minibatches of 2012 (docs/fidelity.md).
UPDATES = 10_010


def recipe(*layers, **fields):
    return Recipe(
        name="x", **{"lr": 1.0, "bias_lr": 2.0, "schedule": CONSTANT, "layers": layers} | fields
    )


def own(chosen, moment, index=0):
    """(weights, biases) of an entry of the recipe's `layers`."""
    found = rates(chosen, moment).layers[index]
    return found.weights, found.biases


# Names


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("fc8", ["fc8"]),
        ("conv1-conv5", ["conv1", "conv2", "conv3", "conv4", "conv5"]),
        ("conv4-fc6", ["conv4", "conv5", "fc6"]),
        ("fc8,conv2", ["conv2", "fc8"]),
        ("conv1-conv2, fc7-fc8", ["conv1", "conv2", "fc7", "fc8"]),
    ],
)
def test_layers_are_named_one_by_one_and_by_ranges(text, layers):
    assert list(chosen_layers(text, preset("mini").network)) == layers


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "'' names no layers: name one (fc8), a range (conv1-conv5)"),
        ("conv", "'conv' names no layers"),
        ("fc5", "'fc5' names no layers"),
        ("conv1-", "'conv1-' names no layers"),
        ("conv3-conv1", "conv3-conv1 is backwards: conv3 comes later"),
        ("fc6-conv5", "fc6-conv5 is backwards"),
        ("conv6", "there is no conv6 in this network: it has conv1-conv5, fc6-fc8"),
        ("conv2-conv6", "there is no conv6"),
    ],
)
def test_what_names_no_layer_is_said(text, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        chosen_layers(text, preset("mini").network)


def test_what_is_no_layer_is_in_no_range():
    assert not names("conv1-fc8", "dropout6")


# Rates


def test_layers_have_the_recipe_s_rate_times_their_factor_and_all_others_the_recipe_s():
    chosen = recipe(LayersConfig(layers="conv1-conv5", factor=0.25))
    found = rates(chosen, Moment(1))
    assert (found.weights, found.biases) == (1, 2)
    assert (found.conv1_weights, found.conv1_biases) == (0.25, 0.5)
    assert own(chosen, Moment(1)) == (0.25, 0.5)


def test_biases_may_have_a_factor_of_their_own():
    chosen = recipe(LayersConfig(layers="fc8", factor=0.25, bias_factor=3))
    assert own(chosen, Moment(1)) == (0.25, 6)


def test_factors_are_on_what_the_schedule_gives():
    schedule = ScheduleConfig(kind="epochs", cut_at=(2,), factor=0.5)
    chosen = recipe(LayersConfig(layers="fc8", factor=4), schedule=schedule)
    assert [own(chosen, Moment(epoch)) for epoch in (1, 2)] == [(4, 8), (2, 4)]
    plateau = recipe(LayersConfig(layers="fc8", factor=4), schedule=ScheduleConfig(factor=0.5))
    assert rates(plateau, Moment(9), cuts=1).layers[0].weights == 2


def test_a_step_s_factor_stands_for_the_one_before_from_its_moment_on():
    steps = (RateStep(at=2, factor=0.5), RateStep(at=3.5, factor=0, bias_factor=1))
    chosen = recipe(LayersConfig(layers="fc6-fc8", factor=10, steps=steps))
    moments = [Moment(1, 9, 10), Moment(2, 0, 10), Moment(3, 4, 10), Moment(3, 5, 10), Moment(9)]
    assert [own(chosen, moment) for moment in moments] == [
        (10, 20),
        (0.5, 1),
        (0.5, 1),
        (0, 2),
        (0, 2),
    ]


@pytest.mark.parametrize("steps", [3, 7, 10, 49, 10_010])
def test_a_fraction_that_is_a_step_of_the_run_is_met_and_not_missed_by_rounding(steps):
    for done in range(1, min(steps, 50)):
        part = LayersConfig(layers="fc8", steps=(RateStep(at=1 + 3 + done / steps, factor=0),))
        assert own(recipe(part), Moment(4, done, steps)) == (0, 0)
        assert own(recipe(part), Moment(4, done - 1, steps)) == (1, 2)


def test_conv1_s_slow_factor_multiplies_its_layer_s_and_frozen_it_stays():
    part = LayersConfig(layers="conv1-conv2", factor=0.5, steps=(RateStep(at=4, factor=8),))
    conv1 = Conv1Config(slow_at=2, slow_factor=0.25, frozen_at=5)
    seen = [rates(recipe(part, conv1=conv1), Moment(epoch)) for epoch in range(1, 6)]
    assert [found.conv1_weights for found in seen] == [0.5, 0.125, 0.125, 2, 0]
    assert [found.conv1_biases for found in seen] == [1, 1, 1, 16, 0]
    assert [found.layers[0].weights for found in seen] == [0.5, 0.5, 0.5, 8, 8]  # conv2's


# The chain of the six-convolution net, as docs/pretraining.md has it (docs/fidelity.md C.3)


def documented(out, classes):
    """The config that the documented command with this --out trains."""
    page = (Path(__file__).parents[2] / "docs" / "pretraining.md").read_text("utf-8")
    commands = [
        shlex.split(line)
        for block in re.findall(r"```sh\n(.*?)```", page, re.S)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    (words,) = [words[2:] for words in commands if words[:2] == FIT and f"runs/{out}" in words]
    chosen = fit.make_context("fit", words).params
    own = recipe_settings(chosen["settings"], epochs=chosen["epochs"])
    config = run_config(
        chosen["preset_name"], named(chosen["recipe_name"]), classes=classes, settings=own
    )
    return config, chosen


FIT = ["alexnet-train", "fit"]


def all_rates(config, moment):
    """(weights, biases) of every layer, as the optimizer gets them."""
    found = rates(config.recipe, moment).named()
    network = AlexNet(replace(narrow("six_conv"), network=thin(config.network)))
    optimizer = optimizer_for(network, config.recipe)
    known = {weight: name for name, weight in network.named_parameters()}
    each = {
        known[weight]: found[group["name"]]
        for group in optimizer.param_groups
        for weight in group["params"]
    }
    return {
        layer: (each[f"{layer}.weight"], each[f"{layer}.bias"])
        for layer in layer_names(config.network)
    }


def thin(network):
    return replace(network, fc6=FullConfig(units=8), fc7=FullConfig(units=8), classes=4)


def assert_rates(config, moment, expected):
    """`expected`: (weights, biases) by layer; `others` of those that are not named."""
    others = expected.pop("others")
    for layer, found in all_rates(config, moment).items():
        assert found == pytest.approx(expected.get(layer, others), rel=1e-9), layer


# Updates of an epoch, of ILSVRC-2012's in both: the releases' are not known here.
@pytest.mark.parametrize(
    ("moment", "weights"),
    [
        (Moment(1, 0, UPDATES), 0.01),
        (Moment(2, 1_601, UPDATES), 0.01),
        (Moment(2, 1_602, UPDATES), 0.001),  # 16 % of the second epoch: 1601.6 updates
        (Moment(6, 10_009, UPDATES), 0.001),
    ],
)
def test_on_fall_2009_conv6_and_full_layers_learn_faster_until_2_16(moment, weights):
    config, chosen = documented("six-2009", 10_184)
    full = (weights, 0.02)
    expected = {"conv6": (weights, 0.002), "fc6": full, "fc7": full, "fc8": full}
    assert_rates(config, moment, expected | {"others": (0.001, 0.02)})
    assert (chosen["layers"], config.recipe.epochs) == ("conv1-conv5", 6)
    assert config.recipe.noise.at(6).coefficient == 0.1


@pytest.mark.parametrize(("epoch", "weights"), [(1, 0.01), (5, 0.01), (6, 0.001), (8, 0.001)])
def test_on_fall_2011_full_layers_learn_faster_until_6(epoch, weights):
    config, chosen = documented("six-2011", 21_841)
    full = (weights, 0.02)
    expected = {"conv6": (0.001, 0.002), "fc6": full, "fc7": full, "fc8": full}
    assert_rates(config, Moment(epoch), expected | {"others": (0.001, 0.02)})
    assert (chosen["layers"], config.recipe.epochs) == ("conv1-conv6", 8)


@pytest.mark.parametrize(
    ("epoch", "update", "weights", "conv1", "fc8", "noise"),
    [
        (1, 0, 1e-3, 1e-4, 1e-3, 0.1),
        (1, 299, 1e-3, 1e-4, 1e-3, 0.1),
        (1, 300, 1e-3, 1e-4, 1e-2, 0.1),
        (4, 10_009, 1e-3, 1e-4, 1e-2, 0.1),
        (5, 0, 1e-3, 1e-5, 1e-2, 0.1),
        (6, 10_009, 1e-3, 1e-5, 1e-2, 0.1),
        (7, 0, 1e-3, 0, 1e-2, 0.1),
        (8, 10_009, 1e-3, 0, 1e-2, 0.1),
        (9, 0, 1e-3, 0, 1e-3, 0.1),
        (22, 0, 1e-4, 0, 1e-4, 0.1),
        (37, 10_009, 1e-4, 0, 1e-4, 0.1),
        (38, 0, 1e-4, 0, 1e-4, 0),
        (42, 0, 1e-5, 0, 1e-5, 0),
        (54, 10_009, 1e-5, 0, 1e-5, 0),
    ],
)
def test_on_ilsvrc_2012_rates_are_those_of_the_log(epoch, update, weights, conv1, fc8, noise):
    config, chosen = documented("six-2012", 1000)
    first = (conv1, 0.02 if epoch < 7 else 0)
    expected = {"conv1": first, "fc8": (fc8, 0.02), "others": (weights, 0.02)}
    assert_rates(config, Moment(epoch, update, UPDATES), expected)
    assert (chosen["layers"], config.recipe.epochs) == ("conv1-fc7", 54)
    assert config.recipe.noise.at(epoch).coefficient == noise


# The optimizer


def test_layers_with_rates_of_their_own_are_groups_of_their_own():
    network = AlexNet(narrow("six_conv"))
    chosen = recipe(LayersConfig(layers="conv1-conv3"), LayersConfig(layers="conv6,fc8"))
    chosen = replace(chosen, weight_decay=0.25)
    optimizer = optimizer_for(network, chosen)
    known = {weight: name for name, weight in network.named_parameters()}
    found = {
        group["name"]: [known[weight] for weight in group["params"]]
        for group in optimizer.param_groups
    }
    expected = {
        "conv1": ["conv1"],
        "conv1-conv3": ["conv2", "conv3"],
        "conv6,fc8": ["conv6", "fc8"],
        "": ["conv4", "conv5", "fc6", "fc7"],
    }
    for name, layers in expected.items():
        prefix = f"{name}_" if name else ""
        assert found.pop(f"{prefix}weights") == [f"{layer}.weight" for layer in layers]
        assert found.pop(f"{prefix}biases") == [f"{layer}.bias" for layer in layers]
    assert not found
    for group in optimizer.param_groups:
        assert group["weight_decay"] == (0.25 if group["name"].endswith("weights") else 0)


def test_a_step_moves_each_layer_by_its_rate_and_leaves_frozen_ones_alone():
    """Without momentum and decay a gradient of 1 moves a weight by its rate."""
    network = AlexNet(narrow("mini")).double()
    frozen = LayersConfig(layers="conv1-conv2", factor=0)
    chosen = recipe(frozen, LayersConfig(layers="fc8", factor=0.25), momentum=0.0, weight_decay=0.0)
    optimizer = optimizer_for(network, chosen)
    set_rates(optimizer, rates(chosen, Moment(1)))
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    for weight in network.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    for name, weight in network.named_parameters():
        layer, kind = name.split(".")
        factor = {"conv1": 0, "conv2": 0, "fc8": 0.25}.get(layer, 1)
        moved = factor * (2 if kind == "bias" else 1)
        torch.testing.assert_close(before[name] - weight, torch.full_like(weight, moved))
        assert torch.equal(before[name], weight) == (moved == 0)


def test_layers_that_never_learn_get_no_gradients_and_the_others_learn_the_same(colors):
    """With a step far away, which keeps the gradients, all ends in the same weights."""
    ends = []
    for steps in ((), (RateStep(at=100, factor=1),)):
        part = LayersConfig(layers="conv1-conv3", factor=0, steps=steps)
        trainer = trainer_of(colors, recipe=replace(ODD, layers=(part,)))
        before = {name: w.clone() for name, w in trainer.network.state_dict().items()}
        train_epoch(trainer)
        after = trainer.network.state_dict()
        for name, weight in trainer.network.named_parameters():
            frozen = name.split(".")[0] in ("conv1", "conv2", "conv3")
            assert torch.equal(before[name], after[name]) == frozen
            assert (weight.grad is None) == (frozen and not steps)
        ends.append(after)
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_without_such_layers_rates_and_groups_are_what_they_were():
    assert rates(net145(), Moment(68)) == Rates(*map(pytest.approx, (1e-4, 0.02, 1e-5, 0.02)))
    optimizer = optimizer_for(AlexNet(narrow("mini")), net145())
    assert {group["name"] for group in optimizer.param_groups} == {
        *("weights", "biases", "conv1_weights", "conv1_biases")
    }


# Settings, JSON and `describe`


def test_a_setting_gives_layers_their_rates():
    setting = 'recipe.layers=[{"layers": "fc8", "factor": 10, "steps": [{"at": 2.5, "factor": 1}]}]'
    config = run_config("mini", net145(), classes=3, settings=[setting])
    assert config.recipe.layers == (
        LayersConfig(layers="fc8", factor=10.0, steps=(RateStep(at=2.5, factor=1.0),)),
    )
    changed = with_settings(config, ["recipe.layers.0.steps.0.at=4"])
    assert changed.recipe.layers[0].steps == (RateStep(at=4.0, factor=1.0),)
    assert from_dict(RunConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_a_run_that_was_written_before_there_were_such_layers_still_opens():
    config = run_config("mini", net145(), classes=3)
    written = to_dict(config)
    assert written["recipe"].pop("layers") == []
    assert from_dict(RunConfig, written) == config


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ('[{"factor": 1}]', "recipe.layers.0 lacks its field 'layers'"),
        ('[{"layers": "fc9"}]', "recipe.layers.0: 'fc9' names no layers"),
        ('[{"layers": "conv6"}]', "recipe.layers: there is no conv6 in this network"),
        ('[{"layers": "fc8", "factor": -1}]', "factor must be at least 0, not -1"),
        ('[{"layers": "fc8", "bias_factor": -1}]', "bias_factor must be at least 0"),
        ('[{"layers": "conv1-fc8", "factor": 0}]', "no layer learns, all have the factor 0"),
        ('[{"layers": "fc6-fc8"}, {"layers": "fc7"}]', "fc6-fc8 and fc7 name the same layer"),
        (
            '[{"layers": "fc8", "steps": [{"at": 1, "factor": 0}]}]',
            "a step's at must be more than 1, the beginning, not 1",
        ),
        (
            '[{"layers": "fc8", "steps": [{"at": 3, "factor": 0}, {"at": 2, "factor": 1}]}]',
            "fc8: steps must follow each other, not be at [3.0, 2.0]",
        ),
    ],
)
def test_what_no_network_can_have_is_a_sentence(layers, sentence):
    with pytest.raises(SettingsError) as caught:
        run_config("mini", net145(), classes=3, settings=[f"recipe.layers={layers}"])
    assert sentence in str(caught.value)


def test_steps_are_stretched_with_their_recipe():
    """In half the time: after 1.16 epochs becomes after .58."""
    part = LayersConfig(layers="fc8", steps=(RateStep(at=2.16, factor=0),))
    found = stretched(replace(net145(), layers=(part,)), 45)
    assert found.layers[0].steps[0].at == pytest.approx(1.58)


def test_describe_shows_such_layers_in_columns_of_their_own():
    layers = (
        '[{"layers": "conv2-conv5", "factor": 0.5, "steps": [{"at": 2.25, "factor": 0}]}, '
        '{"layers": "fc8", "factor": 10}]'
    )
    settings = ("--set=recipe.epochs=3", f"--set=recipe.layers={layers}")
    text = run("describe", "--recipe=net145", *settings).stdout
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.splitlines()]
    table = [row for row in rows if len(row) == 10]
    assert table[0][5:9] == [
        *("conv2-conv5 weights", "conv2-conv5 biases", "fc8 weights", "fc8 biases")
    ]
    assert table[2:] == [
        ["1 to 2 at 25%", *("0.01", "0.02") * 2, "0.005", "0.01", "0.1", "0.2", "0.1"],
        ["2 from 25% to 3", *("0.01", "0.02") * 2, "0", "0", "0.1", "0.2", "0.1"],
    ]
    fields = dict(row for row in rows if len(row) == 2)
    assert fields["recipe.layers.0.layers"] == "conv2-conv5"
    assert fields["recipe.layers.0.steps.0.at"] == "2.25"
    assert fields["recipe.layers.1.factor"] == "10.0"
