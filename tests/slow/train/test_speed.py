"""Several processes measure their speed together."""

import json
import subprocess

import pytest

from tests.train.conftest import command
from tests.train.test_speed import THIN, check, speed


def test_worker_processes_take_part(colors):
    found = json.loads(speed(colors, "--batch", 20, "--workers", 2).stdout.splitlines()[-1])
    check(found, batch=20)
    assert found["workers"] == 2
    assert found["steps_per_slice"]["loader"] % 2 == 0


@pytest.mark.parametrize("columns", [1, 2])
def test_several_processes_measure_together_and_the_first_one_speaks(colors, columns):
    options = [*THIN, "--batch=15", "--workers=0", f"--columns={columns}"]
    words = command("speed", "--data", colors, *options, processes=2)
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(lines) == 1
    found = json.loads(lines[0])
    check(found, batch=15, processes=2)
    assert found["columns"] == columns
