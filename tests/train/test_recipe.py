"""Recipes that no run can have are refused with a sentence."""

import pytest

from alexnet.config import mini
from alexnet.settings import SettingsError, with_settings
from train.recipe import RECIPES, NoiseConfig, Recipe, RunConfig, ScheduleConfig, recipe


def run_config(name="paper"):
    base = mini()
    return RunConfig(preset="mini", input=base.input, network=base.network, recipe=recipe(name))


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("recipe.batch=0", "recipe: batch must be at least 1, not 0"),
        ("recipe.epochs=0", "epochs must be at least 1"),
        ("recipe.crops_shared_by=0", "crops_shared_by must be at least 1"),
        ("recipe.lr=-1", "lr must be at least 0"),
        ("recipe.lr=NaN", "lr must be at least 0, not nan"),
        ("recipe.bias_lr=-1", "bias_lr must be at least 0"),
        ("recipe.momentum=2", "momentum must be from 0 to 1, not 2"),
        ("recipe.momentum=-0.1", "momentum must be from 0 to 1"),
        ("recipe.weight_decay=-1", "weight_decay must be at least 0"),
        ("recipe.noise.coefficient=-0.1", "coefficient must be at least 0"),
        ("recipe.schedule.factor=0", "the factor must be between 0 and 1, not 0"),
        ("recipe.schedule.factor=1", "the factor must be between 0 and 1, not 1"),
        ("recipe.schedule.patience=0", "patience must be at least 1"),
        ("recipe.schedule.cuts=-1", "cuts must be at least 0"),
        ("recipe.schedule.cut_at=[5]", "cut_at belongs to kind='epochs'"),
        ("seed=-1", "seed must be at least 0"),
    ],
)
def test_a_number_out_of_its_range_is_named(setting, sentence):
    with pytest.raises(SettingsError) as caught:
        with_settings(run_config(), [setting])
    assert sentence in str(caught.value)


@pytest.mark.parametrize("epochs", ["[1, 5]", "[5, 5]", "[5, 3]", "[0]"])
def test_cuts_are_at_rising_epochs_after_the_first(epochs):
    with pytest.raises(SettingsError, match="cut_at must be rising epochs from 2 on"):
        with_settings(run_config("mini"), [f"recipe.schedule.cut_at={epochs}"])


@pytest.mark.parametrize("setting", ["cuts=1", "patience=9"])
def test_what_only_a_plateau_uses_is_refused_beside_fixed_epochs(setting):
    with pytest.raises(SettingsError, match="cuts and patience belong to kind='plateau'"):
        with_settings(run_config("mini"), [f"recipe.schedule.{setting}"])


@pytest.mark.parametrize("order", [1, -1])
def test_a_schedule_may_become_one_of_the_other_kind(order):
    to_epochs = ["recipe.schedule.kind=epochs", "recipe.schedule.cut_at=[2, 4]"]
    changed = with_settings(run_config("paper"), to_epochs[::order])
    assert changed.recipe.schedule == ScheduleConfig(kind="epochs", cut_at=(2, 4))
    to_plateau = ["recipe.schedule.kind=plateau", "recipe.schedule.cut_at=[]"]
    changed = with_settings(run_config("mini"), to_plateau[::order])
    assert changed.recipe.schedule == ScheduleConfig()


def test_the_ends_of_the_ranges_are_allowed():
    assert ScheduleConfig(kind="epochs", cut_at=()).cut_at == ()  # a constant rate
    assert ScheduleConfig(cuts=0).cuts == 0
    assert Recipe(name="still", lr=0.0, momentum=0.0, noise=NoiseConfig(coefficient=0.0))


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_has_the_config_of_its_network(name):
    assert run_config(name).config == mini()
