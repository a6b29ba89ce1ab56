"""What a machine with a GPU runs of the plugins, tried without one."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def run(*command, **environment):
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "scripts")))
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths} | environment,
        capture_output=True,
        text=True,
    )


def interpreted(factor, *types):
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed")
    done = run("tests/export/plugin_interpreted.py", str(factor), *types, TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_launched_as_the_plugin_says_the_kernels_give_the_reference_s_values():
    # For another batch than the engine was tuned for, whose grid differs.
    found = interpreted(1, "fp32", "fp16", "bf16")
    assert len(found) == 2 * 3 * 2  # plugins, types, layouts
    assert {result["status"] for result in found.values()} == {"ok"}, found


def test_wrong_values_fail():
    found = interpreted(1.01, "fp32")
    assert {result["status"] for result in found.values()} == {"failed"}, found


def test_without_a_gpu_nothing_is_run_and_the_result_says_so(tmp_path):
    out = tmp_path / "plugin.json"
    done = run("scripts/gpu_plugin.py", "--out", out, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "not run: there is no GPU here\n"
    assert json.loads(out.read_text()) == {
        "status": "not run",
        "reason": "there is no GPU here",
    }
