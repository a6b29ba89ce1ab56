"""Local response normalisation as ONNX nodes: what alexnet.lrn.reference does."""

from __future__ import annotations

import numpy as np

from alexnet.config import LRNConfig
from alexnet.errors import AlexNetError
from export.nodes import Nodes


def add_lrn(
    nodes: Nodes,
    source: str,
    lrn: LRNConfig,
    *,
    name: str,
    layer: str,
    shape: tuple[int, ...],
    columns: int,
) -> str:
    """Nodes that normalise `source` (N, C, H, W).

    Args:
        nodes: where to write.
        source: the value to normalise.
        lrn: window and constants.
        name: of the node that normalises; those around it add to this name.
        layer: whose constants these are, where several nodes stand for one layer.
        shape: (C, H, W); (C, 0, 0) where photos are of any shape.
        columns: into how many parts the network's maps are split.

    Raises:
        AlexNetError: a window of an even number of maps, which ONNX centres another way.
    """
    if lrn.window == "positions":
        base = base_over_positions(nodes, source, lrn, name=name, layer=layer, channels=shape[0])
        beta = nodes.constant(f"{layer}.beta", lrn.beta)
        power = nodes.add("Pow", [base, beta], name=f"{name}_power")
        return nodes.add("Div", [source, power], name=name)
    return _over_maps(
        nodes, source, lrn, name=name, shape=shape, columns=columns if lrn.within_columns else 1
    )


def _over_maps(
    nodes: Nodes, source: str, lrn: LRNConfig, *, name: str, shape: tuple[int, ...], columns: int
) -> str:
    """ONNX's own operator; no window crosses a column's border, as columns become photos."""
    if lrn.size % 2 == 0:
        raise AlexNetError(
            f"{name} has a window of {lrn.size} maps; the LRN operator of ONNX centres even "
            "windows one map later than this network does: take an odd size, or --lrn fast."
        )
    channels, height, width = shape
    if columns > 1:
        parted = [-1, channels // columns, height, width]
        source = nodes.reshape(source, name=f"{name}_columns", shape=parted)
    value = nodes.add(
        "LRN",
        [source],
        name=name,
        size=lrn.size,
        # ONNX divides alpha by the window's size.
        alpha=lrn.coefficient * lrn.size,
        beta=lrn.beta,
        bias=lrn.k,
    )
    if columns > 1:
        value = nodes.reshape(value, name=f"{name}_joined", shape=[-1, *shape])
    return value


def base_over_positions(
    nodes: Nodes, source: str, lrn: LRNConfig, *, name: str, layer: str, channels: int
) -> str:
    """k + c * the sum of squares in a window of positions of one map (net #145).

    ONNX has no operator for it. The sum over a window, times c, plus k, is a convolution of each
    map by itself whose weights all are c, and whose bias is k.
    """
    before = lrn.size // 2
    after = lrn.size - 1 - before
    kernel = np.full((channels, 1, lrn.size, lrn.size), lrn.coefficient, dtype=np.float32)
    squares = nodes.add("Mul", [source, source], name=f"{name}_squares")
    return nodes.add(
        "Conv",
        [
            squares,
            nodes.constant(f"{layer}.coefficient", kernel),
            nodes.constant(f"{layer}.k", np.full(channels, lrn.k, dtype=np.float32)),
        ],
        name=f"{name}_base",
        kernel_shape=[lrn.size, lrn.size],
        pads=[before, before, after, after],
        group=channels,
    )
