"""The scripts that are kept in the project run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.photos import sklearn_photos

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_gpu_checks_run_through_on_a_cpu_at_a_small_size(tmp_path):
    command = ["scripts/gpu_checks.py", "--device=cpu", "--quick", f"--out={tmp_path / 'gpu.json'}"]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    kernels = found["checks"].pop("lrn_kernels")
    assert kernels["status"] == "not run"
    assert "need a GPU" in kernels["reason"]
    assert {check["status"] for check in found["checks"].values()} == {"ok"}
    assert found["machine"]["torch"]


def test_without_a_gpu_the_checks_verify_nothing_and_say_so(tmp_path):
    done = subprocess.run(
        [sys.executable, "scripts/gpu_checks.py", "--out", tmp_path / "gpu.json"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "There is no GPU here: nothing was verified." in done.stderr
    assert not (tmp_path / "gpu.json").exists()


def test_fast_decoding_is_compared_with_full_decoding():
    photos = sklearn_photos()[0].parent
    done = subprocess.run(
        [sys.executable, "scripts/fast_decoding.py", photos, "--megapixels=2"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert (found["photos"], found["megapixels"]) == (2, 2.0)
    assert 0 < found["mean_pixel_difference"] < 8  # smaller pixels are other pixels, and alike
    assert 0 < found["max_probability_difference"] < 0.5
    assert found["top1_changed"] in (0, 0.5, 1)
    assert found["decode_ms"]["full"] > found["decode_ms"]["fast"] > 0
