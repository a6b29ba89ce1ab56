"""The named recipes: their numbers (docs/fidelity.md), their networks, other lengths."""

from dataclasses import replace

import pytest

from alexnet.config import PRESETS, preset
from alexnet.errors import AlexNetError
from alexnet.settings import SettingsError
from train.recipe import Conv1Config, NoiseConfig, Recipe, ScheduleConfig
from train.recipes import (
    RECIPES,
    mini,
    modern,
    net145,
    net170,
    paper,
    recipe,
    run_config,
    stretched,
)

# Numbers


def test_the_paper_s_recipe_has_the_numbers_of_its_section_5():
    assert paper() == Recipe(
        name="paper",
        batch=128,
        lr=0.01,
        bias_lr=0.01,  # "equal for all layers"
        schedule=ScheduleConfig(kind="plateau", factor=0.1, cuts=3, patience=5),
        bias_schedule=None,
        conv1=Conv1Config(slow_at=None, frozen_at=None),
        momentum=0.9,
        weight_decay=0.0005,
        bias_decay=False,
        lr_in_velocity=True,
        label_smoothing=0.0,
        crops_shared_by=1,
        noise=NoiseConfig(coefficient=0.1, of="deviations", rescale=False, off_at=None),
        epochs=90,
        dtype="float32",
        network_settings=(),
    )


def test_net145_differs_from_the_paper_s_recipe_as_the_logs_and_the_source_of_2012_say():
    assert net145() == replace(
        paper(),
        name="net145",
        schedule=ScheduleConfig(kind="epochs", factor=0.1, cut_at=(25, 51, 79)),
        bias_lr=0.02,
        bias_schedule=ScheduleConfig(kind="constant"),
        conv1=Conv1Config(slow_at=67, slow_factor=0.1, frozen_at=72),
        zero_lr_skips=True,
        crops_shared_by=32,
        noise=NoiseConfig(coefficient=0.1, of="deviations", rescale=True, off_at=67),
        network_settings=("input.mean=centred", "network.dropout.scaled=in_test"),
    )


def test_net170_differs_from_net145_in_what_changes_during_the_run():
    assert net170() == replace(
        net145(),
        name="net170",
        schedule=ScheduleConfig(kind="dexp", reduction=250, steps=4),
        bias_schedule=ScheduleConfig(kind="dexp", reduction=10, steps=2),
        conv1=Conv1Config(frozen_at=74),
        noise=NoiseConfig(coefficient=0.1, of="deviations", rescale=True, off_at=68),
        epochs=95,
    )


def test_modern_s_rate_has_grown_with_its_minibatch():
    assert modern().lr / modern().batch == pytest.approx(paper().lr / paper().batch)
    assert modern().bias_lr == modern().lr


def test_every_recipe_answers_to_its_name():
    assert set(RECIPES) == {"paper", "net145", "net170", "modern", "mini"}
    for name in RECIPES:
        assert recipe(name).name == name
    with pytest.raises(AlexNetError, match=r"no recipe 'papre': choose one of paper, net145, net"):
        recipe("papre")


# With a network

# The presets whose mean is of channels have no centre to take from every crop.
REFUSED = {("net145", "torchvision"), ("net170", "torchvision")}


@pytest.mark.parametrize("preset_name", PRESETS)
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_every_preset_or_says_why_not(name, preset_name):
    if (name, preset_name) in REFUSED:
        with pytest.raises(AlexNetError) as caught:
            run_config(preset_name, recipe(name), classes=7)
        assert str(caught.value).startswith(
            f"The preset torchvision can't have what the recipe {name} asks of it "
            "(input.mean=centred, network.dropout.scaled=in_test): input: mean_rgb belongs to"
        )
        return
    config = run_config(preset_name, recipe(name), classes=7, seed=3)
    base = preset(preset_name)
    as_in_2012 = name in ("net145", "net170")
    scaled = "in_test" if as_in_2012 else base.network.dropout.scaled
    dropout = replace(base.network.dropout, scaled=scaled)
    assert config.network == replace(base.network, classes=7, dropout=dropout)
    assert config.input == (replace(base.input, mean="centred") if as_in_2012 else base.input)
    assert (config.preset, config.recipe, config.seed) == (preset_name, recipe(name), 3)


