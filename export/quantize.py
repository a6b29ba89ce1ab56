"""int8: the layers' weights and inputs rounded to 8 bits, written as Q/DQ nodes.

Symmetric, as TensorRT asks: zero is 0. Weights have a scale for each map or unit; the values that
enter a layer have one for all, from what they are on real photos. conv1 reads pixels, whose
rounding costs most of the accuracy and saves little work: it stays float32, as do biases,
normalisation, softmax and averaging.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from alexnet.backends.metadata import info_of_model
from alexnet.console import progress
from alexnet.errors import AlexNetError, optional_import
from alexnet.geometry import layers
from export.nodes import Nodes
from export.precision import set_precision

Method = Literal["percentile", "entropy"]

# Part of the magnitudes that are not clipped, in percent. Clipping more cost more than coarser
# steps do, in fc6 above all: docs/results.md has the comparison.
PERCENTILE = 99.999
_LEVELS = 127  # int8 without -128: as many below zero as above
_BATCH = 4


def quantised_layers(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the layers of a graph of ours that are computed in int8."""
    found = layers(info_of_model(model).config)
    return tuple(la.name for la in found if la.kind in ("conv", "full") and la.name != "conv1")


def calibrated(
    model: onnx.ModelProto, photos: Sequence[NDArray[np.uint8]], *, method: Method = "percentile"
) -> dict[str, float]:
    """For each layer in int8, the magnitude of the values entering it that stands for 127.

    Args:
        model: a float32 graph of ours.
        photos: uint8 (S, S, 3), RGB: the more like those to come, the better.
        method: `percentile`: all but the largest hundred-thousandth of the magnitudes; `entropy`:
            where the rounded distribution is nearest to the true one.

    Raises:
        AlexNetError: there are no photos, or a value is 0 on all of them.
    """
    if not photos:
        raise AlexNetError("There are no photos to calibrate on: name some with --calibrate.")
    chosen = quantised_layers(model)
    entering = {node.name: node.input[0] for node in model.graph.node if node.name in chosen}
    with tempfile.TemporaryDirectory(prefix="alexnet-calibrate-") as folder:
        calibrator = _calibrator(model, Path(folder), method=method)
        with progress("Calibrating", total=len(photos), unit="photos") as bar:
            for start in range(0, len(photos), _BATCH):
                batch = np.stack(photos[start : start + _BATCH])
                with contextlib.redirect_stdout(io.StringIO()):  # the library prints as it goes
                    calibrator.collect_data(_Batch(batch))
                bar.advance(len(batch))
        with contextlib.redirect_stdout(io.StringIO()):
            found = calibrator.compute_data()
    ranges = {}
    for name, value in entering.items():
        ranges[name] = max(float(np.abs(end).max()) for end in found[value].range_value)
        if not 0 < ranges[name] < np.inf:
            raise AlexNetError(
                f"What enters {name} reaches {ranges[name]:g} on the photos of the calibration and "
                "gives no scale: take other photos, or a trained network."
            )
    return ranges


def quantised(model: onnx.ModelProto, ranges: Mapping[str, float]) -> onnx.ModelProto:
    """A copy of a float32 graph of ours with Q/DQ nodes before its layers.

    Args:
        model: as `export.graph.onnx_model` writes it.
        ranges: of `calibrated`, by the names of the layers.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    chosen = quantised_layers(model)
    nodes = Nodes()
    for node in graph.node:
        if node.name in chosen:
            node.input[0] = _rounded(nodes, node.input[0], ranges[node.name])
            node.input[1] = _rounded_weights(nodes, weights.pop(node.input[1]))
        if node.name in chosen and node.op_type == "Gemm":
            _add_product_and_bias(nodes, node)
        else:
            nodes.nodes.append(node)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes.nodes)
    graph.initializer.extend([*weights.values(), *nodes.constants])
    set_precision(result, "int8")
    return result


def _rounded(nodes: Nodes, source: str, magnitude: float) -> str:
    """`source` to int8 and back."""
    scale = nodes.constant(f"{source}.scale", magnitude / _LEVELS)
    zero = nodes.constant(f"{source}.zero", np.array(0, dtype=np.int8))
    level = nodes.add("QuantizeLinear", [source, scale, zero], name=f"{source}_int8")
    return nodes.add("DequantizeLinear", [level, scale, zero], name=f"{source}_from_int8")


def _rounded_weights(nodes: Nodes, tensor: onnx.TensorProto) -> str:
    """Weights (maps or units, ...) as int8 constants with a scale each, and back to float32."""
    values = numpy_helper.to_array(tensor)
    largest = np.abs(values).reshape(len(values), -1).max(axis=1)
    scales = np.where(largest > 0, largest, 1).astype(np.float32) / np.float32(_LEVELS)
    shape = (-1,) + (1,) * (values.ndim - 1)
    levels = np.rint(values / scales.reshape(shape)).clip(-_LEVELS, _LEVELS).astype(np.int8)
    inputs = [
        nodes.constant(f"{tensor.name}.int8", levels),
        nodes.constant(f"{tensor.name}.scales", scales),
        nodes.constant(f"{tensor.name}.zeros", np.zeros(len(values), dtype=np.int8)),
    ]
    return nodes.add("DequantizeLinear", inputs, name=tensor.name, axis=0)


def _add_product_and_bias(nodes: Nodes, gemm: onnx.NodeProto) -> None:
    """The layer in two nodes: ONNX Runtime has no product in int8 that adds a bias of float32."""
    *factors, bias = gemm.input
    product = nodes.add("Gemm", factors, name=f"{gemm.name}_product", transB=1)
    nodes.add("Add", [product, bias], name=gemm.name)


class _Batch:
    """One batch as ONNX Runtime's calibrators read it."""

    def __init__(self, photos: NDArray[np.uint8]) -> None:
        self._batches = [{"photos": photos}]

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The batch, then None."""
        return self._batches.pop() if self._batches else None


def _calibrator(model: onnx.ModelProto, folder: Path, *, method: Method) -> Any:
    from alexnet.backends.onnx_runtime import load_runtime

    load_runtime()  # silent, and without telemetry
    calibrate = optional_import("onnxruntime.quantization.calibrate")
    onnx.save(model, folder / "model.onnx")
    options: dict[str, Any] = {"symmetric": True}
    if method == "percentile":
        options["percentile"] = PERCENTILE
    return calibrate.create_calibrator(
        folder / "model.onnx",
        ["Conv", "Gemm"],
        str(folder / "augmented.onnx"),
        calibrate.CalibrationMethod[method.capitalize()],
        extra_options=options,
    )
