"""How large the values become that int8 rounds: measured on real photos, by one of three ways."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from alexnet.backends.base import Target
from alexnet.console import progress
from alexnet.errors import AlexNetError, optional_import
from export.quantize import int8_layer, quantised_layers

Method = Literal["percentile", "entropy", "nncf"]
"""`percentile`: all but the largest hundred-thousandth of the magnitudes; `entropy`: where the
rounded distribution is nearest to the true one; `nncf`: NNCF's, the mean of the largest values in
some batches of photos."""

# Part of the magnitudes that are not clipped, in percent. Clipping more cost more than coarser
# steps do, in fc6 above all: docs/results.md has the comparison.
PERCENTILE = 99.999
_BATCH = 4


def best_method(target: Target) -> Method:
    """The way for a runtime where none is asked for."""
    return "nncf" if target == "openvino" else "percentile"


def calibrated(
    model: onnx.ModelProto,
    photos: Sequence[NDArray[np.uint8]],
    *,
    method: Method = "percentile",
    chosen: Sequence[str] | None = None,
) -> dict[str, float]:
    """For each layer in int8, the magnitude of the values entering it that is its last level.

    Args:
        model: a float32 graph of ours.
        photos: uint8 (S, S, 3), RGB: the more like those to come, the better.
        method: how.
        chosen: the layers; None: those that `quantised` rounds in this very graph.

    Raises:
        AlexNetError: there are no photos, or a value is 0 on all of them.
        MissingPackageError: NNCF is asked for and not installed.
    """
    if not photos:
        raise AlexNetError("There are no photos to calibrate on: name some with --calibrate.")
    chosen = quantised_layers(model) if chosen is None else chosen
    if method == "nncf":
        from export.nncf_int8 import nncf_ranges

        largest = nncf_ranges(model, photos, chosen=chosen)
    else:
        largest = _of_values(model, photos, method=method)
    entering: dict[str, set[str]] = {}
    for node in model.graph.node:
        layer = int8_layer(node, chosen)
        if layer is not None:
            entering.setdefault(layer, set()).add(node.input[0])
    ranges = {name: max(largest[value] for value in entering[name]) for name in chosen}
    for name, found in ranges.items():
        if not 0 < found < np.inf:
            raise AlexNetError(
                f"What enters {name} reaches {found:g} on the photos of the calibration and "
                "gives no scale: take other photos, or a trained network."
            )
    return ranges


def _of_values(
    model: onnx.ModelProto, photos: Sequence[NDArray[np.uint8]], *, method: Method
) -> dict[str, float]:
    """By ONNX Runtime's calibrators: of each value that enters or leaves a layer."""
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
    return {
        name: max(float(np.abs(end).max()) for end in found[name].range_value)
        for name in found.keys()  # noqa: SIM118  (iterating over it is not implemented)
    }


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
