"""Recipes that no run can have are refused with a sentence."""

import json

import pytest

from alexnet.config import mini
from alexnet.settings import SettingsError, from_dict, to_dict, with_settings
from train.recipe import Conv1Config, NoiseConfig, Recipe, RunConfig, ScheduleConfig
from train.recipes import RECIPES, recipe


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
        ("recipe.label_smoothing=1", "label_smoothing must be at least 0 and less than 1, not 1"),
        ("recipe.label_smoothing=-0.1", "label_smoothing must be at least 0"),
        ("recipe.noise.coefficient=-0.1", "coefficient must be at least 0"),
        ("recipe.noise.off_at=0", "off_at must be at least 1"),
        ("recipe.conv1.slow_at=0", "slow_at must be at least 1"),
        ("recipe.conv1.frozen_at=0", "frozen_at must be at least 1"),
        ("recipe.conv1.slow_factor=-1", "slow_factor must be at least 0"),
        ('recipe.conv1={"slow_at": 8, "frozen_at": 7}', "slow_at can't be after frozen_at: 8 is"),
        ("recipe.schedule.factor=0", "the factor must be between 0 and 1, not 0"),
        ("recipe.schedule.factor=1", "the factor must be between 0 and 1, not 1"),
        ("recipe.schedule.patience=0", "patience must be at least 1"),
        ("recipe.schedule.cuts=-1", "cuts must be at least 0"),
        ("recipe.schedule.warm_up=-1", "warm_up must be at least 0"),
        ('recipe.schedule={"kind": "dexp", "reduction": 0.5}', "reduction must be at least 1"),
        ('recipe.schedule={"kind": "dexp", "steps": 1}', "steps must be at least 2"),
        ("recipe.schedule.kind=linear", "kind must be one of plateau, epochs, dexp, cosine, const"),
        ("recipe.dtype=float16", "dtype must be one of float32, float64, bfloat16"),
        ('recipe.bias_schedule={"kind": "plateau"}', "bias_schedule can't be of kind='plateau'"),
        ('recipe.network_settings=["input.size=9"]', "network_settings is set with --recipe"),
        ("seed=-1", "seed must be at least 0"),
    ],
)
def test_a_value_out_of_its_range_is_named(setting, sentence):
    with pytest.raises(SettingsError) as caught:
        with_settings(run_config(), [setting])
    assert sentence in str(caught.value)


@pytest.mark.parametrize("epochs", ["[1, 5]", "[5, 5]", "[5, 3]", "[0]"])
def test_cuts_are_at_rising_epochs_after_the_first(epochs):
    with pytest.raises(SettingsError, match="cut_at must be rising epochs from 2 on"):
        with_settings(run_config("mini"), [f"recipe.schedule.cut_at={epochs}"])


# Fields of a schedule, a value of theirs, and the kinds that read it.
FIELDS = [
    ("factor", 0.5, {"plateau", "epochs"}),
    ("cuts", 1, {"plateau"}),
    ("patience", 9, {"plateau"}),
    ("cut_at", (4, 6), {"epochs"}),
    ("reduction", 9.0, {"dexp"}),
    ("steps", 3, {"dexp"}),
    ("warm_up", 2.0, {"plateau", "epochs", "dexp", "cosine", "constant"}),
]


@pytest.mark.parametrize("kind", ["plateau", "epochs", "dexp", "cosine", "constant"])
@pytest.mark.parametrize(("field", "value", "kinds"), FIELDS, ids=[row[0] for row in FIELDS])
def test_a_field_is_refused_where_the_kind_of_schedule_does_not_read_it(field, value, kinds, kind):
    if kind in kinds:
        assert getattr(ScheduleConfig(kind=kind, **{field: value}), field) == value
        return
    with pytest.raises(ValueError, match=f"{field} belongs to kind='") as caught:
        ScheduleConfig(kind=kind, **{field: value})
    assert all(f"'{reader}'" in str(caught.value) for reader in kinds)


@pytest.mark.parametrize("order", [1, -1])
def test_a_schedule_may_become_one_of_another_kind(order):
    to_epochs = ["recipe.schedule.kind=epochs", "recipe.schedule.cut_at=[2, 4]"]
    changed = with_settings(run_config("paper"), to_epochs[::order])
    assert changed.recipe.schedule == ScheduleConfig(kind="epochs", cut_at=(2, 4))
    to_plateau = ["recipe.schedule.kind=plateau", "recipe.schedule.cut_at=[]"]
    changed = with_settings(run_config("mini"), to_plateau[::order])
    assert changed.recipe.schedule == ScheduleConfig()


def test_biases_get_a_schedule_of_their_own_and_lose_it():
    setting = 'recipe.bias_schedule={"kind": "epochs", "cut_at": [9]}'
    changed = with_settings(run_config("paper"), [setting])
    assert changed.recipe.bias_schedule == ScheduleConfig(kind="epochs", cut_at=(9,))
    assert with_settings(changed, ["recipe.bias_schedule=null"]) == run_config("paper")


def test_the_ends_of_the_ranges_are_allowed():
    assert ScheduleConfig(kind="epochs", cut_at=()).cut_at == ()  # a constant rate
    assert ScheduleConfig(cuts=0).cuts == 0
    assert Conv1Config(slow_at=1, frozen_at=1)
    assert Recipe(name="still", lr=0.0, momentum=0.0, noise=NoiseConfig(coefficient=0.0))


def test_noise_is_the_recipe_s_until_it_is_off():
    noise = NoiseConfig(coefficient=0.2, of="eigenvalues", rescale=True, off_at=4)
    assert noise.at(3) == noise
    assert noise.at(4).coefficient == noise.at(99).coefficient == 0
    assert NoiseConfig(coefficient=0.2).at(99).coefficient == 0.2


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_has_the_config_of_its_network(name):
    assert run_config(name).config == mini()


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_s_config_comes_back_from_json_as_it_went(name):
    config = run_config(name)
    assert from_dict(RunConfig, json.loads(json.dumps(to_dict(config)))) == config
