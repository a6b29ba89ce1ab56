"""alexnet-export verify --layers: the layer at which two models begin to differ is named."""

import json
import sys

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import numpy_helper

from alexnet.backends import open_backend
from alexnet.checkpoint import save_checkpoint
from alexnet.config import PRESETS
from alexnet.geometry import layers
from export.by_layer import compare_layers, first_different, torch_layers
from export.cli import main
from export.graph import write_onnx
from export.real_photos import real_photos
from tests.models import real_pixels, small, tiny
from train.untrained import untrained


@pytest.fixture(scope="module")
def checkpoint():
    return untrained(tiny(), seed=0, scaled=True)


@pytest.fixture(scope="module")
def folder(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("layers")
    save_checkpoint(checkpoint, folder / "model.safetensors")
    write_onnx(checkpoint, folder / "model.onnx")
    return folder


def verify(*arguments):
    return CliRunner().invoke(
        main, ["verify", "--layers", "--count", "3", *map(str, arguments)],
        prog_name="alexnet-export",
    )  # fmt: skip


def result_of(done):
    return json.loads(done.stdout.splitlines()[-1], parse_constant=pytest.fail)


def node_of(model, name):
    return next(node for node in model.graph.node if node.name == name)


def scale(model, name, factor):
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * factor, name))


def set_alpha(model, name):
    next(a for a in node_of(model, name).attribute if a.name == "alpha").f *= 1.2


def run_otherwise(model, name, operator):
    node_of(model, name).op_type = operator


# Presets, whose layers are told twice


# Ten views of paper's geometry, one of every other's.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "views"),
    [("paper", "ten"), *((name, "centre") for name in PRESETS if name not in ("paper", "mini"))],
)
def test_the_layers_of_a_preset_end_in_its_answer_and_agree_with_its_graph(tmp_path, name, views):
    checkpoint = untrained(small(name), seed=0, scaled=True)
    photos = real_pixels(checkpoint.config, 1)
    classifier = checkpoint.classifier(views)
    found = torch_layers(classifier, photos)
    expected = classifier(torch.from_numpy(photos)).detach().numpy()
    assert np.abs(found["softmax"].mean(axis=0) - expected[0]).max() <= 1e-6
    assert {key: value.shape[1:] for key, value in found.items()} == {
        layer.name: layer.shape for layer in layers(checkpoint.config)
    }
    save_checkpoint(checkpoint, tmp_path / "m.safetensors")
    write_onnx(checkpoint, tmp_path / "m.onnx", views=views)
    pair = [
        open_backend(tmp_path / "m.safetensors", views=views),
        open_backend(tmp_path / "m.onnx"),
    ]
    rows = compare_layers(*pair, [("photo", photos[0])])
    in_graph = {node.name for node in onnx.load(tmp_path / "m.onnx").graph.node}
    assert [row.layer for row in rows] == [
        layer.name for layer in layers(checkpoint.config)
        if layer.kind == "input" or layer.name in in_graph
    ]  # fmt: skip
    assert first_different(rows, tolerance=1e-4) is None
    assert all(row.first_rounding <= 1e-4 * row.largest for row in rows)


# Perturbed graphs


# Each with the graph or the checkpoint named first, in turns.
@pytest.mark.parametrize(
    ("first", "change"),
    [
        ("crop", lambda m: scale(m, "mean", 1.1)),
        ("conv1", lambda m: scale(m, "conv1.weight", 1.01)),
        ("relu2", lambda m: run_otherwise(m, "relu2", "Abs")),
        ("lrn2", lambda m: set_alpha(m, "lrn2")),
        ("conv3", lambda m: scale(m, "conv3.weight", 1.01)),
        ("pool5", lambda m: run_otherwise(m, "pool5", "AveragePool")),
        ("fc6", lambda m: scale(m, "fc6.weight", 1.001)),
        ("dropout7", lambda m: scale(m, "dropout7.keep", 1.1)),
        ("fc8", lambda m: scale(m, "fc8.weight", np.float32("nan"))),
    ],
)
def test_the_first_layer_that_differs_is_named(folder, tmp_path, first, change):
    model = onnx.load(folder / "model.onnx")
    change(model)
    onnx.save(model, tmp_path / "off.onnx")
    pair = [folder / "model.safetensors", tmp_path / "off.onnx"]
    turned = first in ("conv1", "lrn2", "pool5", "dropout7")
    done = verify(*(reversed(pair) if turned else pair))
    assert done.exit_code in (0, 1), done.output
    assert f"Layers: {first} is the first that differs" in done.stdout
    result = result_of(done)
    assert result["first_different_layer"] == first
    before = [row["layer"] for row in result["layers"]].index(first)
    assert all(row["relative"] <= 1e-4 for row in result["layers"][:before])


