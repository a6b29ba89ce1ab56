"""How fast a run would go, and what bounds it."""

import json
import math

import pytest

from tests.train.conftest import run
from train.speed import PARTS, figures, verdict

# A thin mini, so that a step takes a moment.
THIN = (
    "--preset=mini",
    *(f"--set=network.convs.{index}.maps=8" for index in range(5)),
    "--set=network.fc6.units=16",
    "--set=network.fc7.units=16",
    "--seconds=0.3",
)


def speed(data, *options, check=True):
    return run("speed", "--data", data, *THIN, *options, check=check)


# What the figures say


def test_the_slower_one_bounds_a_run():
    bound, words = verdict(loader=4305, step=350, both=343)
    assert bound == "step"
    assert words == (
        "the step: the loader alone is 12.3 times as fast; together they reach 98% of 350 photos/s."
    )
    bound, words = verdict(loader=2000, step=5000, both=1000)
    assert bound == "loader"
    assert words == (
        "the loader: the step alone is 2.5 times as fast; together they reach 50% of 2,000 "
        "photos/s."
    )


@pytest.mark.parametrize(("loader", "step"), [(100, 109), (109, 100), (100, 100)])
def test_neither_bounds_a_run_when_both_are_equally_fast(loader, step):
    bound, words = verdict(loader=loader, step=step, both=60)
    assert bound == "alike"
    assert words == (
        "loader and step alike: alone, they are equally fast; together they reach 60% of 100 "
        "photos/s."
    )


def test_figures_are_medians_and_quartiles_over_the_rounds():
    found = figures({"loader": [900, 100, 500], "step": [100, 50, 200], "both": [90, 40, 140]})
    speeds, ratios = found["photos_per_second"], found["times_the_step"]
    assert speeds["loader"] == {"median": 500, "p25": 300, "p75": 700}
    assert speeds["step"] == {"median": 100, "p25": 75, "p75": 150}
    # Of the medians 5; of the rounds 9, 2 and 2.5.
    assert ratios["loader"] == {"median": 5, "p25": 2.25, "p75": 5.75}
    assert ratios["step"] == {"median": 1, "p25": 1, "p75": 1}
    assert ratios["both"] == {"median": 0.9, "p25": 0.75, "p75": 0.85}
    assert found["bound"] == "step"


# The command


def check(found, *, batch, processes=1):
    for part in PARTS:
        rate, ratio = found["photos_per_second"][part], found["times_the_step"][part]
        assert 0 < rate["p25"] <= rate["median"] <= rate["p75"] < math.inf
        assert 0 < ratio["p25"] <= ratio["p75"]
        assert found["steps_per_slice"][part] >= 1
    medians = {part: found["photos_per_second"][part]["median"] for part in PARTS}
    assert (found["bound"], found["verdict"]) == verdict(**medians)
    assert found["rounds"] >= 3
    assert 0 <= found["waiting_for_photos"] <= 1
    assert (found["batch"], found["processes"], found["device"]) == (batch, processes, "cpu")
    assert found["threads"] >= 1
    assert found["machine"]["cores"] >= 1
    assert {"torch", "python", "pillow"} <= found["machine"]["versions"].keys()


def test_a_table_for_people_then_one_line_for_programs(colors, tmp_path):
    done = speed(colors, "--batch", 16, "--dtype", "float64", "--json", tmp_path / "speed.json")
    *people, last = done.stdout.strip().splitlines()
    found = json.loads(last)
    check(found, batch=16)
    assert found == json.loads((tmp_path / "speed.json").read_text())
    assert (found["dtype"], found["workers"], found["size"]) == ("float64", 0, 64)
    rows = [line for line in people if line.startswith("|")][2:]
    assert [row.split("|")[1].strip() for row in rows] == [
        *("loader alone", "step alone", "both together"),
    ]
    for row, part in zip(rows, PARTS, strict=True):
        rate = float(row.split("|")[2].replace(",", ""))
        assert rate == pytest.approx(found["photos_per_second"][part]["median"], abs=0.06)
    assert people[-1] == f"What bounds it: {found['verdict']}"
    assert done.stderr == ""


def test_a_minibatch_of_more_photos_than_there_are_has_all_of_them(colors):
    check(json.loads(speed(colors, "--batch", 64).stdout.splitlines()[-1]), batch=48)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--preset=paper"], 1, "The preset paper takes photos prepared with --size 256"),
        (["--set=network.classes=2"], 1, "network.classes is 2 and "),
        (["--set=recipe.bacth=4"], 1, "bacth"),
        (["--columns=2"], 1, "2 columns need 2 processes"),
        (["--batch=0"], 2, "--batch"),
        (["--seconds=0"], 2, "--seconds"),
    ],
)
def test_wrong_use_is_a_sentence(colors, options, code, words):
    done = run("speed", "--data", colors, "--preset=mini", *options, check=False)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
