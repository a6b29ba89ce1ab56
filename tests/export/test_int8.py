"""int8 for each runtime: which layers, with which scales, and what the runtimes make of it."""

import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from alexnet.backends import open_backend
from alexnet.backends.onnx_runtime import session_options
from alexnet.backends.openvino_cache import VARIABLE
from alexnet.config import mini
from alexnet.errors import AlexNetError, MissingPackageError
from export import nncf_int8
from export.calibration import best_method, calibrated
from export.choices import GraphChoices, choices_for
from export.graph import onnx_model
from export.layer_nodes import layer_of
from export.precision import set_metadata
from export.quantize import quantised, quantised_layers
from tests.models import real_pixels
from train.untrained import untrained

CONVS, FULL = ["conv2", "conv3", "conv4", "conv5"], ["fc6", "fc7", "fc8"]


@pytest.fixture(scope="module")
def checkpoint():
    return untrained(mini(), seed=0, scaled=True)


@pytest.fixture(scope="module")
def photos(checkpoint):
    return real_pixels(checkpoint.config, 8)


@pytest.fixture(scope="module")
def ranges(checkpoint, photos):
    return calibrated(onnx_model(checkpoint, views="centre"), list(photos))


@pytest.fixture(scope="module")
def entering(checkpoint, photos):
    """What enters each layer, by PyTorch: the centre view of each photo."""
    classifier = checkpoint.classifier("centre")
    found = {}

    def seen(name):
        return lambda _, inputs: found.update({name: inputs[0]})

    for name in CONVS + FULL:
        classifier.network.get_submodule(name).register_forward_pre_hook(seen(name))
    with torch.inference_mode():
        classifier(torch.from_numpy(photos))
    return found


def rounding(model):
    """The Q nodes before each layer's products, by the layers' names."""
    made = {name: node for node in model.graph.node for name in node.output}

    def behind(value):
        node = made.get(value)
        if node is None or node.op_type == "DequantizeLinear":
            return [made[node.input[0]]] if node is not None else []
        moving = node.op_type in ("Split", "Slice", "Concat", "MaxPool", "Flatten")
        sources = node.input if node.op_type == "Concat" else node.input[:1]
        return [found for name in sources for found in behind(name)] if moving else []

    found = {}
    for node in model.graph.node:
        name = layer_of(node.name.removesuffix("_product"))
        if node.op_type in ("Conv", "Gemm") and name is not None and not name.startswith("lrn"):
            found.setdefault(name, []).extend(behind(node.input[0]))
    return found


def opened(model, path, **options):
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return open_backend(path, threads=1, **options)


# What is rounded


@pytest.mark.parametrize("target", ["portable", "tensorrt", "onnxruntime", "openvino"])
def test_each_runtime_gets_the_layers_that_it_gains_by(checkpoint, ranges, target):
    graph = onnx_model(checkpoint, choices=choices_for(target, checkpoint.config, precision="int8"))
    found = {name for name, nodes in rounding(quantised(graph, ranges)).items() if nodes}
    assert found == set(FULL if target == "onnxruntime" else CONVS + FULL)


@pytest.mark.parametrize("columns", ["grouped", "split"])
@pytest.mark.parametrize("views", ["plain", "shared"])
def test_all_nodes_of_a_layer_have_the_same_scale(checkpoint, ranges, views, columns):
    choices = GraphChoices(target="openvino", views=views, columns=columns)
    model = quantised(onnx_model(checkpoint, choices=choices), ranges)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = rounding(model)
    assert len({node.name for node in found["conv2"]}) > (views == "shared")
    for name in CONVS + FULL:
        scales = {float(constants[node.input[1]]) for node in found[name]}
        assert scales == {float(np.float32(ranges[name] / 255))}, name
        assert {constants[node.input[2]].dtype for node in found[name]} == {np.dtype(np.uint8)}


def test_neither_normalisation_nor_softmax_nor_the_average_reads_rounded_values(checkpoint, ranges):
    choices = choices_for("openvino", checkpoint.config, precision="int8", lrn="standard")
    model = quantised(onnx_model(checkpoint, choices=choices, features=True), ranges)
    rounded = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    exact = [node for node in model.graph.node if node.op_type in ("LRN", "Softmax", "ReduceMean")]
    assert len(exact) > 4
    assert not any(set(node.input) & rounded for node in exact)


def test_values_that_may_be_negative_keep_their_sign(checkpoint, ranges):
    """A layer behind one without ReLU: here conv3, whose inputs come from conv2 as they are."""
    network = checkpoint.config.network
    first, second, *others = network.convs
    second = replace(second, steps=("lrn", "pool"))
    network = replace(network, convs=(first, second, *others))
    config = replace(checkpoint.config, network=network)
    model = onnx_model(
        untrained(config, seed=0, scaled=True), choices=choices_for("openvino", config)
    )
    result = quantised(model, ranges)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.graph.initializer}
    kinds = {
        name: {constants[node.input[2]].dtype.name for node in nodes}
        for name, nodes in rounding(result).items()
    }
    assert kinds["conv3"] == {"int8"}
    assert kinds["conv4"] == kinds["fc8"] == {"uint8"}


