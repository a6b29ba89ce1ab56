"""Which rate is chosen, where 25% is crossed, and what is said of it."""

import dataclasses
import json
import math

import pytest

from tests.train.small_photos import prepared
from train.experiments import pages, side_by_side
from train.experiments.cifar_training import Epoch, Training, epochs_of
from train.experiments.experiment import Task, carry_out, read_result
from train.experiments.race import Rules, Standing, asked, crossing, standing
from train.experiments.relu_vs_tanh import EXPERIMENT, Settings

RULES = Rules(target=0.25, rungs=(2,), max_epochs=5)
# The first rate suits ReLUs and is too low for tanh; the second one suits tanh and is too high for
# ReLUs.
TINY = Settings(
    rates=(0.002, 0.1),
    first_stds=(0.01,),
    seeds=(0, 1),
    target=0.3,
    rungs=(1,),
    beyond=1,
    max_epochs=5,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("small"))


def curve(*errors):
    """Epochs with these errors; None: its loss is no number."""
    return [
        Epoch(error=0.9 if error is None else error, loss=error and 1.0, seconds=1.0)
        for error in errors
    ]


# Crossing


def test_the_target_is_crossed_on_the_line_between_two_epochs():
    assert crossing(curve(0.5, 0.35, 0.15, 0.1), 0.25) == pytest.approx(2.5)
    assert crossing(curve(0.5, 0.3, 0.25), 0.25) == pytest.approx(3)


def test_the_first_crossing_counts():
    assert crossing(curve(0.3, 0.2, 0.3, 0.2), 0.25) == pytest.approx(1.5)


def test_a_first_epoch_below_the_target_crosses_at_one():
    assert crossing(curve(0.2, 0.1), 0.25) == 1


def test_nothing_is_crossed_by_a_curve_that_stays_above_or_diverges():
    assert crossing(curve(0.5, 0.4), 0.25) is None
    assert crossing(curve(0.5, None), 0.25) is None
    assert crossing([], 0.25) is None


# The race


def test_all_train_the_first_epoch():
    assert standing({"a": [], "b": curve(0.8)}, RULES).to_train == ("a",)


def test_after_a_rung_the_better_half_goes_on():
    runs = {name: curve(0.8, error) for name, error in zip("abcde", (5, 4, 1, 2, 3), strict=True)}
    runs = {name: curve(0.8, run[1].error / 10 + 0.25) for name, run in runs.items()}
    assert set(standing(runs, RULES).to_train) == {"c", "d", "e"}


def test_no_rung_leaves_fewer_than_two():
    assert set(standing({name: curve(0.8, 0.7) for name in "ab"}, RULES).to_train) == {"a", "b"}


def test_a_training_without_a_number_leaves_at_once():
    runs = {"a": curve(None), "b": curve(0.8)}
    assert standing(runs, RULES) == Standing(to_train=("b",), winner=None)


def test_the_first_to_cross_wins_and_ends_the_race():
    runs = {"a": curve(0.8, 0.7, 0.5), "b": curve(0.8, 0.6, 0.2), "c": curve(0.8, 0.9)}
    assert standing(runs, RULES) == Standing(to_train=(), winner="b")


def test_of_two_that_cross_in_one_epoch_the_earlier_wins():
    runs = {"a": curve(0.8, 0.3, 0.1), "b": curve(0.8, 0.6, 0.01)}  # at 2.25 and 2.59
    assert standing(runs, RULES).winner == "a"


def test_nobody_wins_before_all_have_trained_the_epoch():
    runs = {"a": curve(0.8, 0.2), "b": curve(0.8)}
    assert standing(runs, RULES) == Standing(to_train=("b",), winner=None)


def test_the_closest_wins_if_nobody_crosses():
    runs = {"a": curve(0.8, 0.7, 0.6, 0.5, 0.4), "b": curve(0.8, 0.6, 0.5, 0.4, 0.3)}
    assert standing(runs, RULES) == Standing(to_train=(), winner="b")


