import json
from dataclasses import dataclass, replace
from typing import Literal

import pytest

from alexnet.config import PRESETS, Config, LRNConfig, preset
from alexnet.settings import SettingsError, differences, from_dict, to_dict, with_settings
from train.recipe import RunConfig
from train.recipes import recipe


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_comes_back_from_json_as_it_went(name):
    config = preset(name)
    assert from_dict(Config, json.loads(json.dumps(to_dict(config)))) == config


def test_a_setting_changes_its_field_and_no_other():
    changed = with_settings(preset("mini"), ["network.classes=10"])
    assert changed.network.classes == 10
    assert replace(changed, network=replace(changed.network, classes=50)) == preset("mini")


def test_elements_of_a_tuple_are_named_by_their_position():
    changed = with_settings(preset("mini"), ["network.convs.0.maps=48"])
    assert [conv.maps for conv in changed.network.convs] == [
        48,
        *(conv.maps for conv in preset("mini").network.convs[1:]),
    ]


def test_an_integer_is_accepted_where_a_fraction_is_meant():
    rate = with_settings(preset("paper"), ["network.dropout.rate=0"]).network.dropout.rate
    assert rate == 0.0
    assert isinstance(rate, float)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    "settings",
    [
        ['network.convs.0.steps=["relu", "pool"]', "network.convs.0.lrn=null"],
        ["input.mean=channel", "input.mean_rgb=[100, 110, 120]"],
        ["input.size=16", "input.crop=16"],
        ["network.columns=3", "network.convs=[]"],
    ],
)
def test_settings_that_belong_together_may_come_in_any_order(settings, order):
    changed = to_dict(with_settings(preset("mini"), settings[::order]))
    for setting in settings:
        path, _, text = setting.partition("=")
        value = changed
        for key in path.split("."):
            value = value[int(key) if key.isdecimal() else key]
        assert value == (text if text == "channel" else json.loads(text))


@pytest.mark.parametrize("order", [1, -1])
def test_an_object_takes_the_place_of_a_section_and_may_be_changed_further(order):
    given = ['network.convs.4.lrn={"size": 3}', "network.convs.4.lrn.k=1"]
    steps = 'network.convs.4.steps=["relu", "lrn", "pool"]'
    settings = [*given, steps] if order > 0 else [steps, *given]
    lrn = with_settings(preset("mini"), settings).network.convs[4].lrn
    assert lrn == LRNConfig(size=3, k=1.0)


def test_the_last_of_several_settings_of_a_field_holds():
    changed = with_settings(preset("mini"), ["network.classes=3", "network.classes=4"])
    assert changed.network.classes == 4


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("preset=paper", "preset is set with --preset"),
        ("recipe.name=paper", "recipe.name is set with --recipe"),
        ('recipe={"name": "paper"}', "recipe.name is set with --recipe"),
    ],
)
def test_what_is_only_a_name_is_set_with_its_option(setting, sentence):
    base = preset("mini")
    config = RunConfig(preset="mini", input=base.input, network=base.network, recipe=recipe("mini"))
    with pytest.raises(SettingsError, match=sentence):
        with_settings(config, [setting])
    assert with_settings(config, ["preset=mini", "recipe.name=mini"]) == config


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("network.clases=10", "no setting 'network.clases'"),
        ("netwrok.classes=10", "no setting 'netwrok.classes'"),
        ("network.classes.x=10", "network.classes is a single value"),
        ("network.convs.9.maps=1", "elements 0 to 4"),
        ("network.classes", "not of the form section.field=value"),
        ("=3", "not of the form section.field=value"),
        ("network.classes=ten", "network.classes must be of type int, not 'ten'"),
        ("network.classes=1.5", "network.classes must be of type int, not 1.5"),
        ("network.classes=true", "network.classes must be of type int, not True"),
        ("input.mean=median", "input.mean must be one of aligned, centred, channel"),
        ("input.crop=300", "a crop of 300 pixels does not fit a photo of 256"),
        ("network.convs.0.pad=[1]", "network.convs.0.pad must have 2 elements, not 1"),
        ("network.convs=3", "network.convs must be a list"),
        ("network.dropout=0.5", "network.dropout must hold the fields of DropoutConfig"),
        ("network.convs.0.maps=97", "conv1 has 97 maps: not a multiple of 2 columns"),
        ('network.fc6={"units": 3, "unit": 4}', "network.fc6 has no field 'unit'"),
        ("network.convs.0.lrn=null", "step 'lrn' and the field 'lrn' go together"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_it(setting, sentence):
    with pytest.raises(SettingsError, match=sentence.replace("(", r"\(")):
        with_settings(preset("paper"), [setting])


@dataclass(frozen=True)
class Point:
    x: int
    side: Literal["left", "right"] | None = None


def test_unknown_and_missing_fields_are_errors():
    with pytest.raises(SettingsError, match="has no field 'y': its fields are x, side"):
        from_dict(Point, {"x": 1, "y": 2})
    with pytest.raises(SettingsError, match="lacks its field 'x'"):
        from_dict(Point, {"side": "left"})


def test_null_is_a_value_only_where_it_may_be():
    assert from_dict(Point, {"x": 1, "side": None}) == Point(1)
    with pytest.raises(SettingsError, match="x must be of type int"):
        from_dict(Point, {"x": None})


def test_differences_are_named_as_settings_and_set_one_config_to_the_other():
    before = preset("paper")
    settings = ["network.convs.0.maps=64", "network.dropout.rate=0.25", "input.size=300"]
    now = with_settings(before, settings)
    assert differences(before, now) == [
        ("input.size", 256, 300),
        ("network.convs.0.maps", 96, 64),
        ("network.dropout.rate", 0.5, 0.25),
    ]
    assert differences(before, before) == []
    back = [f"{name}={json.dumps(old)}" for name, old, _ in differences(before, now)]
    assert with_settings(now, back) == before


def test_sections_and_lists_that_do_not_match_differ_as_a_whole():
    run = RunConfig(
        preset="mini",
        input=preset("mini").input,
        network=preset("mini").network,
        recipe=recipe("mini"),
    )
    now = with_settings(run, ["recipe.schedule.cut_at=[3]", 'recipe.layers=[{"layers": "fc8"}]'])
    (cuts, layers) = differences(run, now)
    assert cuts == ("recipe.schedule.cut_at", [58, 68], [3])
    assert layers[:2] == ("recipe.layers", [])
