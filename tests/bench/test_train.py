"""`alexnet-bench train` runs `alexnet-train speed` and makes a result of what it says."""

import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from bench.child import ChildError, run_child
from bench.train import training_rows, why_invalid


def run(module, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", module, *map(os.fspath, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data set of two colours: 12 training and 4 validation photos of 64 pixels."""
    folder = tmp_path_factory.mktemp("data")
    for split, count in (("train", 6), ("val", 2)):
        for name in ("red", "blue"):
            place = folder / "source" / split / name
            place.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (64, 64), name).save(place / f"{number}.png")
    code, _, error = run("train", "prepare", folder / "source", folder / "data", "--size", "64")
    assert code == 0, error
    return folder / "data"


def test_what_the_trainer_measures_becomes_rows(data, tmp_path):
    thin = [f"--set=network.convs.{index}.maps=8" for index in range(5)]
    thin += ["--set=network.fc6.units=16", "--set=network.fc7.units=16"]
    code, out, error = run(
        *("bench", "train", "--preset", "mini", "--data", data, *thin),
        *("--batch", "6", "--dtype", "float64", "--seconds", "0.2", "--csv", tmp_path / "t.csv"),
    )
    assert code == 0, error
    result = json.loads(out.splitlines()[-1])
    assert result["benchmark"] == "train"
    training = "mini, recipe mini, float64, batch 6"
    assert [row["name"] for row in result["results"]] == [
        *(f"{training}: loader alone", f"{training}: step alone", f"{training}: both"),
    ]
    for row in result["results"]:
        assert row["train_samples_per_sec"] > 0
        assert row["train_batch_size"] == 6
        assert row["peak_mib"] > 100  # PyTorch is in it
    assert result["results"][1]["times_the_step"] == 1
    assert f"{training}: what bounds it is the " in out
    header = (tmp_path / "t.csv").read_text().splitlines()[0]
    assert "train_samples_per_sec" in header.split(",")


def found(rates):
    """What `alexnet-train speed` prints, of a training with these quartiles."""
    speeds = {part: {"p25": low, "median": mid, "p75": high} for part, low, mid, high in rates}
    return {
        "preset": "paper",
        "recipe": "modern",
        "dtype": "bfloat16",
        "device": "cuda",
        "batch": 256,
        "threads": 8,
        "workers": 4,
        "processes": 2,
        "rounds": 5,
        "machine": {"gpu": "a card"},
        "photos_per_second": speeds,
        "times_the_step": {part: {"median": mid / 1000} for part, _, mid, _ in rates},
        "bound": "step",
        "verdict": "the step.",
        "waiting_for_photos": 0.1,
    }


EVEN = [("loader", 1900, 2000, 2100), ("step", 990, 1000, 1010), ("both", 790, 800, 810)]


def test_a_row_has_timms_names():
    loader, step, both = training_rows(found(EVEN), peak_mib=500.0)
    assert both["train_samples_per_sec"] == 800
    assert both["train_step_time"] == 320  # ms: 256 photos at 800 a second
    assert (step["train_step_time"], loader["train_step_time"]) == (256, 128)
    assert (both["model"], both["gpu"], both["train_batch_size"]) == ("paper", "a card", 256)
    assert (both["times_the_step"], both["peak_mib"]) == (0.8, 500.0)


def test_few_or_uneven_rounds_are_told():
    assert why_invalid(training_rows(found(EVEN), peak_mib=None)) == []
    uneven = [*EVEN[:2], ("both", 700, 800, 900)]
    (reason,) = why_invalid(training_rows(found(uneven), peak_mib=None))
    assert reason.startswith(
        "paper, recipe modern, bfloat16, batch 256: both: rounds spread by 25%"
    )
    (reason,) = why_invalid(training_rows(found(EVEN) | {"rounds": 4}, peak_mib=None))
    assert reason.endswith("a comparison needs 5 rounds, not 4: give more --seconds.")


def test_a_command_that_fails_passes_its_own_sentence_on(tmp_path):
    with pytest.raises(ChildError) as caught:
        run_child("json.tool", tmp_path / "gone.json", name="the tool")
    assert str(caught.value).startswith("the tool ended with exit code 2: ")
    assert "gone.json" in str(caught.value)


def test_a_command_that_is_killed_is_a_sentence():
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(ChildError) as caught:
        run_child("timeit", "-n1", "-r1", code, name="the tool")
    assert str(caught.value) == "the tool ended with signal 9: it said nothing."
