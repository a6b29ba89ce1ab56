"""Runs that are killed or stopped in the middle end in the files that a run left alone ends in."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.train.conftest import LIVELY, PATIENCE, THIN, command, lines, surroundings

# 24 steps an epoch, 72 in all: long enough to be hit in the middle.
LONG = (
    "fit",
    *THIN,
    *LIVELY,
    "--set=recipe.batch=2",
    "--set=recipe.lr=0.001",
    "--epochs=3",
    "--log-every=1",
    "--checkpoint-every=2",
    "--out=run",  # the model notes the command: runs to be compared are in folders of their own
)
CLOCK = ("seconds", "photos_per_second", "waiting_for_photos", "exchanges", "exchange_share")


class Started:
    """A command under way in a folder of its own."""

    def __init__(self, folder, data, *options, processes=None, restarts=0):
        folder.mkdir(exist_ok=True)
        # The user's own, of the name of our package: it is not run in our place.
        (folder / "train.py").write_text("raise SystemExit('a train.py of the user was run')")
        self.out = folder / "run"
        self.process = subprocess.Popen(
            command(*LONG, "--data", data, *options, processes=processes, restarts=restarts),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=surroundings(),
        )

    def wait_for_step(self, number):
        """Wait until so many steps are written, and no longer."""
        steps, end = self.out / "steps.jsonl", time.monotonic() + PATIENCE
        while not steps.exists() or steps.read_bytes().count(b"\n") < number:
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < end, f"step {number} never came"
            time.sleep(0.002)

    def rank(self, number):
        """The process of a rank under torchrun."""
        parent = self.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        wanted = f"RANK={number}".encode()
        found = [
            c for c in children if wanted in Path(f"/proc/{c}/environ").read_bytes().split(b"\0")
        ]
        assert len(found) == 1
        return int(found[0])

    def end(self):
        """Exit code, stdout and stderr."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err

    def stopped_at(self, out):
        """The step after which SIGTERM ended the run, by its lines, its checkpoint and `out`."""
        done = len(lines(self.out / "steps.jsonl"))
        epochs, last = divmod(done - 1, 24)
        newest = max((self.out / "checkpoints").iterdir())
        names = [f"epoch-{epochs:04}-step-{last + 1:06}.safetensors"]
        if last == 23:  # it may have come while the whole epoch was validated
            names.append(f"epoch-{epochs + 1:04}-step-000000.safetensors")
        assert newest.name in names
        assert json.loads(out) == {
            "stopped": "SIGTERM",
            "checkpoint": f"run/checkpoints/{newest.name}",
        }
        return done

    def assert_in_the_middle(self):
        assert not (self.out / "model.safetensors").exists(), "too late to mean anything"


def whole(folder, data, *options, processes=None):
    """A run, or the rest of one, that nobody disturbs; what it said."""
    code, _, said = Started(folder, data, *options, processes=processes).end()
    assert code == 0, said
    return said


def assert_same(first, second):
    """The same model byte for byte, and the same lines but for what a clock tells."""
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    assert lines(first / "steps.jsonl") == lines(second / "steps.jsonl")
    ours, theirs = (
        [{k: v for k, v in line.items() if k not in CLOCK} for line in lines(out / "metrics.jsonl")]
        for out in (first, second)
    )
    assert [line["epoch"] for line in ours] == [1, 2, 3]
    assert ours == theirs


def dice(name):
    """Random numbers that differ from test to test and not from day to day."""
    return random.Random(f"2012 {name}")


# One process


