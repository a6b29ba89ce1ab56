"""Benchmarks of dense answers: the whole photo, beside the square one that ten views are of."""

import json

import numpy as np
import pytest

from alexnet.backends import open_backend
from bench.work import Network
from export.choices import GraphChoices
from export.graph import write_onnx
from tests.bench.runs import run_here
from tests.models import tiny
from tests.photos import encode, pattern
from train.untrained import untrained


def jpeg(width, height):
    return encode(pattern(width, height), "JPEG")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A photo of 3 x 1 and a graph of dense answers."""
    folder = tmp_path_factory.mktemp("dense")
    (folder / "wide.jpg").write_bytes(jpeg(600, 200))
    network, choices = untrained(tiny(), seed=0), GraphChoices(target="onnxruntime")
    write_onnx(network, folder / "dense.onnx", views="dense", choices=choices)
    return folder


@pytest.mark.parametrize(("views", "shape"), [("dense", (64, 192, 3)), ("ten", (64, 64, 3))])
def test_the_network_gets_whole_photos_of_one_shape(model_path, monkeypatch, views, shape):
    backend = open_backend(model_path, views=views)
    given = []
    monkeypatch.setattr(backend, "run", given.append)
    Network([jpeg(600, 200), jpeg(200, 300), jpeg(300, 100)], batch=3).bind(backend)()
    backend.close()
    assert given[0].shape == (3, *shape)
    first, second, third = given[0]
    assert not np.array_equal(first, second)
    assert np.array_equal(first, third) == (views == "dense")


def test_a_pass_takes_photos_of_any_shape_to_dense_answers(folder, model_path):
    (folder / "tall.jpg").write_bytes(jpeg(150, 300))
    code, out, error = run_here(
        *("throughput", model_path, "--views", "ten,dense", "--files", "4", "--batch", "2"),
        *("--count", "2", "--warmup", "0", "--together", "--photos", folder, "--threads", "1"),
    )
    assert code == 0, error
    result = json.loads(out.splitlines()[-1])
    assert [row["views"] for row in result["results"]] == ["ten", "dense"]
    assert all(row["infer_samples_per_sec"] > 0 for row in result["results"])
