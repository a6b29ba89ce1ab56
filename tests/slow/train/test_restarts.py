"""Runs that torchrun starts again."""

import json
import subprocess

import pytest

from tests.train.conftest import PATIENCE, THIN, command, lines, surroundings

RESTARTS = 2


SHORT = (*THIN, "--set=recipe.batch=16")  # three steps an epoch


# So much decay turns weights around and makes them nine times as large in every step: some epochs
# are fine, and then the loss is lost.
DIVERGING = (*SHORT, "--set=recipe.weight_decay=1000", "--set=recipe.lr=0.01", "--epochs=50")


def fit(data, out, *options, restarts=RESTARTS):
    """Exit code and sentences of a run under torchrun, one process and its restarts."""
    words = command("fit", *options, "--data", data, "--out", out, processes=1, restarts=restarts)
    done = subprocess.run(
        words, capture_output=True, text=True, env=surroundings(), timeout=PATIENCE
    )
    said = done.stderr.splitlines()
    return done.returncode, [line for line in said if str(out) in line and "[rank" not in line]


@pytest.fixture(scope="module")
def diverged(colors, tmp_path_factory):
    """A run under torchrun whose loss became infinite; its exit code and what it said."""
    out = tmp_path_factory.mktemp("diverged") / "run"
    return out, *fit(colors, out, *DIVERGING)


def test_a_run_that_diverged_is_not_replayed_by_restarts(diverged):
    out, code, said = diverged
    assert code == 1
    assert len(said) == 1 + RESTARTS, said
    first, *others = said
    assert "The loss became" in first
    where = json.loads((out / "diverged.json").read_text())
    place = f"in epoch {where['epoch']}, step {where['step']}, at a learning rate of 0.01"
    assert place in first
    for line in others:  # at once, without a step
        assert f"{out} is not gone on with by itself: it diverged {place}" in line
    assert where["rate"] == 0.01


def test_resume_forgets_that_a_run_diverged(diverged, colors):
    out, *_ = diverged
    before = len(lines(out / "metrics.jsonl"))
    code, said = fit(colors, out, *DIVERGING, "--resume", f"--max-steps={3 * before}", restarts=0)
    assert code == 0, said
    assert said[0].endswith(f"continuing after epoch {before}.")
    assert not (out / "diverged.json").exists()


def test_a_run_that_was_refused_is_refused_by_restarts_too(colors, tmp_path):
    out = tmp_path / "run"
    assert fit(colors, out, *SHORT, "--epochs=1")[0] == 0
    model = (out / "model.safetensors").stat().st_mtime_ns
    code, said = fit(colors, out, *SHORT, "--epochs=1")
    assert code == 1
    assert len(said) == 1 + RESTARTS, said
    assert all("holds a run already: continue it with --resume" in line for line in said)
    assert (out / "model.safetensors").stat().st_mtime_ns == model
