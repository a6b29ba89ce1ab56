"""The experiment `dropout`: what a network makes of photos that it learnt from and of others."""

import json
import time

import pytest

from alexnet.backends import open_backend
from tests.train import eight_classes
from train.dataset import Dataset
from train.experiments.dropout import EXPERIMENT, Settings
from train.experiments.experiment import Task, carry_out
from train.experiments.pages import draw


def run_of(val, learnt, *, losses=None, top1=None):
    """A run with these validation errors by epoch, and that error on its training photos."""
    return {
        "train_error": [0.9] * len(val),
        "val_error": val,
        "val_loss": losses or [2.0] * len(val),
        "lr": [0.01] * len(val),
        "on_training_photos": {"top1_error": learnt, "loss": 1.0},
        "ten": {"top1": val[-1] if top1 is None else top1, "top5": 0.25},
    }


def result_of(plain, bare):
    """A result.json around one pair of runs; None: not there yet."""
    runs = {"with": plain and {"0": plain}, "without": bare and {"0": bare}}
    return {
        "settings": {"epochs": 4, "seeds": [0], "lr": 0.001},
        "data": {"photos": {"train": 25000, "val": 2500}, "classes": 50, "size": 64},
        "found": {"runs": {kind: found or {} for kind, found in runs.items()}},
    }


def test_overfitting_is_a_gap_that_dropout_closes():
    plain = run_of([0.9, 0.8, 0.7, 0.6], 0.55)
    bare = run_of([0.8, 0.7, 0.65, 0.66], 0.2, losses=[3.0, 2.5, 2.4, 2.9], top1=0.64)
    text = EXPERIMENT.text(result_of(plain, bare))
    for line in (
        "| with dropout, 0 | 55.0% | 60.0% | 5.0 | 60.0%, 4 | 60.0% / 25.0% |",
        "| without dropout, 0 | 20.0% | 66.0% | 46.0 | 65.0%, 3 | 64.0% / 25.0% |",
    ):
        assert line in text.splitlines()
    assert "that is the overfitting of which the paper speaks" in text
    # 64 % of 2,500 has a standard error of .96 points, of which 1.96 make the interval.
    assert "with ten views is different by +4.0 points" in text
    assert "uncertain by ±1.9" in text
    assert "rises again by 0.50 nats" in text
    # .65 after three epochs; with dropout .6 after four, a third more.
    assert "is there after 3 epochs, and the network with dropout gets there after 4, 1.3" in text


def test_what_is_not_seen_is_not_claimed():
    plain, bare = run_of([0.9, 0.8], 0.7), run_of([0.8, 0.7], 0.6)
    text = EXPERIMENT.text(result_of(plain, bare))
    assert "what the paper says of overfitting is not seen here" in text
    assert "the network with dropout does not get there (seed 0)" in text
    assert "rises again" not in text


@pytest.mark.slow
@pytest.mark.parametrize("done", [(False, False), (True, False), (True, True)])
def test_the_figure_and_the_text_take_what_is_there(done, tmp_path):
    pytest.importorskip("matplotlib", reason="figures need the extra plots")
    runs = [run_of([0.9, 0.8, 0.7, 0.6], 0.5) if there else None for there in done]
    result = result_of(*runs)
    assert EXPERIMENT.text(result).count("| to come |") == done.count(False)
    for name in ("one.svg", "two.svg"):
        draw(EXPERIMENT, result, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    if all(done):
        errors = EXPERIMENT.draw(result).axes[0]
        assert list(errors.lines[0].get_ydata()) == pytest.approx([90, 80, 70, 60])
        assert list(errors.lines[2].get_ydata()) == pytest.approx([50])


@pytest.mark.parametrize("fields", [{"seeds": ()}, {"seeds": (1, 1)}, {"epochs": 0}, {"lr": -1.0}])
def test_settings_that_make_no_sense_are_refused(fields):
    with pytest.raises(ValueError, match="at least"):
        Settings(**fields)


# The whole of it


def task(data, out, **fields):
    return Task(data=data, out=out, settings=Settings(epochs=3, lr=0.003), **fields)


@pytest.fixture(scope="module")
def done(colors, tmp_path_factory):
    out = tmp_path_factory.mktemp("dropout")
    return out, carry_out(EXPERIMENT, task(colors, out), command="x")


@pytest.mark.slow
def test_the_two_trainings_differ_in_dropout_and_rate_alone(done):
    out, result = done
    assert (result["runs"], result["complete"]) == (2, True)
    plain, bare = (
        json.loads((out / "runs" / name / "config.json").read_text())["run"]
        for name in ("with-0", "without-0")
    )
    assert plain["network"]["dropout"].pop("rate") == 0.5
    assert bare["network"]["dropout"].pop("rate") == 0
    assert [plain["recipe"].pop(name) for name in ("lr", "bias_lr")] == [0.01, 0.02]
    assert [bare["recipe"].pop(name) for name in ("lr", "bias_lr")] == [0.003, 0.006]
    for part in ("network", "recipe", "input", "seed"):
        assert plain[part] == bare[part]


@pytest.mark.slow
def test_learnt_photos_are_looked_at_as_the_others_are(done, colors):
    out, result = done
    for kind in ("with", "without"):
        backend = open_backend(out / "runs" / f"{kind}-0" / "model.safetensors", views="centre")
        split = Dataset(colors).split("train")
        photos = split.photos(range(len(split)))
        errors = eight_classes.errors(backend.run(photos), split.labels)
        backend.close()
        found = result["found"]["runs"][kind]["0"]["on_training_photos"]
        assert found["top1_error"] == pytest.approx(errors["top1_error"], abs=1e-6)
        assert found["loss"] == pytest.approx(errors["loss"], rel=1e-4)


@pytest.mark.slow
def test_a_finished_one_is_not_trained_again(done, colors):
    out, result = done
    late = task(colors, out, deadline=time.monotonic())
    assert carry_out(EXPERIMENT, late, command="x")["found"] == result["found"]
