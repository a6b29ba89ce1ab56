"""A layer of the network as ONNX nodes, on whole views or on a part of their maps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alexnet.config import Config, ConvConfig, LRNConfig
from alexnet.geometry import Layer
from export.choices import GraphChoices
from export.fast_lrn import add_fast_lrn
from export.lrn import add_lrn
from export.nodes import HEIGHT, WIDTH, Nodes
from export.sharing import Reach

_LAYER_NODE = re.compile(
    r"(?P<layer>(?:conv|relu|tanh|lrn|same_map_lrn|pool|dropout|fc)\d+|fc\d+_(?:relu|tanh)|softmax)"
    r"(?:_(?:top|bottom|left|right|of_mean))?(?:_column\d+)?"
)


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What is written, while it is written."""

    config: Config
    weights: Mapping[str, NDArray[np.float32]]
    nodes: Nodes
    choices: GraphChoices

    def weight(self, name: str) -> str:
        """The constant that holds the weights `name` of the checkpoint."""
        return self.nodes.constant(name, self.weights[name])


@dataclass(frozen=True, kw_only=True)
class Part:
    """A rectangle of the maps that a layer gives, and what it reads for it."""

    suffix: str
    """Behind the layer's name in those of its nodes: "" or "_top", "_bottom", "_left", "_right"."""
    rows: Reach
    columns: Reach
    lying: bool = False
    """Whether the maps are transposed: what are rows in the photo are columns there."""


def layer_of(node: str) -> str | None:
    """The layer that a node computes, by the node's name; None where it only helps to.

    One layer may have several nodes: `conv2` on the whole photo, `conv2_top` and its like at the
    views' edges (export.shared_views), `conv2_left_column1` in one of two columns there, and
    `conv1_of_mean`. Of convolutions in two columns, `conv2` is what puts them together, and no
    convolution itself.
    """
    found = _LAYER_NODE.fullmatch(node)
    return None if found is None else found["layer"]


def add_layer(
    graph: Graph, layer: Layer, source: str, *, side: int | None, part: Part | None = None
) -> str:
    """One layer of the network.

    Args:
        graph: where to write.
        layer: which one.
        source: what it reads.
        side: of the maps that it reads of a view; None: of any shape (dense answers).
        part: the part of its maps that is wanted; None: all of a view's.
    """
    nodes, name = graph.nodes, layer.name + (part.suffix if part else "")
    match layer.kind:
        case "conv":
            return _add_conv(graph, layer, source, name=name, part=part)
        case "relu":
            return nodes.add("Relu", [source], name=name)
        case "tanh":
            return nodes.add("Tanh", [source], name=name)
        case "pool":
            return _add_pool(graph, layer, source, name=name, side=side, part=part)
        case "lrn":
            return _add_lrn(graph, layer, source, name=name, side=side, part=part)
        case "full":
            inputs = [source, graph.weight(f"{name}.weight"), graph.weight(f"{name}.bias")]
            return nodes.add("Gemm", inputs, name=name, transB=1)
        case "dropout":
            dropout = graph.config.network.dropout
            if dropout.scaled == "in_training":
                return source
            return nodes.add(
                "Mul", [source, nodes.constant(f"{name}.keep", 1.0 - dropout.rate)], name=name
            )
        case "softmax":
            return nodes.add("Softmax", [source], name=name, axis=1)
        case "input":
            raise AssertionError("the crop is where the network begins")


def conv_of(config: Config, layer: Layer) -> ConvConfig:
    """The convolution that a layer is, or is a step of."""
    assert layer.conv is not None, layer.name
    return config.network.convs[layer.conv]


def pads_of(conv: ConvConfig, part: Part | None) -> list[int]:
    """Padding of a convolution: top, left, bottom, right."""
    if part is not None:
        return [part.rows.before, part.columns.before, part.rows.after, part.columns.after]
    before, after = conv.pad
    return [before, before, after, after]


