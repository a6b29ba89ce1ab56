"""Whatever our programs start (processes, services, a cluster) runs our code in any folder."""

import json

import pytest

from tests.decoys import decoy_folder, run_in
from tests.photos import encode, pattern

SMALL = ("--set=input.size=32", "--set=input.crop=28")


@pytest.fixture
def folder(tmp_path):
    folder = decoy_folder(tmp_path / "folder")
    (folder / "photos").mkdir()
    (folder / "photos" / "a.jpg").write_bytes(encode(pattern(80, 60), "JPEG"))
    return folder


def last_json(done):
    return json.loads(done.stdout.splitlines()[-1])


def test_models_in_processes_of_their_own(folder):
    done = run_in(folder, "alexnet-bench", "latency", "--count", "2", "--pause", "0")
    assert last_json(done)["isolated"]


def test_whole_labelling_runs(folder):
    done = run_in(
        folder, "alexnet-bench", "label", "--count", "2", "--rounds", "1", "--photos", "photos"
    )
    assert last_json(done)["results"][0]["rounds"] == 1


def test_our_service(folder, model_path):
    load = ("--rate", "5", "--duration", "1", "--warmup", "1")
    done = run_in(folder, "alexnet-bench", "serve", "--serve", model_path, *load)
    assert last_json(done)["results"][0]["answers"]["ok"] == 5


def test_the_plain_services_beside_ours(folder):
    run_in(folder, "alexnet-export", "onnx", "-o", "model.onnx")
    turns = ("--rounds", "1", "--duration", "0.2", "--timeout", "60")
    done = run_in(folder, "alexnet-bench", "serve", "--serve", "model.onnx", "--peers", *turns)
    result = last_json(done)
    assert [row["name"] for row in result["results"]][:2] == ["backend alone", "our service"]
    assert len(result["results"]) + len(result["skipped"]) == 5


def test_training_with_worker_processes(folder):
    run_in(folder, "alexnet-train", "prepare", "digits", "data", "--size", "32", "--workers", "2")
    fit = ("--preset", "mini", "--data", "data", "--out", "run", "--epochs", "1", *SMALL)
    run_in(folder, "alexnet-train", "fit", *fit, "--workers", "2", timeout=600)
    speed = ("--preset", "mini", "--data", "data", "--seconds", "1", *SMALL)
    done = run_in(folder, "alexnet-bench", "train", *speed, timeout=600)
    assert len(last_json(done)["results"]) == 3


def test_labelling_on_a_cluster(folder):
    pytest.importorskip("ray")
    run_in(folder, "alexnet-label", "photos", "-o", "labels.csv", "--ray", timeout=600)
    assert "photos/a.jpg,ok," in (folder / "labels.csv").read_text()
