"""Precisions of an exported graph: half-precision weights and layers, decided in the graph itself.

Runtimes take the types that the graph says. Photos come in as bytes and answers go out as float32
whatever the precision; mean, response normalisation, softmax and averaging stay float32 (our
plugins take halves and compute in float32).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from alexnet.backends.base import Precision
from alexnet.backends.metadata import info_of_model
from alexnet.config import Config
from alexnet.errors import AlexNetError
from alexnet.geometry import layers
from export.layer_nodes import layer_of
from export.plugin_graph import DOMAIN

_FLOAT = onnx.TensorProto.FLOAT
_HALVES = {
    "fp16": (onnx.TensorProto.FLOAT16, torch.float16),
    "bf16": (onnx.TensorProto.BFLOAT16, torch.bfloat16),
}
# The first opset whose convolutions and poolings take bfloat16, and the IR version of its time.
_BF16_OPSET, _BF16_IR_VERSION = 22, 10
_HALF_KINDS = ("conv", "relu", "tanh", "pool", "full", "dropout")


def set_metadata(model: onnx.ModelProto, **facts: str) -> None:
    """Add `facts` to the metadata of `model`, in place of those of the same names."""
    kept = {prop.key: prop.value for prop in model.metadata_props}
    del model.metadata_props[:]
    helper.set_model_props(model, kept | facts)


def half_precision(model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """A copy of a float32 graph of ours whose convolutional and full layers are in half precision.

    Args:
        model: as `export.graph.onnx_model` writes it.
        precision: `fp16` or `bf16`. bf16 takes opset 22, in which ONNX's convolutions first know
            that type.

    Raises:
        AlexNetError: a weight is too large for float16.
    """
    half = onnx.ModelProto()
    half.CopyFrom(model)
    _Halving(half.graph, info_of_model(model).config, precision).run()
    if precision == "bf16":
        _raise_opset(half)
    set_metadata(half, precision=precision)
    return half


@dataclass
class _Halving:
    """What is known while the nodes are gone through, in the order in which they run."""

    graph: onnx.GraphProto
    config: Config
    precision: Precision
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    half_values: set[str] = field(default_factory=set)
    renamed: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """Change the graph."""
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        self.outputs = {output.name for output in self.graph.output}
        names = {layer.name for layer in layers(self.config) if layer.kind in _HALF_KINDS}
        for node in self.graph.node:
            follows = node.op_type == "Flatten" and self._value(node.input[0]) in self.half_values
            ours = node.domain == DOMAIN
            self._append(node, half=layer_of(node.name) in names or follows or ours)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)

    def _append(self, node: onnx.NodeProto, *, half: bool) -> None:
        for place, name in enumerate(node.input):
            value = self._value(name)
            if name not in self.constants:
                node.input[place] = self._as_type(value, half=half)
            elif half and self.constants[name].data_type == _FLOAT:
                self._halve(self.constants[name])
        self.nodes.append(node)
        if not half:
            return
        (result,) = node.output
        if result in self.outputs:  # which stays float32, and keeps its name
            self.renamed[result] = f"{result}_{self.precision}"
            node.output[0] = self.renamed[result]
            self.nodes.append(_cast(node.output[0], result, _FLOAT))
        self.half_values.add(node.output[0])

    def _value(self, name: str) -> str:
        return self.renamed.get(name, name)

    def _as_type(self, value: str, *, half: bool) -> str:
        """`value`, or what it was cast to where its type is the other one."""
        if half == (value in self.half_values):
            return value
        kind = self.precision if half else "fp32"
        name = f"{value}_to_{kind}"
        if all(name != node.name for node in self.nodes):
            self.nodes.append(_cast(value, name, _HALVES[kind][0] if half else _FLOAT))
        return name

    def _halve(self, tensor: onnx.TensorProto) -> None:
        kind, dtype = _HALVES[self.precision]
        values = numpy_helper.to_array(tensor)
        largest = torch.finfo(dtype).max
        if np.abs(values).max(initial=0) > largest:
            raise AlexNetError(
                f"'{tensor.name}' holds {np.abs(values).max():.4g}, and {self.precision} ends at "
                f"{largest:g}: take bf16 or fp32."
            )
        tensor.CopyFrom(_half_tensor(tensor.name, values, kind, dtype))


def _half_tensor(
    name: str, values: NDArray[np.float32], kind: int, dtype: torch.dtype
) -> onnx.TensorProto:
    rounded = torch.from_numpy(values.copy()).to(dtype).view(torch.int16)
    return helper.make_tensor(name, kind, values.shape, rounded.numpy().tobytes(), raw=True)


def _cast(source: str, target: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=target, to=kind)


def _raise_opset(model: onnx.ModelProto) -> None:
    """From opset 17 to that of bfloat16; of our operators only ReduceMean changed its form."""
    for opset in model.opset_import:
        if opset.domain == "":
            opset.version = _BF16_OPSET
    model.ir_version = _BF16_IR_VERSION
    for node in model.graph.node:
        if node.op_type != "ReduceMean":
            continue
        (axes,) = [attribute for attribute in node.attribute if attribute.name == "axes"]
        values = np.array(axes.ints, dtype=np.int64)
        model.graph.initializer.append(numpy_helper.from_array(values, f"{node.name}.axes"))
        node.attribute.remove(axes)
        node.input.append(f"{node.name}.axes")
