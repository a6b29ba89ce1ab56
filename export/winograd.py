"""3x3 convolutions with fewer multiplications, in standard operators: Winograd's F(2x2, 3x3).

Of a row of maps a kernel g of three gives two neighbouring outputs by four multiplications in place
of six. With the even values e, the odd values o, and zeros around them,

    m0 = (o[t-1] - o[t]) g0                      even output t: m0 + m1 + m2
    m1 = (e[t] + o[t]) (g0 + g1 + g2) / 2        odd output t:  m1 - m2 + m3
    m2 = (o[t] - e[t]) (g0 - g1 + g2) / 2
    m3 = (e[t] - e[t+1]) (-g2)

Down and across together that is 16 in place of 36 for a tile of 2x2 outputs. Here each of the 16
is a convolution with 1x1 kernels, of all tiles: what runtimes compute at full speed. What they
multiply are sums of maps, each of which has even or odd rows and columns alone. So these, once
apart, stay apart from one convolution to the next, through ReLU, to the pooling.
docs/shared-views.md says what that brings, and how it rounds.

Of an odd side there is one even row more than there are odd ones. The last tiles give an odd row
all the same, which lies outside of the maps, where the next convolution must find zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alexnet.config import Config
from alexnet.geometry import Layer
from export.layer_nodes import Graph, add_columns, conv_of
from export.nodes import HEIGHT, WIDTH

if TYPE_CHECKING:
    import onnx

_PHASES = ("even", "odd")
_KERNELS = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, -2]]) / 2
"""What each multiplication takes of a kernel along an axis."""

# What each multiplication takes of maps whose even and odd values are not apart: every second one
# of a convolution with these coefficients and so many zeros before and after the maps.
_COEFFICIENTS = ([1, 0, -1], [1, 1], [-1, 1], [1, 0, -1])
_ZEROS = ((1, 1), (0, 1), (0, 1), (0, 2))

_Apart = dict[tuple[str, str], str]
"""The values of even and odd rows and of even and odd columns: ("even", "odd") are those of even
rows and odd columns. Each has as many rows and columns as there are tiles."""
_Tiles = dict[tuple[int, int], str]
"""What belongs to the multiplication (down, across)."""


def chain_of(config: Config, following: Sequence[Layer]) -> tuple[Layer, ...]:
    """The first layers of `following` that can be computed by tiles; none if the first can't.

    That are 3x3 convolutions whose outputs lie where their inputs do, nonlinearities behind them,
    and at the end a pooling by windows of three, every two.
    """
    chain: list[Layer] = []
    for layer in following:
        if layer.kind == "conv":
            conv = conv_of(config, layer)
            if (conv.kernel, conv.stride, conv.pad) != (3, 1, (1, 1)):
                break
        elif not chain or layer.kind not in ("relu", "tanh", "pool"):
            break
        elif layer.kind == "pool":
            pool = conv_of(config, layer).pool
            assert pool is not None
            if (pool.size, pool.stride) == (3, 2):
                chain.append(layer)
            break
        chain.append(layer)
    return tuple(chain)


def is_by_tiles(model: onnx.ModelProto) -> bool:
    """Whether `add_chain` has written a part of the graph."""
    return any(node.name.endswith("_product_11") for node in model.graph.node)


def add_chain(graph: Graph, chain: Sequence[Layer], source: str, *, side: int) -> str:
    """Nodes for the layers of a chain, of which the last gives its name to the last node.

    Args:
        graph: where to write.
        chain: what `chain_of` found.
        source: the maps (N, C, side, side) that it reads.
        side: of these and of all maps before a pooling.
    """
    first, *rest = chain
    tiled = _Tiled(graph=graph, side=side)
    apart = tiled.products(first, tiled.sums_of_maps(first, source))
    for layer in rest:
        match layer.kind:
            case "conv":
                apart = tiled.products(layer, tiled.sums(layer, apart))
            case "relu" | "tanh":
                for phases, value in apart.items():
                    name = "_".join((layer.name, *phases))
                    apart[phases] = graph.nodes.add(layer.kind.capitalize(), [value], name=name)
            case "pool":
                return tiled.pooled(layer, apart)
            case _:
                raise AssertionError(f"{layer.name} is in no chain")
    return tiled.together(chain[-1], apart)


@dataclass(frozen=True, kw_only=True)
class _Tiled:
    """Maps of one side, while nodes are written for them."""

    graph: Graph
    side: int

    @property
    def count(self) -> int:
        """Tiles along a side."""
        return -(-self.side // 2)

    def sums_of_maps(self, conv: Layer, source: str) -> _Tiles:
        """What a convolution multiplies, of maps as they are: each sum is a convolution itself."""
        found = {}
        for down, across in product(range(4), repeat=2):
            (top, bottom), (left, right) = _ZEROS[down], _ZEROS[across]
            found[down, across] = self._by_map(
                conv,
                source,
                np.outer(_COEFFICIENTS[down], _COEFFICIENTS[across]),
                name=f"{conv.name}_sum_{down}{across}",
                strides=[2, 2],
                pads=[top, left, bottom, right],
            )
        return found

    def sums(self, conv: Layer, apart: _Apart) -> _Tiles:
        """The same of maps whose even and odd values are apart."""
        if self.side % 2:
            apart = self._without_rest(conv, apart)
        by_column = [
            self._along(
                conv, apart["even", of], apart["odd", of], name=f"{conv.name}_{of}_", axis=HEIGHT
            )
            for of in _PHASES
        ]
        found: _Tiles = {}
        for down, (even, odd) in enumerate(zip(*by_column, strict=True)):
            row = self._along(conv, even, odd, name=f"{conv.name}_sum_{down}", axis=WIDTH)
            found |= {(down, across): value for across, value in enumerate(row)}
        return found

    def products(self, conv: Layer, sums: _Tiles) -> _Apart:
        """A convolution's outputs."""
        weight = self.graph.weights[f"{conv.name}.weight"].astype(np.float64)
        kernels = np.einsum("da,eb,oiab->deoi", _KERNELS, _KERNELS, weight).astype(np.float32)
        found: _Tiles = {}
        for (down, across), value in sums.items():
            kernel = kernels[down, across, :, :, None, None]
            constants = {f"{conv.name}.weight.{down}{across}": kernel}
            if (down, across) == (1, 1):  # which is a term of every output
                constants[f"{conv.name}.bias"] = self.graph.weights[f"{conv.name}.bias"]
            name = f"{conv.name}_product_{down}{across}"
            found[down, across] = add_columns(
                self.graph, value, constants, name=name, split=conv.groups, kernel_shape=[1, 1]
            )
        rows = [
            self._outputs([found[down, across] for down in range(4)], name=f"{conv.name}_{across}")
            for across in range(4)
        ]
        apart: _Apart = {}
        for row, values in zip(_PHASES, zip(*rows, strict=True), strict=True):
            outputs = self._outputs(values, name=f"{conv.name}_{row}")
            apart |= {(row, column): value for column, value in zip(_PHASES, outputs, strict=True)}
        return apart

    def pooled(self, pool: Layer, apart: _Apart) -> str:
        """The largest of windows of three every two: an even value, an odd one, an even one."""
        nodes, windows = self.graph.nodes, pool.shape[1]
        # Of an even side the last window may hang over the edge.
        over = windows - (self.count - 1)
        found = []
        for phases, value in apart.items():
            name = "_".join((pool.name, *phases))
            odd = [axis for axis, of in zip((HEIGHT, WIDTH), phases, strict=True) if of == "odd"]
            if odd and windows < self.count:
                starts, ends = [0] * len(odd), [windows] * len(odd)
                cut = f"{name}_inside"
                value = nodes.slice(value, name=cut, starts=starts, ends=ends, axes=odd)
            sizes = [1 if of == "odd" else 2 for of in phases]
            if sizes != [1, 1]:
                pads = [0, 0, *(over * (size - 1) for size in sizes)]
                value = nodes.add("MaxPool", [value], name=name, kernel_shape=sizes, pads=pads)
            found.append(value)
        return nodes.add("Max", found, name=pool.name)

    def together(self, layer: Layer, apart: _Apart) -> str:
        """Maps whose even and odd values lie side by side again."""
        nodes, name, rest = self.graph.nodes, layer.name, self.side % 2
        value = nodes.add("Concat", list(apart.values()), name=f"{name}_apart", axis=1)
        of_tiles = f"{name}_of_tiles" if rest else name
        value = nodes.add("DepthToSpace", [value], name=of_tiles, blocksize=2)
        if not rest:
            return value
        ends = [self.side, self.side]
        return nodes.slice(value, name=name, starts=[0, 0], ends=ends, axes=[HEIGHT, WIDTH])

    def _without_rest(self, conv: Layer, apart: _Apart) -> _Apart:
        """Zeros where the last odd row and column lie outside of the maps."""
        nodes = self.graph.nodes
        found: _Apart = {}
        for (row, column), value in apart.items():
            inside = np.ones((self.count, self.count), dtype=np.float32)
            inside[-1, :] *= row == "even"
            inside[:, -1] *= column == "even"
            if not inside.all():
                name = f"{row}_{column}"
                constant = nodes.constant(f"inside.{name}.{self.side}", inside)
                value = nodes.add("Mul", [value, constant], name=f"{conv.name}_inside_{name}")
            found[row, column] = value
        return found

    def _along(self, conv: Layer, even: str, odd: str, *, name: str, axis: int) -> list[str]:
        """What a kernel's row or column multiplies, of maps that are apart along it."""
        add = self.graph.nodes.add
        kernel = np.array([[1], [-1]] if axis == HEIGHT else [[1, -1]])
        side = axis - HEIGHT
        before, after = np.eye(4, dtype=int)[[side, side + 2]].tolist()
        return [
            self._by_map(conv, odd, kernel, name=f"{name}0", pads=before),
            add("Add", [even, odd], name=f"{name}1"),
            add("Sub", [odd, even], name=f"{name}2"),
            self._by_map(conv, even, kernel, name=f"{name}3", pads=after),
        ]

    def _by_map(
        self, conv: Layer, source: str, kernel: NDArray[Any], *, name: str, **attributes: list[int]
    ) -> str:
        """One small kernel over each map that a convolution reads."""
        maps = self.graph.weights[f"{conv.name}.weight"].shape[1] * conv.groups
        kernels = np.tile(kernel.astype(np.float32), (maps, 1, 1, 1))
        shape = list(kernel.shape)
        words = "_".join(str(value) for value in [maps, *shape, *kernel.flat])
        inputs = [source, self.graph.nodes.constant(f"sums.{words}", kernels)]
        return self.graph.nodes.add(
            "Conv", inputs, name=name, kernel_shape=shape, group=maps, **attributes
        )

    def _outputs(self, products: Sequence[str], *, name: str) -> list[str]:
        """Of the four multiplications along an axis the even and the odd outputs."""
        add = self.graph.nodes.add
        plus = add("Add", [products[1], products[2]], name=f"{name}_plus")
        minus = add("Sub", [products[1], products[2]], name=f"{name}_minus")
        return [
            add("Add", [products[0], plus], name=f"{name}_even"),
            add("Add", [products[3], minus], name=f"{name}_odd"),
        ]