def test_a_user_s_own_setting_wins_over_what_the_recipe_asks_for():
    own = ["input.mean=aligned", "network.dropout.scaled=in_training", "recipe.lr=0.02"]
    config = run_config("paper", net145(), classes=7, settings=own)
    assert config.input.mean == "aligned"
    assert config.network.dropout.scaled == "in_training"
    assert config.recipe == replace(net145(), lr=0.02)


def test_a_user_s_own_setting_may_undo_what_the_preset_can_t_have():
    config = run_config("torchvision", net145(), classes=7, settings=["input.mean=channel"])
    assert config.input == preset("torchvision").input
    assert config.network.dropout.scaled == "in_test"


def test_a_user_s_mistake_is_not_laid_at_the_recipe_s_door():
    with pytest.raises(SettingsError, match=r"^recipe: batch must be at least 1"):
        run_config("paper", net145(), classes=7, settings=["recipe.batch=0"])
    with pytest.raises(AlexNetError, match="no preset 'papre'"):
        run_config("papre", net145(), classes=7)


# Other lengths


def test_in_a_third_of_the_epochs_all_comes_after_a_third_of_the_time():
    """Epoch 25 begins after 24 epochs, and after 8 epochs begins epoch 9; 71 / 3 is nearly 24."""
    assert stretched(net145(), 30) == replace(
        net145(),
        epochs=30,
        schedule=ScheduleConfig(kind="epochs", cut_at=(9, 18, 27)),
        conv1=Conv1Config(slow_at=23, frozen_at=25),
        noise=NoiseConfig(rescale=True, off_at=23),
    )


def test_in_twice_the_epochs_all_comes_after_twice_the_time():
    assert stretched(net145(), 180) == replace(
        net145(),
        epochs=180,
        schedule=ScheduleConfig(kind="epochs", cut_at=(49, 101, 157)),
        conv1=Conv1Config(slow_at=133, frozen_at=143),
        noise=NoiseConfig(rescale=True, off_at=133),
    )


def test_a_warm_up_is_stretched_and_a_schedule_by_progress_stays_as_it_is():
    assert stretched(modern(), 18).schedule == ScheduleConfig(kind="cosine", warm_up=1)
    assert stretched(net170(), 19).schedule == net170().schedule
    assert stretched(net170(), 19).bias_schedule == net170().bias_schedule


def test_the_biases_schedule_is_stretched_too():
    biases = ScheduleConfig(kind="epochs", cut_at=(31, 61))
    found = stretched(replace(paper(), bias_schedule=biases), 30).bias_schedule
    assert found == ScheduleConfig(kind="epochs", cut_at=(11, 21))


@pytest.mark.parametrize("name", RECIPES)
def test_its_own_length_leaves_a_recipe_as_it_is(name):
    assert stretched(recipe(name), recipe(name).epochs) == recipe(name)


@pytest.mark.parametrize(("chosen", "epochs"), [(net145(), 2), (net145(), 1), (mini(), 2)])
def test_so_few_epochs_that_two_cuts_fall_on_one_are_refused(chosen, epochs):
    with pytest.raises(AlexNetError) as caught:
        stretched(chosen, epochs)
    sentence = (
        f"The recipe {chosen.name} does not fit into {epochs} epoch(s): cut_at must be rising"
    )
    assert str(caught.value).startswith(sentence)


def test_conv1_s_slow_epochs_may_vanish():
    """Of 9 epochs, slow from after 6.6 and frozen from after 7.1: both with epoch 8."""
    assert stretched(net145(), 9).conv1 == Conv1Config(slow_at=8, frozen_at=8)