def test_the_figures_are_worked_out_from_the_values(checkpoint, folder, tmp_path):
    """fc8's weights times 1.5: every logit less its bias is half as large again."""
    model = onnx.load(folder / "model.onnx")
    scale(model, "fc8.weight", 1.5)
    onnx.save(model, tmp_path / "off.onnx")
    a, b = open_backend(folder / "model.safetensors"), open_backend(tmp_path / "off.onnx")
    photos = real_photos(None, checkpoint.config.input, count=3)
    row = next(row for row in compare_layers(a, b, photos) if row.layer == "fc8")
    pixels = np.stack([photo for _, photo in photos])
    logits = torch_layers(checkpoint.classifier("ten").double(), pixels)["fc8"]
    bias = checkpoint.weights["fc8.bias"].double().numpy()
    assert row.largest == pytest.approx(np.abs(logits).max(), rel=1e-5)
    assert row.max_difference == pytest.approx(np.abs(logits - bias).max() / 2, rel=1e-5)
    assert row.relative == row.max_difference / row.largest
    assert row.second_rounding == pytest.approx(row.max_difference, rel=1e-4)
    assert 0 < row.first_rounding < 1e-5 * row.largest


# What is compared


def test_equal_models_have_no_such_layer(folder):
    done = verify(folder / "model.safetensors", folder / "model.onnx")
    assert done.exit_code == 0, done.output
    assert "none differs by more than 0.0001" in done.stdout
    result = result_of(done)
    assert result["first_different_layer"] is None
    assert result["within_tolerance"] is True


def test_two_graphs_are_compared_without_a_reference_for_rounding(folder):
    done = verify(folder / "model.onnx", folder / "model.onnx")
    assert done.exit_code == 0, done.output
    assert "float64" not in done.stdout
    assert {row["max_difference"] for row in result_of(done)["layers"]} == {0}


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_layers_are_those_of_the_runtime_that_answered(checkpoint, tmp_path, monkeypatch, runtime):
    """The other one is not even there."""
    other = {"onnxruntime": "openvino", "openvino": "onnxruntime"}[runtime]
    write_onnx(checkpoint, tmp_path / "m.onnx")
    backend = open_backend(tmp_path / "m.onnx", backend=runtime, threads=1)
    monkeypatch.setitem(sys.modules, other, None)
    rows = compare_layers(
        backend, backend, real_photos(None, checkpoint.config.input, count=1), threads=1
    )
    assert {row.max_difference for row in rows} == {0}
    assert {row.layer for row in rows} == {layer.name for layer in layers(checkpoint.config)}


def test_without_the_option_there_is_no_table_of_layers(folder):
    pair = [str(folder / "model.safetensors"), str(folder / "model.onnx")]
    done = CliRunner().invoke(main, ["verify", "--count", "1", *pair])
    assert "Layers" not in done.stdout
    assert "layers" not in result_of(done)


def test_a_backend_that_shows_no_layers_is_a_sentence(folder):
    a = open_backend(folder / "model.safetensors")
    b = open_backend(folder / "model.onnx")
    b.info = b.info.__class__(**{**b.info.__dict__, "path": folder / "model.engine"})
    with pytest.raises(ValueError, match=r"model\.engine shows no layers"):
        compare_layers(a, b, [])
