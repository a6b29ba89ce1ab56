"""Dense answers are really measured."""

import json

import pytest

from bench import floor as floor_module
from tests.bench.runs import QUICK, run_here
from tests.bench.test_dense import folder


@pytest.fixture(scope="module")
def measured(folder, model_path):
    """The shipped model with all views and a dense graph, in one run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(floor_module, "SECONDS", 0.02)
        code, out, error = run_here(
            *("latency", model_path, folder / "dense.onnx", "--views", "ten,dense", "--floor"),
            *(*QUICK, "--count", "3", "--threads", "1", "--photos", folder / "wide.jpg"),
        )
    assert code == 0, error
    return out, json.loads(out.splitlines()[-1])


def test_dense_answers_are_measured_beside_ten_views(measured):
    rows = {(row["model"], row["backend"], row["views"]) for row in measured[1]["results"]}
    assert {("mini.safetensors", "torch", views) for views in ("ten", "dense")} < rows
    assert ("dense.onnx", "onnxruntime", "dense") in rows


def test_they_are_compared_with_eager_pytorch_on_the_whole_photo(measured):
    (row,) = [row for row in measured[1]["results"] if row["model"] == "dense.onnx"]
    assert row["ratio"]["value"] > 0


def test_they_have_no_number_of_crops_and_no_floor(measured):
    out, result = measured
    for row in result["results"]:
        dense = row["views"] == "dense"
        assert (row["crops_per_photo"] is None) == dense
        assert (row["floor_ms"] is None) == dense
    (line,) = [line for line in out.splitlines() if line.startswith("| dense.onnx on")]
    assert [cell.strip() for cell in line.split("|")][-3:-1] == ["-", "-"]
