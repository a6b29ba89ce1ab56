"""A portable graph's LRN nodes as nodes of the project's TensorRT plugins.

The file that people keep has ONNX's own LRN operator. What is handed to TensorRT with
`--lrn plugin` is a copy in which `alexnet::AlexNetLRN` stands for an LRN node together with the two
reshapes that part columns, and `alexnet::AlexNetReluLRNPool` for ReLU, LRN and max-pooling in a
row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx
from onnx import helper, numpy_helper

# TensorRT's parser takes a name that it knows for the built-in operator, whatever the domain:
# these names are nobody else's.
DOMAIN, LRN, RELU_LRN_POOL = "alexnet", "AlexNetLRN", "AlexNetReluLRNPool"


def plugin_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` whose LRN nodes are plugin nodes, for TensorRT alone.

    All other nodes, constants, names and the metadata stay. A window of positions (net #145), which
    the graph spells out in standard operators, is no LRN node and stays as well.

    Args:
        model: the deployed function as export.graph writes it, or one with half-precision weights.

    Returns:
        The copy. A plugin node has the LRN node's name, the name of the last output that it stands
        for, and the attributes that the plugins take (see export.lrn_plugin).
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = _Graph(copy.graph)
    chains = [_chain(graph, node) for node in copy.graph.node if _is_ours(node)]
    for chain in chains:
        _replace(copy.graph, chain)
    if chains:
        copy.opset_import.append(helper.make_opsetid(DOMAIN, 1))
        _drop_unused(copy.graph, before=model.graph)
    return copy


@dataclass(frozen=True, kw_only=True)
class _Chain:
    """Nodes in a row, and the plugin node that stands for them."""

    nodes: list[onnx.NodeProto]
    plugin: onnx.NodeProto


class _Graph:
    """Who makes a value and who reads it, while nothing has been replaced yet."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.constants = {constant.name: constant for constant in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._outputs = {value.name for value in graph.output}

    def before(self, node: onnx.NodeProto, operator: str) -> onnx.NodeProto | None:
        """The `operator` that makes the node's first input for this node alone."""
        maker = self._makers.get(node.input[0])
        return maker if maker is not None and self._only(maker, operator, reader=node) else None

    def after(self, node: onnx.NodeProto, operator: str) -> onnx.NodeProto | None:
        """The `operator` that alone reads the node's output."""
        readers = self._readers.get(node.output[0], [])
        if len(readers) != 1 or node.output[0] in self._outputs:
            return None
        return readers[0] if _is_standard(readers[0], operator) else None

    def shape_of(self, reshape: onnx.NodeProto) -> list[int] | None:
        """The constant shape that a Reshape gives, or None where it is computed."""
        constant = self.constants.get(reshape.input[1])
        return None if constant is None else [int(n) for n in numpy_helper.to_array(constant)]

    def _only(self, maker: onnx.NodeProto, operator: str, *, reader: onnx.NodeProto) -> bool:
        following = self.after(maker, reader.op_type)
        return _is_standard(maker, operator) and following is not None and following == reader


def _chain(graph: _Graph, lrn: onnx.NodeProto) -> _Chain:
    """What the plugin node stands for: the LRN node, and what around it belongs to it."""
    nodes, columns = _with_columns(graph, lrn)
    given = _attributes(lrn)
    size = int(given["size"])
    attributes: dict[str, Any] = {
        "size": size,
        # ONNX divides alpha by the window's size; the plugins take what squares are multiplied by.
        "coefficient": given.get("alpha", 1e-4) / size,
        "beta": given.get("beta", 0.75),
        "k": given.get("bias", 1.0),
        "columns": columns,
    }
    operator = LRN
    relu, pool = graph.before(nodes[0], "Relu"), graph.after(nodes[-1], "MaxPool")
    window = None if pool is None else _pool_window(pool)
    if relu is not None and pool is not None and window is not None:
        operator, nodes = RELU_LRN_POOL, [relu, *nodes, pool]
        attributes |= window
    plugin = helper.make_node(
        operator,
        [nodes[0].input[0]],
        [nodes[-1].output[0]],
        name=lrn.name,
        domain=DOMAIN,
        # How TensorRT's parser finds the plugin, and that it must be the compiled one.
        plugin_namespace=DOMAIN,
        plugin_version="1",
        aot=1,
        **attributes,
    )
    return _Chain(nodes=nodes, plugin=plugin)


def _with_columns(graph: _Graph, lrn: onnx.NodeProto) -> tuple[list[onnx.NodeProto], int]:
    """The LRN node with the reshapes that part and join columns around it, and how many columns."""
    part, join = graph.before(lrn, "Reshape"), graph.after(lrn, "Reshape")
    if part is not None and join is not None:
        parted, joined = graph.shape_of(part), graph.shape_of(join)
        if parted and joined and len(parted) == len(joined) == 4:
            columns, rest = divmod(joined[1], parted[1])
            if rest == 0 and parted[0] == joined[0] == -1 and parted[2:] == joined[2:]:
                return [part, lrn, join], columns
    return [lrn], 1


def _pool_window(pool: onnx.NodeProto) -> dict[str, int] | None:
    """A square max-pooling that is padded behind only, as attributes; None for any other."""
    given = _attributes(pool)
    sizes, strides = given.pop("kernel_shape"), given.pop("strides", [1, 1])
    pads = given.pop("pads", [0, 0, 0, 0])
    # Anything else, such as dilations, must have its default's value, which writers leave out.
    square = sizes[0] == sizes[1] and strides[0] == strides[1] and pads[2] == pads[3]
    if given or not square or pads[:2] != [0, 0] or len(pool.output) > 1:
        return None
    return {"pool_size": sizes[0], "pool_stride": strides[0], "pool_spill": pads[2]}


def _replace(graph: onnx.GraphProto, chain: _Chain) -> None:
    """Put the plugin node where the chain's last node was, and take the chain out."""
    index = list(graph.node).index(chain.nodes[-1])
    graph.node.insert(index, chain.plugin)
    for node in chain.nodes:
        graph.node.remove(node)


def _drop_unused(graph: onnx.GraphProto, *, before: onnx.GraphProto) -> None:
    """Take out constants and types of values that only the replaced nodes had used."""
    gone = _values(before) - _values(graph)
    for values in (graph.initializer, graph.value_info):
        for value in [value for value in values if value.name in gone]:
            values.remove(value)


def _values(graph: onnx.GraphProto) -> set[str]:
    return {name for node in graph.node for name in (*node.input, *node.output)}


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {given.name: helper.get_attribute_value(given) for given in node.attribute}


def _is_ours(node: onnx.NodeProto) -> bool:
    """Whether a node is an LRN whose windows lie as the network's do: ONNX's even ones don't."""
    return _is_standard(node, "LRN") and _attributes(node)["size"] % 2 == 1


def _is_standard(node: onnx.NodeProto, operator: str) -> bool:
    return node.op_type == operator and node.domain in ("", "ai.onnx")
