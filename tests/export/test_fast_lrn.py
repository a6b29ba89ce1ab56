"""Response normalisation for ONNX Runtime: as exact as the formula, for every window."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from alexnet.config import LRNConfig
from alexnet.lrn.reference import local_response_norm
from export.fast_lrn import add_fast_lrn
from export.nodes import Nodes


def nodes_of(lrn, maps, *, sides=(4, 5), columns=1):
    nodes = Nodes()
    shape = (maps, *sides)
    add_fast_lrn(nodes, "x", lrn, name="lrn1_top", layer="lrn1", shape=shape, columns=columns)
    return nodes


def run(nodes, values):
    graph = helper.make_graph(
        nodes.nodes,
        "lrn",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, *values.shape[1:]])],
        [helper.make_tensor_value_info("lrn1_top", TensorProto.FLOAT, None)],
        initializer=nodes.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"x": values})[0]


def agree(lrn, maps, *, columns=1):
    values = 60 * np.random.default_rng(maps).standard_normal((2, maps, 4, 5), dtype=np.float32)
    exact = local_response_norm(torch.from_numpy(values).double(), lrn, columns=columns).numpy()
    found = run(nodes_of(lrn, maps, columns=columns), values)
    # A few roundings of float32, each of 6e-8, of each value by itself.
    assert (np.abs(found - exact) <= 6e-7 * np.abs(exact)).all()


EIGHT = np.arange(100, 900, 100, dtype=np.float32).reshape(1, 8, 1, 1)
# One position, maps of 100 to 800, n=5, beta=0.75; ../shared/design/fidelity.md, F.2.
BY_HAND = [
    (LRNConfig(), 1, [12.5, 14.865088938, 14.461558974, 13.465395716]),
    (LRNConfig(), 2, [12.5, 14.865088938, 22.297633406, 30.446594345]),
    (LRNConfig(alpha_of="mean"), 2, [30.836783521, 42.044820763, 63.067231144, 85.701621565]),
    (LRNConfig(alpha_of="mean", k=1.0), 1, [36.741958520, 46.473616049, 46.530242955]),
]


@pytest.mark.parametrize(("lrn", "columns", "expected"), BY_HAND)
def test_the_first_maps_by_hand(lrn, columns, expected):
    found = run(nodes_of(lrn, 8, sides=(1, 1), columns=columns), EIGHT)
    assert found.ravel()[: len(expected)] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("maps", [8, 256])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8])
def test_windows_of_maps_odd_and_even(size, maps):
    agree(LRNConfig(size=size, alpha=1e-3), maps)


@pytest.mark.parametrize("maps", [8, 512])
@pytest.mark.parametrize("size", [4, 5])
def test_no_window_crosses_a_column(size, maps):
    agree(LRNConfig(size=size, alpha=1e-3), maps, columns=2)
    agree(LRNConfig(size=size, alpha=1e-3, within_columns=False), maps, columns=2)


@pytest.mark.parametrize("maps", [8, 256])
@pytest.mark.parametrize("beta", [0.0, 0.25, 0.5, 0.6, 0.75, 1.0, 1.3])
def test_any_exponent(beta, maps):
    agree(LRNConfig(beta=beta, alpha=2e-4, alpha_of="mean", k=1.5), maps)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_windows_of_positions(size):
    agree(LRNConfig(window="positions", size=size, k=1.0), 6, columns=2)


def test_a_coefficient_of_zero_divides_by_k_alone():
    agree(LRNConfig(alpha=0.0, k=3.0), 256)


@pytest.mark.parametrize("maps", [96, 256])
@pytest.mark.parametrize("beta", [0.25, 0.5, 0.75, 1.0])
def test_roots_stand_for_powers_where_they_can(beta, maps):
    operators = {node.op_type for node in nodes_of(LRNConfig(beta=beta), maps).nodes}
    assert not operators & {"Pow", "LRN"}


def test_wide_columns_are_averaged_and_narrow_ones_are_a_band():
    def operators(maps, columns):
        nodes = nodes_of(LRNConfig(), maps, columns=columns).nodes
        return {node.op_type for node in nodes}

    assert "Conv" in operators(96, 2)
    assert "Conv" in operators(256, 2)
    assert "AveragePool" in operators(256, 1)


def test_parts_of_a_layer_share_its_constants():
    nodes = nodes_of(LRNConfig(), 96)
    shape = (96, 1, 5)
    add_fast_lrn(nodes, "y", LRNConfig(), name="lrn1", layer="lrn1", shape=shape, columns=1)
    assert sorted(tensor.name for tensor in nodes.constants) == ["lrn1.band", "lrn1.k"]
