"""What NNCF, OpenVINO's tool for int8, finds on photos: how large the values become.

NNCF writes Q/DQ nodes itself, of which only the scales are taken. Where views share their work a
layer has several nodes, which NNCF would give a scale each; and its correction of biases moved
answers on the shipped model no nearer to float32 (docs/results.md).
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from alexnet.console import progress
from alexnet.errors import optional_import
from alexnet.machine import keep_signal_stack
from export.quantize import int8_layer

# Photos whose largest value counts as one. NNCF's own way is one photo, whose mean largest value
# clips twice as much as is good (docs/results.md); and with the largest of all, one odd photo
# doubles the steps.
_BATCH = 32
# What NNCF puts in place of 0 is a little less.
_NOTHING = 1e-4


def nncf_ranges(
    model: onnx.ModelProto, photos: Sequence[NDArray[np.uint8]], *, chosen: Sequence[str]
) -> dict[str, float]:
    """The magnitude of each value that enters one of the chosen layers.

    Args:
        model: a float32 graph of ours.
        photos: uint8 (S, S, 3), RGB, at least one.
        chosen: names of the layers that are to be in int8. All other nodes are in NNCF's ignored
            scope, softmax and the average over the views among them.

    Returns:
        By the names of the values; 0 where NNCF found nothing to scale.

    Raises:
        MissingPackageError: NNCF is not installed.
    """
    nncf = _load_nncf()
    named = {node.name for node in model.graph.node}
    kept = {node.name for node in model.graph.node if int8_layer(node, chosen) is not None}
    count = max(1, len(photos) // _BATCH)
    batches = np.array_split(np.stack(photos), count)
    with progress("Calibrating", total=len(photos), unit="photos") as bar:

        def given(batch: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
            bar.advance(len(batch))
            return {"photos": batch}

        # NNCF draws bars of its own, and may run OpenVINO.
        with contextlib.redirect_stdout(io.StringIO()), keep_signal_stack():
            rounded = nncf.quantize(
                model,
                nncf.Dataset(batches, given),
                subset_size=len(batches),
                preset=nncf.QuantizationPreset.PERFORMANCE,
                ignored_scope=nncf.IgnoredScope(names=sorted(named - kept)),
                advanced_parameters=_parameters(nncf),
            )
    return _magnitudes(rounded)


def _parameters(nncf: ModuleType) -> Any:
    """Symmetric scales from the mean of the batches' largest values; biases as they are."""
    by = optional_import("nncf.quantization.range_estimator", extra="int8")
    largest = by.RangeEstimatorParameters(
        min=by.StatisticsCollectorParameters(
            statistics_type=by.StatisticsType.MIN, aggregator_type=by.AggregatorType.MEAN
        ),
        max=by.StatisticsCollectorParameters(
            statistics_type=by.StatisticsType.MAX, aggregator_type=by.AggregatorType.MEAN
        ),
    )
    return nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=largest, disable_bias_correction=True
    )


def _magnitudes(model: onnx.ModelProto) -> dict[str, float]:
    """Of each value that NNCF rounds, the one at the last of its levels."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            source, *steps = node.input
            scale, zero = (numpy_helper.to_array(constants[name]) for name in steps)
            magnitude = float(scale) * np.iinfo(zero.dtype).max
            found[source] = magnitude if magnitude > _NOTHING else 0.0
    return found


def _load_nncf() -> ModuleType:
    """NNCF, silent; without telemetry, as OpenVINO is loaded first."""
    from alexnet.backends.openvino import load_openvino

    load_openvino()
    nncf = optional_import("nncf", extra="int8")
    nncf.set_log_level(logging.ERROR)
    return nncf