def test_what_a_race_asked_for_ends_at_its_rungs_and_with_its_end():
    runs = {
        "a": curve(0.8, 0.7, 0.5, 0.2, 0.1),  # goes on behind the end
        "b": curve(0.8, 0.6, 0.5, 0.4),
        "c": curve(0.8, 0.75, 0.7),  # trained on behind a rung
        "d": curve(0.8, None),
    }
    rules = dataclasses.replace(RULES, rungs=(2,))
    assert [asked(name, runs, rules) for name in runs] == [4, 4, 2, 2]


def test_nobody_wins_if_all_diverge():
    assert standing({"a": curve(None)}, RULES) == Standing(to_train=(), winner=None)


# Settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"rates": ()},
        {"rates": (0.1, 0.1)},
        {"rates": (0.0,)},
        {"seeds": (-1,)},
        {"target": 1.0},
        {"rungs": (4, 2)},
        {"max_epochs": 0},
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)


# The experiment


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The experiment carried out at once, in this process."""
    patch = pytest.MonkeyPatch()
    patch.setattr(side_by_side, "cores", lambda: 1)
    task = Task(data=data, out=tmp_path_factory.mktemp("whole"), settings=TINY)
    result = carry_out(EXPERIMENT, task, command="alexnet-train experiment relu-vs-tanh")
    patch.undo()
    return task, result


@pytest.mark.slow
def test_every_nonlinearity_gets_its_own_rate_and_a_curve_for_each_seed(whole):
    _, result = whole
    assert result["complete"]
    for kind, rate in (("relu", 0.002), ("tanh", 0.1)):
        found = result["found"]["nets"]["a"][kind]
        assert [race["rate"] for race in found["races"]] == [rate]
        assert found["chosen"] == {"rate": rate, "first_std": 0.01}
        assert [run["seed"] for run in found["seeds"]] == [0, 1]
        for run in found["seeds"]:
            assert run["crossing"] is not None
            assert len(run["errors"]) == min(5, math.ceil(run["crossing"]) + 1)


@pytest.mark.slow
def test_the_seed_that_raced_is_not_trained_again(whole):
    task, result = whole
    for found in result["found"]["nets"]["a"].values():
        winner = next(
            run for run in found["races"][0]["candidates"] if run["rate"] == found["chosen"]["rate"]
        )
        assert found["seeds"][0]["errors"] == winner["errors"]
    assert result["runs"] == len(list((task.out / "runs").iterdir())) == 6


@pytest.mark.slow
def test_a_result_holds_what_the_trainings_files_hold(whole):
    task, result = whole
    run = result["found"]["nets"]["a"]["tanh"]["races"][0]["candidates"][0]
    path = task.out / "runs" / "a-tanh-std0.01-rate0.002-seed0.safetensors"
    epochs = epochs_of(path, Training(net="a", nonlinearity="tanh", first_std=0.01, seed=0))
    assert run["errors"] == [epoch.error for epoch in epochs]
    assert run["crossing"] == crossing(epochs, 0.3)


@pytest.mark.slow
def test_stopped_after_every_few_epochs_it_comes_to_the_same(whole, data, tmp_path, monkeypatch):
    task, result = whole
    monkeypatch.setattr(side_by_side, "cores", lambda: 1)
    again = dataclasses.replace(task, out=tmp_path)
    sittings = 0
    found = None
    while found is None or not found["complete"]:
        asked = iter([*[False] * 5, *[True] * 100])
        monkeypatch.setattr(Task, "late", property(lambda _, asked=asked: next(asked)))
        found = carry_out(EXPERIMENT, again, command="x")
        pages.section(EXPERIMENT, found)
        pages.draw(EXPERIMENT, found, tmp_path / "figure.svg")
        sittings += 1
    assert sittings > 3
    assert found["found"] == result["found"]
    assert found["runs"] == result["runs"]


@pytest.mark.slow
def test_text_and_figure_are_made_of_the_result_file_alone(whole, tmp_path):
    task, result = whole
    read = read_result(task.out / "result.json", EXPERIMENT)
    for name, shown in {"first": result, "second": read}.items():
        pages.draw(EXPERIMENT, json.loads(json.dumps(shown)), tmp_path / f"{name}.svg")
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()
    assert pages.section(EXPERIMENT, read) == pages.section(EXPERIMENT, result)


# What is said


def shown(relu, tanh, *, over=True, finished=True):
    """A result in which two seeds crossed at these epochs."""

    def found(times):
        run = {"errors": [0.6, 0.24], "diverged": False, "crossing": 1.9}
        seeds = [
            {**run, "seed": seed, "finished": finished, "crossing": at}
            for seed, at in enumerate(times)
        ]
        race = {"first_std": 0.01, "over": over, "rate": 0.001, "candidates": [run | {"rate": 1}]}
        chosen = {"rate": 0.001, "first_std": 0.01} if over else None
        return {"races": [race], "chosen": chosen, "seeds": seeds if over else []}

    return {
        "settings": dataclasses.asdict(Settings(seeds=(0, 1))),
        "data": {"photos": {"train": 50_000}},
        "found": {"nets": {"a": {"relu": found(relu), "tanh": found(tanh)}}},
    }


def test_the_ratio_is_that_of_medians_with_its_range_over_seeds():
    words = EXPERIMENT.text(shown(relu=(5.0, 7.0), tanh=(35.0, 28.0)))  # medians 6 and 31.5
    assert "**5.2 times**" in words
    assert "(4.0 to 7.0 by seed)" in words
    assert "about six" in words
    assert "The claim holds" in words
    assert "395 minibatches" in words


def test_a_ratio_below_two_is_said_not_to_confirm_the_paper():
    words = EXPERIMENT.text(shown(relu=(5.0, 5.0), tanh=(8.0, 8.0)))
    assert "**1.6 times**" in words
    assert "not confirmed" in words


def test_a_tanh_that_never_crosses_gives_a_lower_bound():
    words = EXPERIMENT.text(shown(relu=(5.0, 5.0), tanh=(None, 50.0)))
    assert "at least **11.0 times**" in words  # median of 60, the longest training, and 50
    assert "more than 55.0" in words


def test_no_ratio_is_given_for_relus_that_never_cross():
    assert "there is no ratio" in EXPERIMENT.text(shown(relu=(None, 5.0), tanh=(50.0, 50.0)))


def test_no_ratio_is_given_before_the_races_are_over():
    assert "no ratio yet" in EXPERIMENT.text(shown(relu=(), tanh=(), over=False))


def test_a_rate_at_the_end_of_those_that_were_tried_is_pointed_out():
    result = shown(relu=(5.0, 5.0), tanh=(35.0, 35.0))
    assert "at the end of those" not in EXPERIMENT.text(result)
    result["found"]["nets"]["a"]["tanh"]["chosen"]["rate"] = 0.03
    assert "**The rate of tanh, 0.03, is at the end of those" in EXPERIMENT.text(result)


def test_the_net_that_was_not_run_is_named():
    words = EXPERIMENT.text(shown(relu=(5.0, 5.0), tanh=(35.0, 35.0)))
    assert "`layers-conv-local-13pct`: two" in words
    assert "was not run." in words


def test_an_epoch_that_the_rules_do_not_ask_for_is_said():
    result = shown(relu=(5.0, 5.0), tanh=(35.0, 35.0))
    assert "these rules ask for" not in EXPERIMENT.text(result)
    (race,) = result["found"]["nets"]["a"]["tanh"]["races"]
    won = {"rate": 0.001, "errors": [0.7, 0.5, 0.2], "diverged": False, "crossing": 2.8}
    near = won | {"rate": 1, "errors": [0.7, 0.6, 0.5], "crossing": None}
    race["candidates"] = [won, near, near | {"rate": 2, "errors": [0.7, 0.65, 0.6]}]
    result["settings"]["rungs"] = [2]
    said = "tanh at 2 trained 3 epochs where these rules ask for 2: nothing was chosen by"
    assert said in EXPERIMENT.text(result)
