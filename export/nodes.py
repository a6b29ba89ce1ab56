"""Nodes and constants of an ONNX graph, written one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


class Nodes:
    """Collects nodes in the order in which they run.

    A node's name is its one output's name too, so that a reader follows the graph by names alone.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(
        self,
        operator: str,
        inputs: Sequence[str],
        *,
        name: str,
        **attributes: int | list[int] | float,
    ) -> str:
        """Append a node and return its output's name."""
        assert all(name != node.name for node in self.nodes), f"two nodes are called {name}"
        given: dict[str, Any] = attributes
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **given))
        return name

    def constant(self, name: str, values: NDArray[Any] | Sequence[int] | float) -> str:
        """Add a constant: an array as it is, integers as int64, a number as float32."""
        if isinstance(values, float):
            array = np.array(values, dtype=np.float32)
        elif isinstance(values, np.ndarray):
            array = np.ascontiguousarray(values)
        else:
            array = np.array(values, dtype=np.int64)
        self.constants.append(numpy_helper.from_array(array, name))
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

    def reversed(self, source: str, *, name: str, axis: int) -> str:
        """Append a Slice that runs backwards along one axis."""
        # From the last to before the first: any end below -size stands for "before the first".
        first = -np.iinfo(np.int64).max
        return self.slice(source, name=name, starts=[-1], ends=[first], axes=[axis], step=-1)

    def reshape(self, source: str, *, name: str, shape: Sequence[int]) -> str:
        """Append a Reshape to a constant shape, in which -1 is the batch's part."""
        return self.add("Reshape", [source, self.constant(f"{name}.shape", shape)], name=name)
