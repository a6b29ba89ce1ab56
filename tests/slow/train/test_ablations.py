"""Ablations that are stopped go on."""

import json
import signal
import subprocess
import time
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from alexnet.backends import open_backend
from alexnet.errors import AlexNetError
from tests.train.conftest import PATIENCE, command, lines, surroundings
from tests.train.test_ablations import words
from train.cli import main
from train.dataset import Dataset
from train.experiments.experiment import Task
from train.experiments.training import train_all
from train.experiments.variants import at_rate, baseline


@pytest.fixture(scope="module")
def stopped(colors, tmp_path_factory):
    """An experiment that SIGTERM ended in the middle: its folder, and what it printed."""
    out = tmp_path_factory.mktemp("stopped") / "out"
    process = subprocess.Popen(
        command(*words(colors, out)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=surroundings(),
    )
    end = time.monotonic() + PATIENCE
    while not list((out / "parts").glob("*.json")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "no training was finished"
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    printed, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    return out, json.loads(printed.splitlines()[-1]), said, (out / "text.md").read_text()


def test_one_that_is_stopped_says_what_is_missing(stopped):
    out, result, said, text = stopped
    finished = [path.stem for path in (out / "parts").glob("*.json")]
    assert not result["complete"]
    assert 0 < len(finished) == result["runs"] < 4
    assert "the same command goes on" in said
    assert "to come" in text
    assert "**Not all of it was run yet**" in text
    for name in finished:  # several train at a time: each says its name
        assert f"{name}: epoch" in said


def test_one_that_is_stopped_goes_on_to_the_same_result(stopped, whole, colors):
    out = stopped[0]
    done = CliRunner().invoke(main, words(colors, out), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    again = json.loads((out / "result.json").read_text())
    assert again["complete"]
    assert again["found"] == whole[1]["found"]


def test_a_training_that_diverges_is_a_sentence_or_left_out(colors, tmp_path):
    plain = baseline(epochs=3, classes=3, seed=0)
    task = Task(data=colors, out=tmp_path, settings=None)
    runs = {"wild": at_rate(plain, 1e12)}
    said = r"^The training wild diverged\. .* lower recipe\.lr"
    with pytest.raises(AlexNetError, match=said):
        train_all(task, runs)
    with pytest.raises(AlexNetError, match=said):  # once is enough
        train_all(task, runs)
    assert train_all(task, runs, may_diverge=True) == {}
    late = replace(task, deadline=time.monotonic() - 1)
    assert train_all(late, {"never": plain}) == {}


@pytest.fixture(scope="module")
def whole(colors, tmp_path_factory):
    """The same, left alone."""
    out = tmp_path_factory.mktemp("whole") / "out"
    done = CliRunner().invoke(main, words(colors, out), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return out, json.loads((out / "result.json").read_text())


def test_errors_are_those_of_the_networks_that_it_leaves(whole, colors):
    out, result = whole
    photos = Dataset(colors).split("val")
    pixels, labels = photos.photos(np.arange(len(photos))), photos.labels
    for name, runs in result["found"]["runs"].items():
        for seed, measured in runs.items():
            backend = open_backend(out / "runs" / f"{name}-{seed}" / "model.safetensors")
            wrong = (backend.run(pixels).argmax(1) != labels).mean()
            assert measured["ten"]["top1"] == pytest.approx(wrong, abs=1e-6)
            last = lines(out / "runs" / f"{name}-{seed}" / "metrics.jsonl")[-1]
            assert measured["centre"]["loss"] == pytest.approx(last["val_loss"], abs=1e-6)
            assert measured["train_error"] == last["train_error"]
            assert len(measured["curve"]) == 3
            assert measured["curve"][-1] == measured["centre"]["top1"]


def test_figure_and_text_are_made_again_from_the_result_alone(whole, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    out = whole[0]
    (tmp_path / "result.json").write_bytes((out / "result.json").read_bytes())
    again = CliRunner().invoke(
        main, ["experiment", "ablations", "--out", str(tmp_path)], catch_exceptions=False
    )
    assert again.exit_code == 0, again.output
    for name in ("figure.svg", "text.md"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()
