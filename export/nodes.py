"""Nodes and constants of an ONNX graph, written one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

HEIGHT, WIDTH = 2, 3
"""Axes of maps (N, C, H, W)."""


class Nodes:
    """Collects nodes in the order in which they run.

    A node's name is its one output's name too, so that a reader follows the graph by names alone.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._known: dict[str, onnx.TensorProto] = {}

    def add(
        self,
        operator: str,
        inputs: Sequence[str],
        *,
        name: str,
        **attributes: int | list[int] | float | str,
    ) -> str:
        """Append a node and return its output's name."""
        assert all(name != node.name for node in self.nodes), f"two nodes are called {name}"
        given: dict[str, Any] = attributes
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **given))
        return name

    def constant(self, name: str, values: NDArray[Any] | Sequence[int] | float) -> str:
        """Add a constant: an array as it is, integers as int64, a number as float32.

        Nodes that stand for the same layer share its constants: one that is there already, with the
        same values, is not added again.
        """
        if isinstance(values, float):
            array = np.array(values, dtype=np.float32)
        elif isinstance(values, np.ndarray):
            array = np.ascontiguousarray(values)
        else:
            array = np.array(values, dtype=np.int64)
        tensor = numpy_helper.from_array(array, name)
        if name not in self._known:
            self._known[name] = tensor
            self.constants.append(tensor)
        assert self._known[name] == tensor, f"two constants are called {name}"
        return name

    def slice(
        self,
        source: str,
        *,
        name: str,
        starts: Sequence[int],
        ends: Sequence[int],
        axes: Sequence[int],
        step: int = 1,
    ) -> str:
        """Append a Slice of `axes` from `starts` to `ends`, which are constants."""
        parts = {"starts": starts, "ends": ends, "axes": axes, "steps": [step] * len(axes)}
        inputs = [self.constant(f"{name}.{part}", values) for part, values in parts.items()]
        return self.add("Slice", [source, *inputs], name=name)

    def split(self, source: str, *, name: str, outputs: Sequence[str], axis: int) -> list[str]:
        """Append a Split into equal parts, whose names are `outputs`; returns these."""
        self.nodes.append(helper.make_node("Split", [source], list(outputs), name=name, axis=axis))
        return list(outputs)

    def concat(self, parts: Sequence[str], *, name: str, axis: int) -> str:
        """Append a Concat, unless there is nothing to put together: then the part itself."""
        return parts[0] if len(parts) == 1 else self.add("Concat", parts, name=name, axis=axis)

    def reversed(self, source: str, *, name: str, axis: int) -> str:
        """Append a Slice that runs backwards along one axis."""
        # From the last to before the first: any end below -size stands for "before the first".
        first = -np.iinfo(np.int64).max
        return self.slice(source, name=name, starts=[-1], ends=[first], axes=[axis], step=-1)

    def transposed(self, source: str, *, name: str) -> str:
        """Append a Transpose of maps (N, C, H, W): rows become columns."""
        return self.add("Transpose", [source], name=name, perm=[0, 1, WIDTH, HEIGHT])

    def reshape(self, source: str, *, name: str, shape: Sequence[int]) -> str:
        """Append a Reshape to a constant shape, in which -1 is the batch's part."""
        return self.add("Reshape", [source, self.constant(f"{name}.shape", shape)], name=name)