# What comes out


class OnGrids:
    """The centre view in float64, with inputs and weights of layers rounded to their levels.

    Of a weight with its row: the largest is level 127, or, where that is more, two neighbours of
    one sign are together.
    """

    def __init__(self, checkpoint, ranges, *, unsigned):
        self.classifier = checkpoint.classifier("centre").double()
        self.bounds = (0, 255) if unsigned else (-128, 127)
        self.steps = {name: largest / self.bounds[1] for name, largest in ranges.items()}
        network, convolve = self.classifier.network, self.classifier.network.convolve
        network.convolve = lambda name, conv, maps: convolve(name, conv, self.rounded(name, maps))
        for name in ranges:
            module = network.get_submodule(name)
            rows = module.weight.detach().numpy()
            steps = self.weight_steps(rows)[(...,) + (None,) * (rows.ndim - 1)]
            module.weight.data = torch.from_numpy(steps * np.rint(rows / steps))
            if name in FULL:
                module.register_forward_pre_hook(
                    lambda _, inputs, name=name: (self.rounded(name, inputs[0]),)
                )

    def rounded(self, name, values):
        step = self.steps.get(name)
        return values if step is None else (values / step).round().clip(*self.bounds) * step

    @staticmethod
    def weight_steps(rows):
        largest = np.abs(rows).reshape(len(rows), -1).max(axis=1)
        for sign in (1, -1):
            ours = np.where(sign * rows > 0, sign * rows, 0)
            together = np.add.reduceat(ours, range(0, rows.shape[1], 2), axis=1)
            largest = np.maximum(largest, together.reshape(len(rows), -1).max(axis=1))
        return largest / 127

    def __call__(self, photos):
        with torch.inference_mode():
            return self.classifier(torch.from_numpy(photos)).numpy()


TARGETS = ["onnxruntime", "portable", "openvino"]


@pytest.fixture(scope="module")
def int8_graphs(checkpoint, ranges, tmp_path_factory):
    """A graph in int8 for each runtime, as NAME.onnx."""
    folder = tmp_path_factory.mktemp("int8")
    for target in TARGETS:
        choices = choices_for(target, checkpoint.config, precision="int8")
        model = quantised(onnx_model(checkpoint, views="centre", choices=choices), ranges)
        set_metadata(model, target="portable")  # else conv1 is in bf16 in OpenVINO
        (folder / f"{target}.onnx").write_bytes(model.SerializeToString())
    return folder


@pytest.fixture(scope="module")
def on_grids(checkpoint, ranges, photos):
    """The same graphs' answers, worked out on the grids."""
    ranges_of = dict.fromkeys(TARGETS, ranges)
    ranges_of["onnxruntime"] = {name: ranges[name] for name in FULL}
    return {
        name: OnGrids(checkpoint, of, unsigned=name == "openvino")(photos)
        for name, of in ranges_of.items()
    }


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_layers_in_int8_are_products_of_rounded_numbers(
    int8_graphs, on_grids, photos, monkeypatch, target, backend
):
    monkeypatch.setenv(VARIABLE, "off")
    found = open_backend(int8_graphs / f"{target}.onnx", backend=backend, threads=1).run(photos)
    # A value on the edge between two levels may fall to either side: a step of it, at most; and of
    # the convolutions' hundred thousands of values some do, which moves others to other levels.
    largest, usual = (2e-3, 1e-5) if target == "onnxruntime" else (2e-2, 5e-5)
    np.testing.assert_allclose(found, on_grids[target], atol=largest)
    assert np.median(np.abs(found - on_grids[target])) < usual


def test_openvino_computes_the_same_on_a_cpu_without_vnni(
    int8_graphs, photos, tmp_path, monkeypatch
):
    """oneDNN can leave out the instructions that sum bytes' products in 32 bits."""
    monkeypatch.setenv(VARIABLE, "off")
    np.save(tmp_path / "photos.npy", photos)
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from alexnet.backends.openvino import OpenVinoBackend\n"
        "graphs, folder = map(Path, sys.argv[1:3])\n"
        "for name in sys.argv[3:]:\n"
        "    backend = OpenVinoBackend(graphs / f'{name}.onnx', threads=1)\n"
        "    np.save(folder / f'{name}.npy', backend.run(np.load(folder / 'photos.npy')))"
    )
    command = [sys.executable, "-c", code, int8_graphs, tmp_path, *TARGETS]
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    subprocess.run(command, env=environment, check=True, timeout=300)
    for name in TARGETS:
        here = open_backend(int8_graphs / f"{name}.onnx", backend="openvino", threads=1)
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), here.run(photos), atol=1e-5)


