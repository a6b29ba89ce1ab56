import json
from dataclasses import dataclass, replace
from typing import Literal

import pytest

from alexnet.config import PRESETS, Config, preset
from alexnet.settings import SettingsError, from_dict, to_dict, with_settings


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
