"""Services of others are really measured."""

import json
import os
import subprocess
import sys

import psutil
import pytest

from bench.peer_http import PLAIN

ENV = {**os.environ, "OMP_NUM_THREADS": "1", "SERVICE_PEERS_TEST": str(os.getpid())}


@pytest.fixture(scope="module")
def measured(tmp_path_factory, exported):
    """Two short rounds of everything that is installed, with one view of the small model."""
    file = tmp_path_factory.mktemp("service-peers") / "result.json"
    options = ["--serve", exported / "centre.onnx", "--peers", "--rounds", "2"]
    options += ["--duration", "0.2", "--concurrency", "3", "--timeout", "60", "--json", file]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "serve", *map(os.fspath, options)],
        capture_output=True,
        text=True,
        env=ENV,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(file.read_text()), done


def test_everything_is_measured_or_left_out_with_a_sentence(measured):
    result, _ = measured
    names = [row["name"] for row in result["results"]]
    left_out = [one["name"] for one in result["skipped"]]
    assert names[:2] == ["backend alone", "our service"]
    assert names[2:] == [f"{name} service" for name in PLAIN if name not in left_out]
    assert "BentoML, adaptive batching service" in names
    assert all("pip install" in one["why"] for one in result["skipped"])


def test_services_with_the_same_file_give_the_same_answers(measured):
    result, _ = measured
    alone, *services = result["results"]
    assert alone["max_difference"] is None
    assert all(row["max_difference"] <= 1e-5 for row in services)


def test_numbers_are_of_the_turns_without_the_warm_up(measured):
    result, _ = measured
    ours = result["results"][1]
    for row in result["results"]:
        times = row["samples_ms"]
        assert len(times) == result["rounds"] == 2
        # Of two turns the median is the mean.
        assert row["infer_samples_per_sec"] == pytest.approx(2000 / sum(times), rel=1e-3)
        assert row["ours_is"]["value"] == pytest.approx(
            sum(times) / sum(ours["samples_ms"]), rel=1e-3
        )
        assert row["answered"] >= 2
        assert row["processor_ms_per_photo"] > 0
    assert ours["ours_is"]["value"] == 1
    assert [row["baseline"] for row in result["results"]].count(True) == 1
    assert result["results"][0]["ratio"]["value"] == 1


def test_the_output_ends_with_the_result_and_no_process_stays_behind(measured):
    result, done = measured
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["benchmark"], last["clients"]) == ("serve-peers", 3)
    assert "ours is" in done.stdout
    assert result["verdict"] == "INVALID"  # two rounds are too few to rely on
    assert not [process for process in psutil.process_iter() if _belongs(process)]


def _belongs(process):
    """Whether the command of these tests started it."""
    try:
        return process.environ().get("SERVICE_PEERS_TEST") == str(os.getpid())
    except psutil.Error:
        return False
