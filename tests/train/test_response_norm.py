"""CIFAR-10's pair follows the source's schedule, and the text says what may be concluded."""

import dataclasses
import json

import pytest

from tests.train.small_photos import VAL, prepared
from train.dataset import Dataset
from train.experiments import pages, response_norm, side_by_side
from train.experiments.cifar_photos import Splits
from train.experiments.cifar_testing import NINE, errors
from train.experiments.cifar_training import Training, load, network_of
from train.experiments.experiment import Task, carry_out, read_result
from train.experiments.response_norm import DECAYS, EXPERIMENT, Settings, gain
from train.experiments.side_by_side import SideBySide

TINY = Settings(share=0.001, rate=0.0005)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The experiment carried out at once, in this process, and the steps that it took."""
    patch = pytest.MonkeyPatch()
    patch.setattr(side_by_side, "cores", lambda: 1)
    steps = []
    train = SideBySide.train
    patch.setattr(
        SideBySide, "train", lambda self, asked: steps.extend(asked) or train(self, asked)
    )
    task = Task(data=data, out=tmp_path_factory.mktemp("whole"), settings=TINY)
    result = carry_out(EXPERIMENT, task, command="alexnet-train experiment response-norm")
    patch.undo()
    return task, result, steps


def test_the_schedule_is_the_sources_or_a_share_of_it():
    assert Settings(share=1.0).epochs == (350, 150, 10, 10)
    assert Settings().epochs == (35, 15, 1, 1)
    assert TINY.epochs == (1, 1, 1, 1)


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"share": 1.5}, {"nets": ()}, {"rate": 0.0}])
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)


@pytest.mark.slow
def test_the_weights_rate_is_cut_twice_and_the_biases_keep_theirs(whole):
    _, _, steps = whole
    own = [step for step in steps if step.training.net == "b"]
    rates = [step.rate for step in own]
    assert rates == pytest.approx([0.0005, 0.0005, 0.00005, 0.000005])
    assert {step.bias_rate for step in own} == {0.001}


def test_the_last_file_is_learnt_from_after_the_first_part(data, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(Dataset, "count", lambda self, split: 50_000)
    monkeypatch.setattr(side_by_side, "cores", lambda: 1)

    def note(self, steps):
        asked.extend(step.files for step in steps)
        raise KeyboardInterrupt

    monkeypatch.setattr(SideBySide, "train", note)
    with pytest.raises(KeyboardInterrupt):
        response_norm.run(Task(data=data, out=tmp_path, settings=TINY))
    assert asked == [4, 4]


@pytest.mark.slow
def test_both_networks_train_on_crops_with_their_own_weight_decay(whole):
    _, _, steps = whole
    trainings = {step.training.net: step.training for step in steps}
    assert all(training.crop == 24 for training in trainings.values())
    assert trainings["b"].decays == {"local3": 0.004, "local4": 0.004, "fc10": 0.004}
    assert trainings["b-norm"].decays == {"local3": 0.004, "local4": 0.004, "fc10": 0.01}


@pytest.mark.slow
def test_each_network_is_tested_after_every_epoch_and_with_nine_views_at_the_end(whole, data):
    task, result, _ = whole
    assert result["complete"]
    splits = Splits(Dataset(data))
    for net, (run,) in result["found"]["nets"].items():
        assert len(run["errors"]) == len(run["test_errors"]) == 4
        assert run["finished"]
        assert run["test_errors"][-1] == run["views"]["centre"]
        training = Training(net=net, decays=DECAYS[net], crop=24)
        made = network_of(training, splits.val)
        load(task.out / "runs" / f"{net}-seed0.safetensors", made)
        found = errors(made, splits.val, side=24, views={"nine": NINE})
        assert run["views"]["nine"] == pytest.approx(found["nine"], abs=1.5 / VAL)


@pytest.mark.slow
def test_stopped_midway_it_comes_to_the_same_and_says_what_is_missing(whole, tmp_path, monkeypatch):
    task, result, _ = whole
    monkeypatch.setattr(side_by_side, "cores", lambda: 1)
    again = dataclasses.replace(task, out=tmp_path)
    asked = iter([*[False] * 5, *[True] * 100])  # two epochs of the first, one of the second
    monkeypatch.setattr(Task, "late", property(lambda _: next(asked)))
    stopped = carry_out(EXPERIMENT, again, command="x")
    assert not stopped["complete"]
    assert "before the schedule ended" in EXPERIMENT.text(stopped)
    pages.draw(EXPERIMENT, stopped, tmp_path / "figure.svg")
    monkeypatch.undo()
    monkeypatch.setattr(side_by_side, "cores", lambda: 1)
    assert carry_out(EXPERIMENT, again, command="x")["found"] == result["found"]


@pytest.mark.slow
def test_text_and_figure_are_made_of_the_result_file_alone(whole, tmp_path):
    task, result, _ = whole
    read = read_result(task.out / "result.json", EXPERIMENT)
    for name, shown in {"first": result, "second": read}.items():
        pages.draw(EXPERIMENT, json.loads(json.dumps(shown)), tmp_path / f"{name}.svg")
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()
    assert pages.section(EXPERIMENT, read) == pages.section(EXPERIMENT, result)


def test_the_gain_is_paired_by_photo():
    without, normed = {"nine": [0, 1, 2]}, {"nine": [2, 3]}
    # 100, 100, 0 and -100 points: mean 25, deviation 95.74, Student's t of three degrees 3.182
    assert gain([without], [normed], photos=4) == {
        "mean": 25.0,
        "half": pytest.approx(3.1824 * 95.7427 / 2, abs=0.01),
    }


def test_the_gain_of_several_seeds_is_of_the_share_that_misses_a_photo():
    without, normed = [{"nine": [0]}, {"nine": [0, 1]}], [{"nine": [1]}, {"nine": []}]
    # of photos 0 and 1: 100 and 0 points, so 50 each way from their mean
    found = gain(without, normed, photos=2)
    assert found == {"mean": 50.0, "half": pytest.approx(12.7062 * 50, abs=0.1)}


def test_there_is_no_gain_before_both_are_tested():
    assert gain([{"nine": [0]}], [None], photos=2) is None
    assert gain([{"nine": [0]}], [], photos=2) is None


@pytest.mark.slow
def test_the_gain_is_that_of_the_errors(whole):
    _, result, _ = whole
    (without,), (normed,) = (result["found"]["nets"][net] for net in ("b", "b-norm"))
    difference = 100 * (without["views"]["nine"] - normed["views"]["nine"])
    assert result["found"]["gain"]["mean"] == pytest.approx(difference, abs=1e-3)


# What is said


def shown(without, normed, half=0.8):
    """A result with these test errors, and half of their difference's interval in points."""

    def runs(error):
        views = {"centre": error + 0.01, "nine": error, "ten": error}
        run = {"seed": 0, "finished": True, "errors": [0.3], "test_errors": [0.3], "views": views}
        return [run]

    return {
        "settings": dataclasses.asdict(Settings(share=1.0)),
        "data": {"photos": {"val": 10_000}},
        "found": {
            "epochs": [350, 150, 10, 10],
            "nets": {"b": runs(without), "b-norm": runs(normed)},
            "gain": {"mean": 100 * (without - normed), "half": half},
        },
    }


def test_a_difference_is_put_beside_the_papers_and_what_chance_can_make():
    words = EXPERIMENT.text(shown(0.14, 0.12))
    assert "14.0% test error" in words
    assert "+2.0 points" in words
    assert "13% and 11%" in words
    assert "+2.0 points in favour of it (+2.0 with ten views)" in words
    assert "±0.8 points" in words
    assert "In this one pair of trainings the one with response normalisation is better" in words
    assert "`b-wide`" in words
    assert "as in the paper" in words


def test_a_difference_within_chance_is_called_so():
    words = "That is within what other test photos could make"
    assert words in EXPERIMENT.text(shown(0.14, 0.135))
    assert words not in EXPERIMENT.text(shown(0.14, 0.135, half=0.4))


def test_a_difference_the_other_way_is_said():
    assert "unlike the paper" in EXPERIMENT.text(shown(0.12, 0.14))
