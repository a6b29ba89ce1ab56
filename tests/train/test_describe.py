import itertools
import json
import math

import pytest

from alexnet.config import PRESETS
from tests.train.conftest import run
from train.recipes import RECIPES


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


# Recipes


def cells(text, title):
    """The rows below a table's title, and below the names of its columns, as lists of cells."""
    lines = text[text.index(title) :].splitlines()
    table = itertools.dropwhile(lambda line: not line.startswith("|"), lines)
    rows = list(itertools.takewhile(lambda line: line.startswith("|"), table))
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


RATES = "Learning rates"


def test_neither_network_nor_recipe_is_a_usage_error():
    done = run("describe", check=False)
    assert done.returncode == 2
    assert "Name what to describe: --preset, --recipe, or both." in done.stderr


def test_a_preset_alone_is_described_without_a_recipe():
    assert RATES not in run("describe", "--preset=mini").stdout
    assert "rates" not in described("--preset=mini")


def test_a_recipe_says_what_it_is_and_what_its_fields_hold():
    text = run("describe", "--recipe=net145").stdout
    title = "net145: Net #145 as it was run on ILSVRC-2012 [S layer-params-145.cfg:165-182]."
    assert " ".join(text.split("|")[0].split()) == title
    assert "conv5" not in text
    found = dict(cells(text, "net145:"))
    assert found["recipe.name"] == "net145"
    assert found["recipe.batch"] == "128"
    assert found["recipe.schedule.kind"] == "epochs"
    assert found["recipe.schedule.cut_at"] == "[25, 51, 79]"
    assert found["recipe.schedule.patience"] == "-"  # only a plateau has one
    assert found["recipe.bias_schedule.kind"] == "constant"
    assert found["recipe.conv1.frozen_at"] == "72"
    assert found["recipe.noise.rescale"] == "true"
    asked = dict(cells(text, "Asked of the network"))
    assert asked == {"input.mean": "centred", "network.dropout.scaled": "in_test"}


@pytest.mark.parametrize("name", RECIPES)
def test_every_field_of_a_recipe_is_in_the_table(name):
    found = dict(cells(run("describe", "--recipe", name).stdout, f"{name}:"))

    def expected(value, path):
        if isinstance(value, dict):
            return [leaf for key in value for leaf in expected(value[key], f"{path}.{key}")]
        return [path]

    assert list(found) == expected(described("--recipe", name)["recipe"], "recipe")


def test_rates_are_shown_from_change_to_change():
    text = run("describe", "--recipe=net145").stdout
    assert cells(text, RATES) == [
        ["1 to 24", "0.01", "0.02", "0.01", "0.02", "0.1"],
        ["25 to 50", "0.001", "0.02", "0.001", "0.02", "0.1"],
        ["51 to 66", "0.0001", "0.02", "0.0001", "0.02", "0.1"],
        ["67 to 71", "0.0001", "0.02", "1e-05", "0.02", "0"],
        ["72 to 78", "0.0001", "0.02", "0", "0", "0"],
        ["79 to 90", "1e-05", "0.02", "0", "0", "0"],
    ]


def test_a_change_in_the_middle_of_an_epoch_is_shown_there():
    """Quarters of 95 epochs: 23.75, 47.5 and 71.25."""
    rows = cells(run("describe", "--recipe=net170").stdout, RATES)
    assert [row[0] for row in rows] == [
        "1 to 24 at 75%",
        "24 from 75% to 48 at 50%",
        "48 from 50% to 67",
        "68 to 72 at 25%",
        "72 from 25% to 73",
        "74 to 95",
    ]
    assert [row[1] for row in rows] == [
        *("0.01", "0.0015874", "0.000251984", "0.000251984", "4e-05", "4e-05")
    ]


def test_of_a_plateau_it_is_said_that_the_validation_error_decides():
    text = run("describe", "--recipe=paper").stdout
    assert cells(text, RATES) == [["1 to 90", "0.01", "0.01", "0.01", "0.01", "0.1"]]
    assert (
        "The validation error decides: after 5 epoch(s) without a better one, all rates are "
        "multiplied by 0.1, 3 time(s) at most; the next plateau ends the run." in text
    )
    assert "Asked of the network" not in text


def test_of_rates_that_always_change_some_epochs_are_shown():
    """The minibatches of an ILSVRC-2012 epoch are 5005; the first step has a part of five epochs.

    The others: .02, times the warm-up's share, times cos(90 degrees * epochs over / 90)^2.
    """
    text = run("describe", "--recipe=modern").stdout
    found = {row[0]: float(row[1]) for row in cells(text, RATES)}
    assert found["1"] == pytest.approx(0.02 / 5 / 5005, rel=1e-5)
    assert found["3"] == pytest.approx(
        0.02 * (2 + 1 / 5005) / 5 * math.cos(math.radians(2)) ** 2, rel=1e-5
    )
    assert found["6"] == pytest.approx(0.02 * math.cos(math.radians(5)) ** 2, rel=1e-5)
    assert found["46"] == pytest.approx(0.01)
    assert list(found)[-1] == "90"
    assert "Rates change with every step" in text


def test_a_recipe_alone_takes_settings_of_its_own_fields_only():
    settings = ["--set=recipe.lr=0.5", "--set=recipe.epochs=60", "--set=recipe.conv1.frozen_at=70"]
    found = described("--recipe=net145", *settings)
    assert found["recipe"]["lr"] == 0.5
    assert found["rates"][0]["weights"] == 0.5
    assert [stage["ends"] for stage in found["rates"]] == [24, 50, 60]
    done = run("describe", "--recipe=paper", "--set=network.classes=3", check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "alexnet-train: There is no setting 'network.classes': here has recipe.\n"
    )


def test_with_both_the_network_is_as_the_recipe_trains_it():
    both = ("--preset=paper", "--recipe=net145")
    found = described(*both, "--set=recipe.batch=32", "--set=network.classes=10")
    assert found["config"]["input"]["mean"] == "centred"
    assert found["config"]["network"]["classes"] == 10
    assert found["recipe"]["batch"] == 32
    assert found["layers"][0]["name"] == described("--preset=paper")["layers"][0]["name"]
    text = run("describe", *both).stdout
    assert "mean centred" in text
    assert text.index("| total") < text.index(RATES)


def test_a_recipe_that_the_preset_can_t_have_is_a_sentence():
    done = run("describe", "--preset=torchvision", "--recipe=net145", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("alexnet-train: The preset torchvision can't have what")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", RECIPES)
def test_json_holds_the_recipe_and_its_rates_from_the_first_epoch_on(name):
    found = described("--recipe", name)
    assert set(found) == {"recipe", "about", "validation_error_decides", "rates"}
    assert found["about"].endswith(".")
    assert found["validation_error_decides"] == (name == "paper")
    stages = found["rates"]
    assert stages[0]["begins"] == 0
    if name == "modern":
        assert {stage["ends"] for stage in stages} == {None}
        return
    ends = [stage["ends"] for stage in stages]
    assert [stage["begins"] for stage in stages] == [0, *ends[:-1]]
    assert ends[-1] == found["recipe"]["epochs"]
