"""Data without validation photos: trained on by every schedule that does not follow their error."""

import json

import pytest
import torch

from alexnet.checkpoint import load_checkpoint
from tests.train.conftest import THIN, lines, run
from tests.train.folders import make, pets, write
from train.dataset import Dataset
from train.figures.curves import curves, draw
from train.recipes import recipe

SHORT = (*THIN, "--set=recipe.batch=16")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pets")
    write(folder / "pets", pets(16, size=(64, 64)))
    make(folder / "pets", folder / "data", size=64, val_fraction=0)
    return folder / "data"


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A run of two epochs: its folder, the command's JSON line and what it said."""
    out = tmp_path_factory.mktemp("runs") / "run"
    done = run("fit", *SHORT, "--data", data, "--out", out, "--epochs", 2)
    return out, json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_a_run_goes_to_its_end_and_says_that_nothing_was_measured(trained):
    out, result, said = trained
    assert (result["epoch"], result["ten_views"]) == (2, {})
    assert said.count("no validation photos") == 2
    assert [line["epoch"] for line in lines(out / "metrics.jsonl")] == [1, 2]
    assert not any(name.startswith("val_") for name in result)


def test_the_model_says_that_it_was_measured_on_no_photos(trained):
    model = load_checkpoint(trained[0] / "model.safetensors")
    assert model.provenance["validation"] == {"photos": 0, "centre": {}, "ten": {}}


def test_a_run_goes_on_to_the_weights_that_it_would_have_reached(trained, data, tmp_path):
    options = (*SHORT, "--data", data, "--out", tmp_path / "run", "--epochs", 2)
    run("fit", *options, "--max-steps", 3)
    run("fit", *options, "--resume")
    both = (
        load_checkpoint(out / "model.safetensors").weights for out in (trained[0], tmp_path / "run")
    )
    first, second = both
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_schedule_that_follows_the_validation_error_is_refused(data, tmp_path):
    assert recipe("paper").schedule.kind == "plateau"
    options = (*SHORT, "--recipe", "paper", "--data", data, "--out", tmp_path / "run")
    done = run("fit", *options, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no validation photos, and the schedule `plateau` follows their error" in done.stderr
    assert not (tmp_path / "run").exists()
    way_out = ("--set=recipe.schedule.kind=cosine", "--max-steps=1")
    assert run("fit", *options, *way_out, check=False).returncode == 0


def test_its_learning_curves_are_those_of_training(trained, data):
    assert not Dataset(data).count("val")
    found = curves(lines(trained[0] / "metrics.jsonl"))
    assert len(found["train_loss"]) == len(found["train_error"]) == 2
    assert not {"val_loss", "val_top1_error", "val_top5_error"} & found.keys()
    drawn = draw(found, title="pets")
    assert [len(axes.lines) for axes in drawn.axes] == [1, 1]
