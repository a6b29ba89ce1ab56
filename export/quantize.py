"""int8: the layers' weights and inputs rounded to 8 bits, written as Q/DQ nodes.

Symmetric: zero is 0. Weights have a scale for each map or unit; the values that enter a layer have
one for all, from what they are on real photos (export.calibration). All nodes of a layer have the
same, where views share their work. conv1 reads pixels, whose rounding costs most of the accuracy
and saves little work: it is not rounded, as are biases, normalisation, softmax and averaging.
What else depends on the runtime: docs/results.md has the comparisons.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from alexnet.backends.base import Target
from alexnet.backends.metadata import info_of_model
from alexnet.config import Config
from alexnet.geometry import layers
from export.layer_nodes import layer_of
from export.nodes import Nodes
from export.precision import set_metadata

_LEVELS = 127  # int8 without -128: as many below zero as above
_UNSIGNED_LEVELS = 255
# Two weights of one sign, side by side, are this many levels together at most, and their rounding
# adds one: 128 * 255 = 32,640 fits 16 bits with a sign.
_LEVELS_OF_TWO = 127


@dataclass(frozen=True, kw_only=True)
class Int8Form:
    """What a runtime gets of int8."""

    kinds: tuple[str, ...] = ("conv", "full")
    """Layers in int8. ONNX Runtime's convolutions in int8 take three times as long as in float32
    on a CPU, and its full layers less."""
    unsigned: bool = False
    """Whether values behind a ReLU are rounded to 0..255, twice as finely. TensorRT knows -127..127
    alone."""
    sums_of_16_bits: bool = True
    """Whether sums of two products must fit 16 bits: runtimes on CPUs without VNNI hold them in
    so many, OpenVINO always, ONNX Runtime unless its session asks for more."""
    through: frozenset[str] = frozenset({"Split"})
    """Operators between the rounding and the layer, which only move values or take the largest."""


_FORMS: dict[Target, Int8Form] = {
    "portable": Int8Form(),
    "tensorrt": Int8Form(sums_of_16_bits=False),
    "onnxruntime": Int8Form(kinds=("full",)),
    "openvino": Int8Form(
        unsigned=True,
        # Rounded as early as can be, so that pools and copies move bytes: 8 % of paper's time.
        through=frozenset({"Split", "Slice", "Concat", "Flatten", "MaxPool"}),
    ),
}


def quantised_layers(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the layers of a graph of ours that are computed in int8."""
    info = info_of_model(model)
    kinds = _FORMS[info.target].kinds
    return tuple(la.name for la in layers(info.config) if la.kind in kinds and la.name != "conv1")


def int8_layer(node: onnx.NodeProto, chosen: Sequence[str]) -> str | None:
    """The layer among `chosen` whose products a node computes; None: none of them."""
    layer = layer_of(node.name) if node.op_type in ("Conv", "Gemm") else None
    return layer if layer in chosen else None


