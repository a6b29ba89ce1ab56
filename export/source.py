"""What the commands are given, a checkpoint or a graph, as the graph that they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alexnet.backends.base import ArtifactInfo, BackendError, Precision
from alexnet.backends.metadata import info_of_model
from alexnet.checkpoint import load_checkpoint
from alexnet.config import Config, Views
from alexnet.console import log
from alexnet.errors import AlexNetError
from alexnet.files import sha256_of
from export.calibration import Method, best_method, calibrated
from export.calibration_photos import calibration_photos
from export.choices import PLAIN, GraphChoices, choices_for
from export.graph import onnx_model
from export.precision import half_precision, set_metadata
from export.quantize import quantised, quantised_layers
from export.winograd import is_by_tiles

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file of weights, as graphs."""

    path: Path
    sha256: str
    plain: onnx.ModelProto
    """The graph as the file has it; of a checkpoint in float32."""
    choices: GraphChoices | None
    """How `plain` was written; None where the file is a graph itself."""

    @property
    def info(self) -> ArtifactInfo:
        """What `plain` says of itself."""
        return info_of_model(self.plain, self.path, sha256=self.sha256)

    def calibration_graph(self) -> onnx.ModelProto:
        """The cheapest float32 graph with the same layers: a checkpoint's takes the centre alone.

        It is written anew: most exports need none, and of `paper` it is 245 MB.

        Raises:
            AlexNetError: the checkpoint is not the one any more that `plain` was written from.
        """
        info = self.info
        if self.choices is None or (info.views, self.choices) == ("centre", PLAIN):
            return self.plain
        if sha256_of(self.path) != self.sha256:
            raise AlexNetError(f"{self.path} has changed since it was read: try again.")
        choices = choices_for("portable", info.config)
        return onnx_model(load_checkpoint(self.path), views="centre", choices=choices)

    def photos(self, place: Path | None) -> Sequence[NDArray[np.uint8]]:
        """The photos of `calibration_photos` for this network; one line says how many they are."""
        photos = calibration_photos(place, self.info.config.input)
        if place is None:
            log(
                f"Calibrating on {len(photos)} pieces of scikit-learn's two photographs: photos "
                "like those to come are better, named with --calibrate."
            )
        else:
            log(f"Calibrating on {len(photos):,} photos of {place}.")
        return photos

    def in_precision(
        self,
        precision: Precision | None,
        *,
        model: onnx.ModelProto | None = None,
        calibrate: Path | None = None,
        method: Method | None = None,
    ) -> onnx.ModelProto:
        """`model` (`plain` where None, or a rewritten copy of it) in a precision; None: its own.

        int8 takes the ranges of values from photos (`calibrate` is as in `calibration_photos`) by
        a method; None: the best one for the runtime.

        Raises:
            AlexNetError: the file has another precision than float32 already, the runtime that it
                is for has not this one, int8 finds no photos to calibrate on, or the views are
                `dense`.
        """
        model = model or self.plain
        own = self.info.precision
        if precision == "int8" and self.info.views == "dense":
            raise AlexNetError(
                "int8 takes the ranges of values from crops, which is not what dense answers are "
                "computed on: take fp32, fp16 or bf16, or the views ten or centre."
            )
        if precision in (None, own):
            return model
        if own != "fp32":
            raise AlexNetError(
                f"{self.path} is in {own} already and can't be made {precision}: begin with its "
                "checkpoint, or with a graph in fp32."
            )
        if is_by_tiles(model):
            raise AlexNetError(
                f"{self.path} has Winograd's convolutions, whose sums {precision} would round once "
                "more: begin with its checkpoint, and with --convolutions direct."
            )
        if self.info.target == "openvino" and precision in ("bf16", "fp16"):
            return _for_openvino(model, precision)
        if precision == "int8":
            ranges = calibrated(
                self.calibration_graph(),
                self.photos(calibrate),
                method=method or best_method(self.info.target),
                chosen=quantised_layers(model),
            )
            return quantised(model, ranges)
        assert precision is not None
        return half_precision(model, precision)


def open_source(
    path: Path,
    *,
    views: Views | None = None,
    features: bool = False,
    choose: Callable[[Config], GraphChoices] = lambda config: choices_for("portable", config),
) -> Source:
    """Read a checkpoint or a graph of ours.

    Args:
        path: a .safetensors or .onnx file.
        views: None: a graph's own, and ten of a checkpoint.
        features: whether the output `features` is wanted; a graph must have it.
        choose: how to write a checkpoint's graph; a graph stays as it is.

    Raises:
        AlexNetError: neither of them, missing, damaged or foreign; or a graph with other views, or
            without features.
    """
    if path.suffix == ".safetensors":
        checkpoint = load_checkpoint(path)
        choices = choose(checkpoint.config)
        plain = onnx_model(checkpoint, views=views or "ten", features=features, choices=choices)
        return Source(path=path, sha256=sha256_of(path), plain=plain, choices=choices)
    if path.suffix != ".onnx":
        raise AlexNetError(f"{path} is no checkpoint (.safetensors) and no graph (.onnx).")
    model = _read(path)
    source = Source(path=path, sha256=sha256_of(path), plain=model, choices=None)
    info = source.info
    if views not in (None, info.views):
        raise BackendError(
            f"{path} was exported with the views '{info.views}' and can't take '{views}': export "
            f"it again with --views {views}."
        )
    if features and not info.has_features:
        raise BackendError(
            f"{path} was exported without features: export it again with --features."
        )
    return source


def _for_openvino(model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """OpenVINO rounds to bf16 by itself, wherever it gains by it: the graph only says so."""
    if precision != "bf16":
        raise AlexNetError(f"OpenVINO computes in no {precision} on CPUs: take fp32, bf16 or int8.")
    copy = type(model)()
    copy.CopyFrom(model)
    set_metadata(copy, precision=precision)
    return copy


def _read(path: Path) -> onnx.ModelProto:
    import onnx

    if not path.is_file():
        raise BackendError(f"There is no model {path}.")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's errors and the checker's share no base class
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise BackendError(f"{path} is not a whole ONNX model: {reason}") from error
    return model
