"""`alexnet-bench throughput`: passes from bytes to answers."""

import json

import pytest

from tests.bench.runs import QUICK, run_here
from tests.photos import encode, pattern


@pytest.fixture(scope="module")
def measured(model_path, exported):
    code, out, error = run_here(
        *("throughput", exported / "centre.onnx", model_path, "--views", "centre"),
        *("--count", "3", "--files", "5", "--batch", "1,2", *QUICK),
    )
    assert code == 0, error
    return out, json.loads(out.splitlines()[-1])


def test_every_model_makes_every_pass_at_every_batch_size(measured):
    result = measured[1]
    assert (result["benchmark"], result["scenario"]) == ("throughput", "offline")
    assert (result["photos_per_pass"], result["rounds"]) == (5, 3)
    rows = [(r["backend"], r["infer_batch_size"], r["baseline"]) for r in result["results"]]
    assert rows == [
        (backend, batch, backend == "torch")
        for batch in (1, 2)
        for backend in ("onnxruntime", "torch")
    ]


def test_photos_a_second_are_of_the_median_pass(measured):
    for row in measured[1]["results"]:
        expected = 5000 / row["latency_ms"]["p50"]
        assert row["infer_samples_per_sec"] == pytest.approx(expected, rel=1e-4)


def test_models_are_opened_with_a_stream_for_each_core(measured):
    cores = measured[1]["machine"]["cores"]
    assert {row["streams"] for row in measured[1]["results"]} == {cores}


def test_three_passes_are_too_few(measured):
    assert measured[1]["reasons"][0].startswith(
        "Too few samples: a comparison needs 10 passes, not 3: "
    )


def test_every_photo_of_a_folder_is_in_a_pass(tmp_path, model_path):
    for number in range(10):
        (tmp_path / f"{number}.jpg").write_bytes(encode(pattern(seed=number), "JPEG"))
    code, out, error = run_here(
        *("throughput", model_path, "--views", "centre", "--photos", tmp_path, "--files", "10"),
        *("--count", "1", "--warmup", "0", *QUICK),
    )
    assert code == 0, error
    assert len(json.loads(out.splitlines()[-1])["photos"]) == 10
    assert "3.jpg and 6 more" in out


def test_the_scenario_offline_is_this_command():
    code, _, error = run_here("latency", "--scenario", "offline")
    assert code == 2
    assert "the scenario offline is `alexnet-bench throughput`." in error
