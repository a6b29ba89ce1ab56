"""Local response normalisation as ONNX Runtime computes it fast, and as exactly.

ONNX Runtime has a plain loop for the LRN operator. The same sum of squares is a convolution with
1x1 kernels, whose weights are the coefficient on a band around the diagonal and whose bias is k;
the power of it is square roots. Where a column has many maps the band is a small part of the
weights, and an average over the axis of the maps does less. No step rounds more than the operator
does, and any window will do, an even one as well.
"""

from __future__ import annotations

import numpy as np

from alexnet.config import LRNConfig
from export.lrn import base_over_positions
from export.nodes import Nodes

# Maps of a column from which on the average is faster than the band.
_WIDE = 256


def add_fast_lrn(
    nodes: Nodes,
    source: str,
    lrn: LRNConfig,
    *,
    name: str,
    layer: str,
    shape: tuple[int, ...],
    columns: int,
) -> str:
    """Nodes that normalise `source` (N, C, H, W); the arguments are those of export.lrn.add_lrn."""
    maps = shape[0]
    columns = columns if lrn.within_columns else 1
    if lrn.window == "positions":
        base = base_over_positions(nodes, source, lrn, name=name, layer=layer, channels=maps)
    elif maps // columns < _WIDE or shape[1:] == (0, 0):  # the average needs to know the sides
        base = _band(nodes, source, lrn, name=name, layer=layer, maps=maps, columns=columns)
    else:
        base = _average(nodes, source, lrn, name=name, layer=layer, shape=shape, columns=columns)
    power = _power(nodes, base, lrn.beta, name=name, layer=layer)
    return nodes.add("Div", [source, power], name=name)


def _band(
    nodes: Nodes, source: str, lrn: LRNConfig, *, name: str, layer: str, maps: int, columns: int
) -> str:
    """k + c * the sum over the window, as a convolution of the squares."""
    of_column = maps // columns
    before = lrn.size // 2
    # Map i sees i - before .. i - before + size - 1, as alexnet.lrn.reference does.
    distance = np.arange(of_column)[None, :] - np.arange(of_column)[:, None]
    seen = (distance >= -before) & (distance < lrn.size - before)
    kernel = np.where(seen, np.float32(lrn.coefficient), np.float32(0))
    inputs = [
        nodes.add("Mul", [source, source], name=f"{name}_squares"),
        nodes.constant(f"{layer}.band", np.tile(kernel, (columns, 1))[:, :, None, None]),
        nodes.constant(f"{layer}.k", np.full(maps, lrn.k, dtype=np.float32)),
    ]
    return nodes.add("Conv", inputs, name=f"{name}_base", kernel_shape=[1, 1], group=columns)


def _average(
    nodes: Nodes,
    source: str,
    lrn: LRNConfig,
    *,
    name: str,
    layer: str,
    shape: tuple[int, ...],
    columns: int,
) -> str:
    """The same as an average over the maps, times c and the window's size, plus k."""
    maps, height, width = shape
    before = lrn.size // 2
    squares = nodes.add("Mul", [source, source], name=f"{name}_squares")
    upright = [-1, 1, maps // columns, height * width]
    value = nodes.reshape(squares, name=f"{name}_upright", shape=upright)
    value = nodes.add(
        "AveragePool",
        [value],
        name=f"{name}_average",
        kernel_shape=[lrn.size, 1],
        pads=[before, 0, lrn.size - 1 - before, 0],
        count_include_pad=1,
    )
    value = nodes.reshape(value, name=f"{name}_again", shape=[-1, *shape])
    scale = nodes.constant(f"{layer}.coefficient", float(lrn.coefficient * lrn.size))
    value = nodes.add("Mul", [value, scale], name=f"{name}_scaled")
    return nodes.add("Add", [value, nodes.constant(f"{layer}.k", lrn.k)], name=f"{name}_base")


def _power(nodes: Nodes, base: str, beta: float, *, name: str, layer: str) -> str:
    """`base` ** beta; by square roots where they give it."""
    if beta not in (0.25, 0.5, 0.75, 1.0):
        exponent = nodes.constant(f"{layer}.beta", beta)
        return nodes.add("Pow", [base, exponent], name=f"{name}_power")
    if beta == 1.0:
        return base
    root = nodes.add("Sqrt", [base], name=f"{name}_root")
    if beta == 0.5:
        return root
    fourth = nodes.add("Sqrt", [root], name=f"{name}_fourth_root")
    if beta == 0.25:
        return fourth
    return nodes.add("Mul", [root, fourth], name=f"{name}_power")
