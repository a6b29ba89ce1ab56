import json

import pytest

from alexnet.config import PRESETS
from tests.train.conftest import run


def described(*options):
    return json.loads(run("describe", *options, "--json").stdout)


@pytest.mark.parametrize(
    ("preset", "parameters", "macs"),
    [
        # As published, or counted from the 2012 configurations.
        ("paper", 60_965_224, 724_406_816),
        ("net145", 60_965_224, 724_406_816),
        ("caffe", 60_965_224, 724_406_816),
        ("one_gpu", 59_798_312, 391_514_384),
        ("six_conv", 61_555_304, 745_640_480),
        ("torchvision", 61_100_840, 714_188_480),
    ],
)
def test_totals_are_the_published_ones(preset, parameters, macs):
    found = described("--preset", preset)
    assert (found["parameters"], found["macs"]) == (parameters, macs)


def test_the_paper_has_its_neurons():
    found = described("--preset=paper")
    neurons = [layer["neurons"] for layer in found["layers"] if layer["neurons"]]
    assert neurons == [290_400, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000]
    assert found["neurons"] == 659_272


def test_without_groups_the_paper_has_62_million_parameters():
    assert described("--preset=paper", "--set=network.columns=1")["parameters"] == 62_378_344


@pytest.mark.parametrize("preset", PRESETS)
def test_the_table_ends_with_the_totals(preset):
    table = run("describe", "--preset", preset).stdout
    total = f"{described('--preset', preset)['parameters']:,}"
    last = table.strip().splitlines()[-1]
    assert last.startswith("| total")
    assert total in last
    assert "conv1" in table


def test_an_unknown_preset_is_a_usage_error():
    done = run("describe", "--preset=alexnet", check=False)
    assert done.returncode == 2
    assert "is not one of 'paper', 'net145'" in done.stderr
