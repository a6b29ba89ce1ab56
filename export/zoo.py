"""The ONNX model zoo's `bvlcalexnet-*.onnx`: Caffe's network as a graph of operators.

It came from Caffe by way of Caffe2, and takes crops of 224 pixels: conv1 gives 54 windows, and the
poolings round down, down and up. Nothing of that is assumed; the graph says it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from alexnet.config import ConvConfig, LRNConfig, PoolConfig
from alexnet.geometry import conv_side
from export.foreign import Foreign, ForeignModelError
from export.stages import ReLU, Stage, Weighted, chain

# What changes no value in use, or comes behind the logits.
_PASSED_OVER = {"Dropout", "Flatten", "Identity", "Reshape", "Softmax"}


def read_onnx(path: Path) -> Foreign:
    """The network of an ONNX graph that is one chain of AlexNet's layers, of any opset.

    Raises:
        ForeignModelError: the file is damaged, or its network no AlexNet.
    """
    try:
        graph = onnx.load(path).graph
        constants = _constants(graph)
    except OSError:
        raise
    except Exception as error:  # protobuf's, numpy's and onnx's errors share no base class
        raise ForeignModelError(f"{path} is no whole ONNX model: copy it again.") from error
    walk = _Walk(path, graph, constants)
    for node in graph.node:
        if node.output[0] not in constants:
            walk.step(node)
    return chain(path, "ONNX", walk.stages, crop=walk.crop)


class _Walk:
    """The graph's chain of nodes as stages, followed from the input on."""

    def __init__(
        self, path: Path, graph: onnx.GraphProto, constants: dict[str, NDArray[Any]]
    ) -> None:
        self.path = path
        self.constants = constants
        self.stages: list[Stage] = []
        inputs = [value for value in graph.input if value.name not in constants]
        if len(inputs) != 1:
            raise ForeignModelError(
                f"{path} is no AlexNet: its graph has {len(inputs)} inputs, and not one."
            )
        self.value = inputs[0].name
        dims = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim]
        if len(dims) != 4 or dims[1] != 3 or dims[2] != dims[3] or dims[3] < 1:
            raise ForeignModelError(
                f"{path} is no AlexNet: its input '{self.value}' has the shape {tuple(dims)}, and "
                "not (N, 3, S, S)."
            )
        self.crop = self.side = dims[3]

    def step(self, node: onnx.NodeProto) -> None:
        """One more node."""
        source, *others = node.input
        if source != self.value:
            raise self._no_alexnet(f"{_of(node)} reads '{source}' and not '{self.value}'")
        self.value = node.output[0]
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        match node.op_type:
            case "Conv":
                self.stages.append(self._conv(node, self._read(others, node), attributes))
            case "Gemm":
                self.stages.append(self._gemm(node, self._read(others, node), attributes))
            case "Relu":
                self.stages.append(ReLU())
            case "LRN":
                self.stages.append(_lrn(attributes))
            case "MaxPool":
                self.stages.append(self._pool(node, attributes))
            case kind if kind not in _PASSED_OVER:
                raise self._no_alexnet(f"{_of(node)} is a node of the operator {kind}")

    def _read(self, names: list[str], node: onnx.NodeProto) -> dict[str, NDArray[Any]]:
        missing = [name for name in names if name not in self.constants]
        if missing or not names:
            lost = missing[0] if missing else "weights"
            raise self._no_alexnet(f"{_of(node)} reads '{lost}', whose values it lacks")
        return {name: self.constants[name] for name in names}

    def _conv(
        self, node: onnx.NodeProto, tensors: dict[str, NDArray[Any]], attributes: dict[str, Any]
    ) -> Weighted:
        stride, before, after = self._window(node, attributes)
        weights = next(iter(tensors.values()))
        kernel = weights.shape[-1]
        shape = ConvConfig(maps=1, kernel=kernel, stride=stride, pad=(before, after))
        self.side = conv_side(self.side, shape)
        return Weighted(
            name=next(iter(tensors)),
            tensors=tensors,
            stride=stride,
            pad=(before, after),
            groups=attributes.get("group", 1),
        )

    def _gemm(
        self, node: onnx.NodeProto, tensors: dict[str, NDArray[Any]], attributes: dict[str, Any]
    ) -> Weighted:
        plain = attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0
        if not plain or attributes.get("transA", 0):
            raise self._no_alexnet(f"{_of(node)} scales or transposes what it reads")
        name = next(iter(tensors))
        if not attributes.get("transB", 0):
            tensors = {**tensors, name: tensors[name].T}
        return Weighted(name=name, tensors=tensors, full=True)

    def _pool(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> PoolConfig:
        """A pooling, whose number of windows padding or `ceil_mode` may have rounded up."""
        stride, before, after = self._window(node, attributes)
        size = attributes["kernel_shape"][0]
        spare = self.side - size
        up = bool(attributes.get("ceil_mode", 0))
        windows = (-(-(spare + after) // stride) if up else (spare + after) // stride) + 1
        rounded = {-(-spare // stride) + 1: True, spare // stride + 1: False}
        if before or windows not in rounded:
            raise self._no_alexnet(f"{_of(node)} pads its maps")
        self.side = windows
        # Where both are the same, as in the preset.
        return PoolConfig(size=size, stride=stride, ceil=spare % stride == 0 or rounded[windows])

    def _window(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> tuple[int, int, int]:
        """Stride, and padding before and after, each the same along both axes."""
        strides = attributes.get("strides", [1, 1])
        top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
        named = attributes.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
        even = len({*attributes.get("kernel_shape", [])}) <= 1 and strides[0] == strides[1]
        dilated = set(attributes.get("dilations", [1])) != {1}
        if not (named and even and top == left and bottom == right) or dilated:
            raise self._no_alexnet(f"{_of(node)} has windows that AlexNet has not")
        return strides[0], top, bottom

    def _no_alexnet(self, why: str) -> ForeignModelError:
        return ForeignModelError(f"{self.path} is no AlexNet: {why}.")


def _lrn(attributes: dict[str, Any]) -> LRNConfig:
    return LRNConfig(
        size=attributes["size"],
        alpha=_decimal(attributes.get("alpha", 1e-4)),
        alpha_of="mean",
        beta=_decimal(attributes.get("beta", 0.75)),
        k=_decimal(attributes.get("bias", 1.0)),
        within_columns=False,
    )


def _decimal(value: float) -> float:
    """The shortest decimal that rounds to a float32, which is how the file holds it."""
    return float(str(np.float32(value)))


def _constants(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    """Initializers, and what nodes make of nothing else."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant" and "value" in attributes:
            found[node.output[0]] = numpy_helper.to_array(attributes["value"])
        elif node.op_type == "ConstantOfShape" and node.input[0] in found:
            value = attributes.get("value")
            fill = 0.0 if value is None else numpy_helper.to_array(value).item()
            found[node.output[0]] = np.full(found[node.input[0]], fill, dtype=np.float32)
    return found


def _of(node: onnx.NodeProto) -> str:
    return f"'{node.name or node.output[0]}'"