def quantised(model: onnx.ModelProto, ranges: Mapping[str, float]) -> onnx.ModelProto:
    """A copy of a float32 graph of ours with Q/DQ nodes before its layers.

    Args:
        model: as `export.graph.onnx_model` writes it.
        ranges: of `calibrated`, by the names of the layers.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    info = info_of_model(model)
    writer = _Rounding(
        graph=result.graph,
        ranges={name: ranges[name] for name in quantised_layers(model)},
        form=_FORMS[info.target],
        positive=_never_negative(info.config),
    )
    writer.run()
    set_metadata(result, precision="int8")
    return result


def _never_negative(config: Config) -> frozenset[str]:
    """Layers whose inputs come from a ReLU; normalisation, pooling and dropout keep the sign."""
    found, positive = set(), False
    for layer in layers(config):
        if layer.kind in ("conv", "full"):
            if positive:
                found.add(layer.name)
            positive = False
        positive = positive or layer.kind == "relu"
    return frozenset(found)


@dataclass(kw_only=True)
class _Rounding:
    """What is known while the nodes are gone through, in the order in which they run."""

    graph: onnx.GraphProto
    ranges: Mapping[str, float]
    form: Int8Form
    positive: frozenset[str]
    nodes: Nodes = field(default_factory=Nodes)
    rounded: dict[str, str] = field(default_factory=dict)
    """Values by the names of what they are rounded from."""

    def run(self) -> None:
        """Change the graph."""
        before = list(self.graph.node)
        weights = {tensor.name: tensor for tensor in self.graph.initializer}
        places = self._places(before)
        for number, node in enumerate(before):
            for place in range(len(node.input)):
                if (number, place) in places:
                    node.input[place] = self._round(node.input[place], places[number, place])
            layer = int8_layer(node, tuple(self.ranges))
            if layer is not None and node.input[1] in weights:  # else of a node that came before
                self._round_weights(weights.pop(node.input[1]))
            if layer is not None and node.op_type == "Gemm":
                self._add_product_and_bias(node)
            else:
                self.nodes.nodes.append(node)
        del self.graph.node[:], self.graph.initializer[:]
        self.graph.node.extend(self.nodes.nodes)
        self.graph.initializer.extend([*weights.values(), *self.nodes.constants])

    def _places(self, nodes: Sequence[onnx.NodeProto]) -> dict[tuple[int, int], str]:
        """The inputs that are to be rounded, as numbers of node and input, each with its layer."""
        producers = {name: number for number, node in enumerate(nodes) for name in node.output}

        def sources(number: int, place: int) -> Iterator[tuple[int, int]]:
            producer = producers[nodes[number].input[place]]
            if nodes[producer].op_type not in self.form.through:
                yield number, place
                return
            several = nodes[producer].op_type == "Concat"  # of others, what follows is constants
            for behind in range(len(nodes[producer].input) if several else 1):
                yield from sources(producer, behind)

        found: dict[tuple[int, int], str] = {}
        for number, node in enumerate(nodes):
            layer = int8_layer(node, tuple(self.ranges))
            if layer is not None:
                found |= dict.fromkeys(sources(number, 0), layer)
        return found

    def _round(self, source: str, layer: str) -> str:
        """`source`, which goes to a layer, to 8 bits and back."""
        if source not in self.rounded:
            unsigned = self.form.unsigned and layer in self.positive
            levels, kind = (_UNSIGNED_LEVELS, np.uint8) if unsigned else (_LEVELS, np.int8)
            nodes = self.nodes
            scale = nodes.constant(f"{source}.scale", self.ranges[layer] / levels)
            zero = nodes.constant(f"{source}.zero", np.array(0, dtype=kind))
            level = nodes.add("QuantizeLinear", [source, scale, zero], name=f"{source}_int8")
            self.rounded[source] = nodes.add(
                "DequantizeLinear", [level, scale, zero], name=f"{source}_from_int8"
            )
        return self.rounded[source]

    def _round_weights(self, tensor: onnx.TensorProto) -> None:
        """Weights (maps or units, ...) as int8 constants with a scale each, and back to float32."""
        levels, scales = weight_levels(
            numpy_helper.to_array(tensor), sums_of_16_bits=self.form.sums_of_16_bits
        )
        inputs = [
            self.nodes.constant(f"{tensor.name}.int8", levels),
            self.nodes.constant(f"{tensor.name}.scales", scales),
            self.nodes.constant(f"{tensor.name}.zeros", np.zeros(len(levels), dtype=np.int8)),
        ]
        self.nodes.add("DequantizeLinear", inputs, name=tensor.name, axis=0)

    def _add_product_and_bias(self, gemm: onnx.NodeProto) -> None:
        """In two nodes: ONNX Runtime has no product in int8 that adds a bias of float32."""
        *factors, bias = gemm.input
        product = self.nodes.add("Gemm", factors, name=f"{gemm.name}_product", transB=1)
        self.nodes.add("Add", [product, bias], name=gemm.name)


def weight_levels(
    values: NDArray[np.float32], *, sums_of_16_bits: bool = True
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Weights as levels -127..127 with a step for each map or unit.

    Without VNNI a CPU multiplies the bytes of two inputs side by side by their weights, and adds
    the two products in 16 bits: 255 * 127 twice is 64,770, of which 32,767 is left. With steps so
    large that two neighbours of one sign are 128 levels together at most, the sum fits.

    Args:
        values: (maps or units, inputs, ...) in float32.
        sums_of_16_bits: whether to widen the steps so.

    Returns:
        The levels, and the steps (maps or units,).
    """
    largest = np.abs(values).reshape(len(values), -1).max(axis=1)
    steps = np.where(largest > 0, largest, 1).astype(np.float32) / np.float32(_LEVELS)
    if sums_of_16_bits:
        steps = np.maximum(steps, _largest_of_two(values) / np.float32(_LEVELS_OF_TWO))
    shape = (-1,) + (1,) * (values.ndim - 1)
    levels = np.rint(values / steps.reshape(shape)).clip(-_LEVELS, _LEVELS).astype(np.int8)
    return levels, steps


def _largest_of_two(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """By map or unit, the largest sum of two weights of one sign: inputs 0 and 1, 2 and 3, ..."""
    whole = values.shape[1] // 2 * 2
    first, second = values[:, 0:whole:2], values[:, 1:whole:2]
    sums = [np.maximum(sign * first, 0) + np.maximum(sign * second, 0) for sign in (1, -1)]
    found: NDArray[np.float32] = np.maximum(*sums).reshape(len(values), -1).max(axis=1, initial=0)
    return found
