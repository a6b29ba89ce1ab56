"""Graphs of networks with tanh in place of ReLU: every form of them answers as PyTorch does."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from alexnet.backends import open_backend
from alexnet.checkpoint import save_checkpoint
from alexnet.geometry import layers
from export.by_layer import compare_layers, first_different
from export.choices import GraphChoices
from export.graph import onnx_model, write_onnx
from export.precision import half_precision
from export.quantize import quantised, quantised_layers
from tests.models import real_pixels, tiny, with_tanh
from train.untrained import untrained

FORMS = {
    "portable": GraphChoices(),
    "shared views": GraphChoices(views="shared"),
    "fast and split": GraphChoices(
        target="onnxruntime", views="shared", lrn="fast", columns="split"
    ),
    "openvino": GraphChoices(target="openvino", views="shared"),
}


@pytest.fixture(scope="module")
def checkpoint():
    return untrained(with_tanh(tiny()), seed=0, scaled=True)


@pytest.fixture(scope="module")
def trained(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("tanh") / "model.safetensors"
    save_checkpoint(checkpoint, path)
    return open_backend(path)


@pytest.fixture(scope="module")
def photos(checkpoint):
    return real_pixels(checkpoint.config, 4)


@pytest.mark.parametrize("form", FORMS)
def test_a_graph_answers_as_pytorch_does(checkpoint, trained, photos, form, tmp_path):
    runtime = "openvino" if form == "openvino" else "onnxruntime"
    pytest.importorskip(runtime, reason=f"{runtime} is not installed")
    model = write_onnx(checkpoint, tmp_path / "m.onnx", choices=FORMS[form], features=True)
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("Tanh") >= 7
    assert "Relu" not in operators
    found = open_backend(tmp_path / "m.onnx", backend=runtime).run_features(photos)
    expected = trained.run_features(photos)
    for ours, theirs in zip(found, expected, strict=True):
        assert np.abs(ours - theirs).max() < 1e-5
    assert np.ptp(expected[0], axis=0).max() > 0.01
    assert expected[1].min() < 0  # features are tanh's


def test_every_layer_of_the_graph_is_pytorch_s(checkpoint, trained, photos, tmp_path):
    write_onnx(checkpoint, tmp_path / "m.onnx")
    pairs = [("first", photos[0]), ("second", photos[1])]
    graph = open_backend(tmp_path / "m.onnx", backend="onnxruntime")
    rows = compare_layers(trained, graph, pairs)
    assert first_different(rows, tolerance=1e-5) is None
    assert {"tanh1", "fc7_tanh"} <= {row.layer for row in rows}


def test_in_half_precision_tanh_takes_halves(checkpoint):
    half = half_precision(onnx_model(checkpoint), "fp16")
    made = {node.output[0]: node.op_type for node in half.graph.node}
    sources = [made[node.input[0]] for node in half.graph.node if node.op_type == "Tanh"]
    assert len(sources) == 7
    assert "Cast" not in sources


def test_int8_keeps_the_sign_of_what_comes_from_a_tanh(checkpoint):
    model = onnx_model(checkpoint, choices=FORMS["openvino"])
    result = quantised(model, dict.fromkeys(quantised_layers(model), 1.0))
    onnx.checker.check_model(result)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.graph.initializer}
    zeros = [node.input[2] for node in result.graph.node if node.op_type == "QuantizeLinear"]
    assert len(zeros) >= len(quantised_layers(model))
    assert {constants[zero].dtype.name for zero in zeros} == {"int8"}


def test_a_bench_peer_of_plain_layers_answers_alike(checkpoint):
    import torch

    from bench.peer_networks import plain_network

    peer = plain_network(checkpoint.config)
    peer.load_state_dict(checkpoint.weights)
    side = checkpoint.config.input.crop
    crops = 70 * torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert (peer(crops) - checkpoint.network().eval()(crops)).abs().max() < 1e-4
    assert [name for name, _ in peer.named_children() if "tanh" in name] == [
        layer.name for layer in layers(checkpoint.config) if layer.kind == "tanh"
    ]