def _add_conv(graph: Graph, layer: Layer, source: str, *, name: str, part: Part | None) -> str:
    conv = conv_of(graph.config, layer)
    attributes = {
        "kernel_shape": [conv.kernel, conv.kernel],
        "strides": [conv.stride, conv.stride],
        "pads": pads_of(conv, part),
    }
    weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
    constants = {weight: graph.weights[weight], bias: graph.weights[bias]}
    if part is not None and part.lying:
        lying = graph.weights[weight].transpose(0, 1, WIDTH, HEIGHT)
        constants = {f"{weight}.lying": lying, bias: graph.weights[bias]}
    return add_columns(graph, source, constants, name=name, split=layer.groups, **attributes)


def add_columns(
    graph: Graph,
    source: str,
    constants: Mapping[str, NDArray[np.float32]],
    *,
    name: str,
    split: int,
    **attributes: list[int],
) -> str:
    """A convolution by weights and perhaps biases, whose `split` columns are as the choice is."""
    nodes = graph.nodes
    if split == 1 or graph.choices.columns == "grouped":
        inputs = [source, *(nodes.constant(of, values) for of, values in constants.items())]
        return nodes.add("Conv", inputs, name=name, **attributes, group=split)
    columns = [f"{name}_column{number}" for number in range(1, split + 1)]
    sources = nodes.split(
        source, name=f"{name}_columns", outputs=[f"{column}_in" for column in columns], axis=1
    )
    for number, (column, read) in enumerate(zip(columns, sources, strict=True), 1):
        parts = [
            nodes.constant(f"{of}.column{number}", np.split(values, split)[number - 1])
            for of, values in constants.items()
        ]
        nodes.add("Conv", [read, *parts], name=column, **attributes)
    return nodes.add("Concat", columns, name=name, axis=1)


def _add_pool(
    graph: Graph, layer: Layer, source: str, *, name: str, side: int | None, part: Part | None
) -> str:
    pool = conv_of(graph.config, layer).pool
    assert pool is not None
    # Padding behind the last window, where sizes are rounded up: runtimes differ in `ceil_mode`,
    # and agree that padding never is the maximum.
    if side is not None:
        spill = max(0, (layer.shape[1] - 1) * pool.stride + pool.size - side)
    else:
        # floor((n + s - 1 - k) / s) is ceil((n - k) / s), for maps of any side n. With strides s
        # over the size k a window could begin past the edge; k - 1 lets none do so.
        spill = min(pool.stride, pool.size) - 1 if pool.ceil else 0
    down, across = (part.rows.after, part.columns.after) if part else (spill, spill)
    return graph.nodes.add(
        "MaxPool",
        [source],
        name=name,
        kernel_shape=[pool.size, pool.size],
        strides=[pool.stride, pool.stride],
        pads=[0, 0, down, across],
    )


def _add_lrn(
    graph: Graph, layer: Layer, source: str, *, name: str, side: int | None, part: Part | None
) -> str:
    assert layer.step is not None
    lrn = conv_of(graph.config, layer).lrn_of(layer.step)
    # ONNX's Reshape keeps a side where it reads 0.
    shape = layer.shape if side is not None else (layer.shape[0], 0, 0)
    if part is not None:
        sides = (reach.stop - reach.start for reach in (part.rows, part.columns))
        shape = (layer.shape[0], *sides)
    add = add_fast_lrn if graph.choices.lrn == "fast" else add_lrn
    value = add(
        graph.nodes,
        source,
        lrn,
        name=name,
        layer=layer.name,
        shape=shape,
        columns=graph.config.network.columns,
    )
    return value if part is None else _without_rest(graph, value, name=name, part=part, lrn=lrn)


def _without_rest(graph: Graph, value: str, *, name: str, part: Part, lrn: LRNConfig) -> str:
    """The part of a normalised value whose windows were all there, if that isn't all of it."""
    if lrn.window == "maps":
        return value
    reaches = (part.rows, part.columns)
    starts = [lrn.size // 2 - reach.before for reach in reaches]
    stops = [start + reach.outputs for start, reach in zip(starts, reaches, strict=True)]
    if all(reach.stop - reach.start == reach.outputs for reach in reaches):
        return value
    return graph.nodes.slice(
        value, name=f"{name}_inside", starts=starts, ends=stops, axes=[HEIGHT, WIDTH]
    )
