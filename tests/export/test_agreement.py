"""The script that compares every preset's graphs with PyTorch."""

import json
import subprocess
import sys

import pytest

from tests.photos import ROOT


def agreement(*arguments):
    script = ROOT / "scripts" / "agreement.py"
    command = [sys.executable, script, "--presets=mini", "--runtimes=onnxruntime", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


@pytest.mark.slow
def test_every_form_of_a_graph_is_a_row(tmp_path):
    done = agreement("--count=3", "--batch=2", f"--json={tmp_path / 'a.json'}")
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    assert (tmp_path / "a.json").read_text() == line + "\n"
    rows = json.loads(line)["rows"]
    forms = ["portable", "onnxruntime", "openvino", "openvino, split"]
    assert [row["form"] for row in rows] == forms
    assert {row["photos"] for row in rows} == {3}
    assert all(0 < row["max_difference"] <= 1e-5 for row in rows)
    assert "The views share conv1" in done.stderr


@pytest.mark.slow
def test_more_than_the_tolerance_is_an_exit_code_of_1():
    done = agreement("--count=1", "--tolerance=1e-12")
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["tolerance"] == 1e-12
