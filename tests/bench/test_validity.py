"""VALID or INVALID, and why."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest

from alexnet.machine import cores
from bench.validity import Observer, Surroundings, drift, own_seconds, why_disturbed, why_uneven
from tests.bench.runs import QUICK, run_here

# Ends by itself, should the test be killed.
LOOP = "import time; end = time.time() + 600; any(time.time() > end for _ in iter(int, 1))"


@contextmanager
def busy_machine():
    """A busy process for each core, which is no child of this one."""
    start = f"{sys.executable} -c '{LOOP}' >/dev/null 2>&1 & echo $!; "
    done = subprocess.run(["sh", "-c", start * cores()], stdout=subprocess.PIPE, check=True)
    pids = [int(line) for line in done.stdout.split()]
    try:
        time.sleep(0.2)  # until they loop
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


def test_enough_even_calls_are_valid():
    assert why_uneven(["a"], [[10.0, 10.5] * 10]) == []


def test_too_few_calls_are_not():
    (reason,) = why_uneven(["a", "b"], [[10.0] * 20, [10.0] * 7])
    assert reason.startswith("Too few samples: a comparison needs 20 rounds, not 7")


def test_uneven_calls_are_named():
    # Quartiles 10 and 14 around a median of 12: a third of it.
    (reason,) = why_uneven(["a", "b"], [[10.0] * 20, [10.0, 14.0] * 10])
    assert reason.startswith("Uneven: rounds lie apart by more than 20% of their median")
    assert ": b by 33%: " in reason


def test_a_machine_that_gets_slower_during_the_run_is_named():
    (reason,) = why_uneven(["a", "b"], [[10.0] * 40, [10.0] * 20 + [11.5] * 20])
    assert reason.startswith("Drift: times changed by more than 10% from the first half")
    assert ": b by +15%: " in reason


def test_a_drift_that_chance_explains_is_none():
    for seed in range(5):
        sample = np.random.default_rng(seed).uniform(8, 14, size=40)
        assert abs(drift(sample.tolist())) < 0.1
    assert drift([10.0] * 10 + [20.0] * 10) == 1.0


@pytest.mark.parametrize(
    ("seen", "sentence"),
    [
        (Surroundings(seconds=10, others=0.3), "Other load: other programs took 30%"),
        (Surroundings(seconds=10, stolen=0.05), "Other load: the host gave 5%"),
        (
            Surroundings(seconds=10, clock_mhz=(4000.0, 3000.0)),
            "Throttling: the clock fell from 4000 to 3000 MHz",
        ),
    ],
)
def test_what_else_the_machine_did_is_named(seen, sentence):
    (reason,) = why_disturbed(seen)
    assert reason.startswith(sentence)


def test_a_quiet_machine_and_an_unknown_one_give_no_reason():
    quiet = Surroundings(seconds=10, others=0.04, stolen=0.01, clock_mhz=(3000.0, 4000.0))
    assert why_disturbed(quiet) == []
    assert why_disturbed(Surroundings(seconds=10)) == []


def test_a_tick_of_the_kernels_clock_is_no_other_load():
    assert why_disturbed(Surroundings(seconds=0.05, others=0.4)) == []


def test_work_of_this_process_and_of_its_children_is_its_own():
    before = own_seconds()
    burn = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.3: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    assert own_seconds() - before > 0.45


def test_busy_programs_beside_it_are_seen():
    with busy_machine(), Observer() as observer:
        time.sleep(0.5)
    assert observer.seen.others > 0.5
    (reason, *_) = why_disturbed(observer.seen)
    assert reason.startswith("Other load: other programs took ")


def test_a_measurement_on_a_busy_machine_is_invalid(model_path):
    with busy_machine():
        code, out, error = run_here(
            *("latency", model_path, "--views", "centre", "--count", "20", "--strict"),
            *QUICK,
        )
    assert code == 1
    assert "Other load: other programs took " in error
    result = json.loads(out.splitlines()[-1])
    assert result["verdict"] == "INVALID"
    assert result["surroundings"]["others"] > 0.05