@pytest.fixture(scope="module")
def alone(colors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    whole(folder, colors)
    return folder / "run"


def test_a_process_killed_between_checkpoints_goes_on_to_the_same_weights(alone, colors, tmp_path):
    step = 2 * dice("one").randrange(3, 26) + 1
    print(f"kill -9 after step {step}")
    started = Started(tmp_path, colors)
    started.wait_for_step(step)
    started.process.kill()
    assert started.end()[0] == -signal.SIGKILL
    started.assert_in_the_middle()
    assert "continuing after epoch" in whole(tmp_path, colors, "--resume")
    assert_same(alone, tmp_path / "run")


def test_sigterm_writes_a_checkpoint_and_ends_a_run_that_goes_on_to_the_same_weights(
    alone, colors, tmp_path
):
    step = 24 + dice("term").randrange(3, 14)
    print(f"SIGTERM after step {step}")
    started = Started(tmp_path, colors)
    started.wait_for_step(step)
    for _ in range(2):  # torchrun hands it on to processes that a scheduler has signalled already
        started.process.send_signal(signal.SIGTERM)
        time.sleep(0.005)
    code, out, said = started.end()
    assert code == 0, said
    assert "Traceback" not in said
    started.assert_in_the_middle()
    done = started.stopped_at(out)
    assert step <= done < 48
    said = whole(tmp_path, colors, "--resume")
    assert f"continuing after epoch 1 and {done - 24} steps." in said
    assert_same(alone, started.out)


# Processes that decode photos


def decoders(started):
    """The worker processes of a run."""
    parent = started.process.pid
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(c) for c in found if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]


def test_a_killed_decoder_ends_the_run_with_a_sentence(colors, tmp_path):
    started = Started(tmp_path, colors, "--workers=2")
    started.wait_for_step(2)
    first, _ = decoders(started)
    os.kill(first, signal.SIGKILL)
    code, out, said = started.end()
    assert (code, out) == (1, "")
    assert said.splitlines()[-1] == (
        "alexnet-train: A process that decodes photos was ended by SIGKILL from outside, often "
        "because memory ran out: go on with --resume and fewer --workers, or with --workers 0."
    )
    assert "Traceback" not in said


def test_sigterm_is_heard_while_a_run_waits_for_decoders_that_hang(colors, tmp_path):
    started = Started(tmp_path, colors, "--workers=2")
    started.wait_for_step(2)
    hanging = decoders(started)
    for decoder in hanging:
        os.kill(decoder, signal.SIGSTOP)
    time.sleep(2)  # what was decoded before is used up
    started.process.send_signal(signal.SIGTERM)
    code, out, said = started.end()
    assert code == 0, said
    started.stopped_at(out)
    assert not any(Path(f"/proc/{decoder}").exists() for decoder in hanging)


# Several processes


def test_a_killed_column_is_started_again_by_torchrun_and_ends_in_the_same_model(colors, tmp_path):
    whole(tmp_path / "alone", colors, "--columns=2", processes=2)
    random = dice("columns")
    step, rank = random.randrange(6, 50), random.randrange(2)
    print(f"kill -9 of rank {rank} after step {step}")
    started = Started(tmp_path / "killed", colors, "--columns=2", processes=2, restarts=3)
    started.wait_for_step(step)
    os.kill(started.rank(rank), signal.SIGKILL)
    started.assert_in_the_middle()
    code, out, said = started.end()
    assert code == 0, said
    assert said.count("continuing after epoch") == 1
    assert json.loads(out)["epoch"] == 3
    assert_same(tmp_path / "alone" / "run", started.out)


def test_sigterm_to_torchrun_ends_its_processes_with_a_checkpoint(colors, tmp_path):
    whole(tmp_path / "alone", colors, processes=2)
    step = dice("torchrun").randrange(6, 50)
    print(f"SIGTERM to torchrun after step {step}")
    started = Started(tmp_path / "stopped", colors, processes=2)
    started.wait_for_step(step)
    started.process.send_signal(signal.SIGTERM)
    out = started.end()[1]
    started.assert_in_the_middle()
    assert step <= started.stopped_at(out) < 72
    whole(tmp_path / "stopped", colors, "--resume", processes=2)
    assert_same(tmp_path / "alone" / "run", started.out)
