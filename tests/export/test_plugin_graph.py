"""The graph that TensorRT gets with `--lrn plugin`: the same function, and nothing else changed.

The plugins' operators are defined here a second time, in numpy and from the paper's formula, for
ONNX's reference evaluator. The graph before runs in ONNX Runtime: the evaluator's own LRN (onnx
1.23) normalises only as many maps as there are images.
"""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnxruntime import InferenceSession

from alexnet.config import LRNConfig
from export.graph import onnx_model
from export.plugin_graph import plugin_graph
from tests.models import tiny
from train.untrained import untrained


def normalised(x, size, coefficient, beta, k, columns):
    """The formula, map by map, in float64."""
    x = x.astype(np.float64)
    result = np.empty_like(x)
    channels = x.shape[1] // columns
    for number in range(x.shape[1]):
        first = number // channels * channels
        low = max(number - size // 2, first)
        high = min(number - size // 2 + size, first + channels)
        base = k + coefficient * np.square(x[:, low:high]).sum(axis=1)
        result[:, number] = x[:, number] / base**beta
    return result


class AlexNetLRN(OpRun):
    op_domain = "alexnet"

    def _run(self, x, **_):
        given = (self.size, self.coefficient, self.beta, self.k, self.columns)
        return (normalised(x, *given).astype(x.dtype),)


class AlexNetReluLRNPool(AlexNetLRN):
    def _run(self, x, **_):
        given = (self.size, self.coefficient, self.beta, self.k, self.columns)
        maps = normalised(np.maximum(x, 0), *given)
        size, stride, spill = self.pool_size, self.pool_stride, self.pool_spill
        rows, cols = ((side + spill - size) // stride + 1 for side in x.shape[2:])
        windows = [
            [
                maps[:, :, stride * row :, stride * col :][:, :, :size, :size].max(axis=(2, 3))
                for col in range(cols)
            ]
            for row in range(rows)
        ]
        return (np.moveaxis(np.array(windows), (0, 1), (2, 3)).astype(x.dtype),)


def run(model, **inputs):
    if not plugin_nodes(model):
        session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, inputs)
    return ReferenceEvaluator(model, new_ops=[AlexNetLRN, AlexNetReluLRNPool]).run(None, inputs)


def plugin_nodes(model):
    return [node for node in model.graph.node if node.domain]


def attributes(node):
    return {given.name: helper.get_attribute_value(given) for given in node.attribute}


# Whole networks


def network(*, steps=("relu", "lrn", "pool"), **lrn):
    """A tiny network whose first two layers have these steps, and LRN with these fields."""
    config = tiny()
    convs = [replace(conv, steps=steps, lrn=LRNConfig(**lrn)) for conv in config.network.convs[:2]]
    rest = config.network.convs[2:]
    return replace(config, network=replace(config.network, convs=(*convs, *rest)))


NETWORKS = {
    "paper": (network(), ["AlexNetReluLRNPool"] * 2, 2),
    "across columns": (network(within_columns=False, k=1.0), ["AlexNetReluLRNPool"] * 2, 1),
    "mean of the window": (network(alpha_of="mean", alpha=0.01), ["AlexNetReluLRNPool"] * 2, 2),
    "LRN first": (network(steps=("lrn", "pool", "relu")), ["AlexNetLRN"] * 2, 2),
    "LRN last": (network(steps=("relu", "pool", "lrn"), size=3), ["AlexNetLRN"] * 2, 2),
    "tanh": (network(steps=("tanh", "lrn", "pool")), ["AlexNetLRN"] * 2, 2),
    "positions": (network(window="positions"), [], None),
}


@pytest.fixture(scope="module", params=NETWORKS)
def pair(request):
    config, operators, columns = NETWORKS[request.param]
    model = onnx_model(untrained(config, seed=0, scaled=True), views="centre", features=True)
    return config, model, plugin_graph(model), operators, columns


def test_the_graph_with_plugins_gives_the_same_answers(pair):
    config, model, graph, _, _ = pair
    side = config.input.size
    photos = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
    expected, found = run(model, photos=photos), run(graph, photos=photos)
    for one, other in zip(expected, found, strict=True):
        # The scaled weights, and so what rounding does, vary with the threads that scale them.
        assert np.abs(other - one).max() <= 3e-5 * np.abs(one).max()
    assert np.ptp(expected[0]) > 0.01


def test_every_lrn_node_becomes_the_plugin_that_its_neighbours_allow(pair):
    _, model, graph, operators, columns = pair
    nodes = plugin_nodes(graph)
    assert [node.op_type for node in nodes] == operators
    assert not any(node.op_type == "LRN" for node in graph.graph.node)
    assert [node.name for node in nodes] == [n.name for n in model.graph.node if n.op_type == "LRN"]
    assert all(attributes(node)["columns"] == columns for node in nodes)
    assert {node.domain for node in nodes} <= {"alexnet"}


def test_everything_but_lrn_and_what_belongs_to_it_stays(pair):
    _, model, graph, _, _ = pair
    onnx.checker.check_model(graph)
    kept = [node for node in graph.graph.node if not node.domain]
    before = list(model.graph.node)
    assert all(node in before for node in kept)
    gone = [node for node in before if node not in kept]
    assert {node.op_type for node in gone} <= {"Relu", "Reshape", "LRN", "MaxPool"}
    # What others read is still made, under its name.
    made = {name for node in graph.graph.node for name in node.output}
    constants = {constant.name: constant for constant in graph.graph.initializer}
    reads = {name for node in graph.graph.node for name in node.input}
    assert reads <= made | set(constants) | {"photos"}
    assert set(constants) <= reads
    originals = {constant.name: constant for constant in model.graph.initializer}
    assert all(originals[name] == constant for name, constant in constants.items())
    for field in ("metadata_props", "producer_name", "ir_version", "doc_string"):
        assert getattr(graph, field) == getattr(model, field)
    for field in ("input", "output", "name"):
        assert getattr(graph.graph, field) == getattr(model.graph, field)
    domains = {"", "alexnet"} if plugin_nodes(graph) else {""}
    assert {one.domain for one in graph.opset_import} == domains


def test_the_graph_that_people_keep_is_not_touched():
    model = onnx_model(untrained(tiny(), seed=0), views="ten")
    before = model.SerializeToString()
    plugin_graph(model)
    assert model.SerializeToString() == before


def test_a_plugin_node_says_all_that_its_kernel_and_tensorrt_s_parser_need():
    model = onnx_model(untrained(network(alpha=0.01, k=1.5, beta=0.5), seed=0), views="centre")
    first = attributes(plugin_nodes(plugin_graph(model))[0])
    assert first.pop("coefficient") == pytest.approx(0.01, rel=1e-6)
    assert first == {
        "size": 5,
        "beta": 0.5,
        "k": 1.5,
        "columns": 2,
        "pool_size": 3,
        "pool_stride": 2,
        "pool_spill": 0,
        "plugin_namespace": b"alexnet",
        "plugin_version": b"1",
        "aot": 1,
    }


# Chains that are nearly the one that is fused


CHAINS = {
    # name: (nodes from x to y, what they become)
    "fused": (
        "a = Relu(x) b = LRN<size=3,alpha=0.9,bias=2.0>(a) "
        "y = MaxPool<kernel_shape=[3,3],strides=[2,2]>(b)",
        ["AlexNetReluLRNPool"],
    ),
    "fused, with a row and a column behind the last": (
        "a = Relu(x) b = LRN<size=3,alpha=0.9,bias=2.0>(a) "
        "y = MaxPool<kernel_shape=[2,2],strides=[2,2],pads=[0,0,1,1]>(b)",
        ["AlexNetReluLRNPool"],
    ),
    "padded in front": (
        "a = Relu(x) b = LRN<size=3,alpha=0.9>(a) "
        "y = MaxPool<kernel_shape=[3,3],strides=[2,2],pads=[1,1,1,1]>(b)",
        ["Relu", "AlexNetLRN", "MaxPool"],
    ),
    "oblong windows": (
        "a = Relu(x) b = LRN<size=3>(a) y = MaxPool<kernel_shape=[3,2],strides=[2,2]>(b)",
        ["Relu", "AlexNetLRN", "MaxPool"],
    ),
    "rounded up": (
        "a = Relu(x) b = LRN<size=3>(a) "
        "y = MaxPool<kernel_shape=[2,2],strides=[2,2],ceil_mode=1>(b)",
        ["Relu", "AlexNetLRN", "MaxPool"],
    ),
    "ReLU read twice": (
        "a = Relu(x) b = LRN<size=3>(a) c = Sub(b, a) "
        "y = MaxPool<kernel_shape=[3,3],strides=[2,2]>(c)",
        ["Relu", "AlexNetLRN", "Sub", "MaxPool"],
    ),
    "LRN read twice": (
        "a = Relu(x) b = LRN<size=3>(a) c = MaxPool<kernel_shape=[1,1]>(b) y = Sub(c, b)",
        ["Relu", "AlexNetLRN", "MaxPool", "Sub"],
    ),
    "columns": (
        "a = Reshape(x, part) b = LRN<size=3,alpha=0.9>(a) y = Reshape(b, join)",
        ["AlexNetLRN"],
    ),
    "reshaped to other images": (
        "a = Reshape(x, mix) b = LRN<size=3,alpha=0.9>(a) y = Reshape(b, join)",
        ["Reshape", "AlexNetLRN", "Reshape"],
    ),
    "an even window": ("y = LRN<size=4>(x)", ["LRN"]),
}
SHAPES = "int64[4] part = {-1,3,9,9}, int64[4] join = {-1,6,9,9}, int64[4] mix = {-1,3,3,27}"


@pytest.mark.parametrize("name", CHAINS)
def test_only_what_the_kernel_computes_is_fused(name):
    nodes, expected = CHAINS[name]
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        f"chain (float[N,6,9,9] x) => (float[N,C,H,W] y) <{SHAPES}> {{{nodes}}}"
    )
    graph = plugin_graph(model)
    assert [node.op_type for node in graph.graph.node] == expected
    if expected == ["LRN"]:  # and no runtime here knows even windows
        return
    x = np.random.default_rng(1).standard_normal((2, 6, 9, 9)).astype(np.float32)
    np.testing.assert_allclose(run(graph, x=x)[0], run(model, x=x)[0], rtol=1e-5, atol=1e-6)


def test_a_value_that_is_an_output_is_kept():
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        "chain (float[N,6,9,9] x) => (float[N,6,9,9] b, float[N,6,4,4] y) {"
        "a = Relu(x) b = LRN<size=3>(a) y = MaxPool<kernel_shape=[3,3],strides=[2,2]>(b)}"
    )
    kept = plugin_graph(model)
    assert [node.op_type for node in kept.graph.node] == ["Relu", "AlexNetLRN", "MaxPool"]