@pytest.mark.parametrize(
    ("features", "precise"),
    [({"avx2"}, True), ({"avx2", "avx512f"}, True), ({"avx2", "avx_vnni"}, False), (None, True)],
)
def test_onnx_runtime_is_asked_for_whole_sums_where_there_is_no_vnni(
    monkeypatch, features, precise, photos, int8_graphs, on_grids
):
    """By ONNX Runtime's own option, with the same answers here whether it is set or not."""
    monkeypatch.setattr("alexnet.machine.cpu_features", lambda: features)
    options = session_options(onnxruntime)
    with nullcontext() if precise else pytest.raises(RuntimeError, match="not have configuration"):
        assert options.get_session_config_entry("session.x64quantprecision") == "1"
    path = int8_graphs / "onnxruntime.onnx"
    found = open_backend(path, backend="onnxruntime", threads=1).run(photos)
    np.testing.assert_allclose(found, on_grids["onnxruntime"], atol=2e-3)


def test_openvino_computes_every_layer_but_the_first_in_int8(
    checkpoint, photos, ranges, tmp_path, monkeypatch
):
    openvino = pytest.importorskip("openvino", reason="needs the extra openvino")
    monkeypatch.setenv(VARIABLE, "off")
    choices = choices_for("openvino", checkpoint.config, precision="int8", lrn="standard")
    exact = opened(onnx_model(checkpoint, choices=choices), tmp_path / "a.onnx")
    model = quantised(onnx_model(checkpoint, choices=choices), ranges)
    rounded = opened(model, tmp_path / "b.onnx")
    p, q = exact.run(photos), rounded.run(photos)
    assert rounded.name == "openvino"
    assert rounded.info.precision == "int8"
    np.testing.assert_allclose(q.sum(axis=1), 1, atol=1e-2)
    assert 1e-6 < np.abs(p - q).max() < 0.1

    compiled = openvino.Core().compile_model(tmp_path / "b.onnx", "CPU")
    kinds = {}
    for node in compiled.get_runtime_model().get_ops():
        facts = {name: value.astype(str) for name, value in node.get_rt_info().items()}
        if facts.get("layerType") in ("Convolution", "FullyConnected", "MatMul"):
            first = facts["originalLayersNames"].replace("/", ",").split(",")[0]
            layer = layer_of(first.removesuffix("_product"))
            kinds.setdefault(layer, set()).add(facts["runtimePrecision"])
    assert set(kinds) == {"conv1", *CONVS, *FULL}
    assert kinds.pop("conv1") <= {"f32", "bf16"}
    assert all(found <= {"u8", "i8"} for found in kinds.values()), kinds


# NNCF


def test_nncf_gives_the_mean_of_the_batches_largest_values(
    checkpoint, photos, entering, monkeypatch, capfd
):
    """Two batches of four photos, against PyTorch's values."""
    pytest.importorskip("nncf", reason="needs the extra int8")
    monkeypatch.setattr(nncf_int8, "_BATCH", 4)
    graph = onnx_model(checkpoint, views="centre")
    found = calibrated(graph, list(photos), method="nncf")
    assert list(found) == list(quantised_layers(graph)) == CONVS + FULL
    for name, values in entering.items():
        largest = [float(values[:4].max()), float(values[4:].max())]
        assert found[name] == pytest.approx(np.mean(largest), rel=1e-3), name
    assert capfd.readouterr() == ("", "")
    assert best_method("openvino") == "nncf"
    assert best_method("portable") == best_method("onnxruntime") == "percentile"


def test_a_network_that_gives_nncf_no_scale_is_a_sentence(checkpoint, photos):
    pytest.importorskip("nncf", reason="needs the extra int8")
    model = onnx_model(checkpoint, views="centre")
    for tensor in model.graph.initializer:
        if tensor.name in ("fc6.weight", "fc6.bias"):
            dead = -np.ones(tuple(tensor.dims), np.float32)
            tensor.CopyFrom(numpy_helper.from_array(dead, tensor.name))
    with pytest.raises(AlexNetError, match=r"What enters fc7 reaches .* take other photos"):
        calibrated(model, list(photos[:2]), method="nncf")


def test_without_nncf_the_extra_is_named(checkpoint, photos, monkeypatch):
    pytest.importorskip("openvino", reason="needs the extra openvino")
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingPackageError, match=r"nncf.*\.\[int8\]"):
        calibrated(onnx_model(checkpoint, views="centre"), list(photos[:2]), method="nncf")
