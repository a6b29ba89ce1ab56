"""What a rounded graph costs in accuracy: measured by its runtime before the graph is written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from alexnet.backends import Backend, BackendError, open_backend
from alexnet.backends.base import Precision
from alexnet.backends.metadata import info_of_model
from alexnet.backends.openvino_cache import VARIABLE
from alexnet.config import Views
from alexnet.console import log, progress
from alexnet.errors import AlexNetError
from alexnet.json_text import to_json
from alexnet.machine import versions
from alexnet.predictor import Predictor
from export.precision import set_metadata
from export.validation_photos import ValidationPhotos, validation_photos

_GATED: tuple[Precision, ...] = ("bf16", "int8")
_UNREADABLE = -1


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What was asked of a graph's accuracy: the options of the same names."""

    validate: Path | None = None
    """Labelled photos, as in `validation_photos`."""
    max_drop: float | None = None
    """Points of top-1 accuracy, in percent, that a graph may lose to float32."""
    unvalidated: bool = False
    """Whether int8 and bf16 are written without having been measured."""

    def check(self, precision: Precision | None) -> None:
        """Refuse what can't be, before any work is done.

        Raises:
            AlexNetError: the options contradict each other, or the precision needs photos.
        """
        if self.validate is not None and self.unvalidated:
            raise AlexNetError("Take --validate or --unvalidated, not both.")
        if self.validate is None and self.max_drop is not None:
            raise AlexNetError("--max-drop needs labelled photos to measure on: add --validate.")
        if self.validate is None and precision in _GATED and not self.unvalidated:
            raise AlexNetError(
                f"{precision} changes answers: name labelled photos that show how much with "
                "--validate, or write the graph unmeasured with --unvalidated."
            )

    def passed(self, model: onnx.ModelProto, reference: onnx.ModelProto | Path) -> onnx.ModelProto:
        """`model`, with its accuracy in its metadata where there are photos to measure it on.

        Args:
            model: a graph of ours; its metadata are written to.
            reference: as in `measured`.

        Raises:
            AlexNetError: it loses more than it may, there are no photos of its classes, or no
                runtime here runs it.
        """
        precision = info_of_model(model).precision
        self.check(precision)
        if self.validate is not None:
            found = measured(
                model, reference, validation_photos(self.validate, info_of_model(model))
            )
            log(_sentence(found, precision))
            self._judge(found, precision)
            set_metadata(model, accuracy=to_json(found))
        elif precision in _GATED:
            set_metadata(model, accuracy="null")
            log(f"Not validated: what {precision} costs in accuracy was not measured.")
        return model

    def _judge(self, found: dict[str, Any], precision: Precision) -> None:
        drop = 100 * (found["top1_error"] - found["reference"]["top1_error"])
        if self.max_drop is not None and round(drop, 6) > self.max_drop:
            raise AlexNetError(
                f"{precision} loses {drop:.2f} points of top-1 accuracy on the {found['photos']:,} "
                f"photos, and --max-drop allows {self.max_drop:g}: nothing was written."
            )


def measured(
    model: onnx.ModelProto, reference: onnx.ModelProto | Path, photos: ValidationPhotos
) -> dict[str, Any]:
    """The accuracy of a graph beside that of a reference in float32, as JSON values.

    Both are run by the backend that runs such a file when it is opened. Errors are parts of 1; the
    agreement is the part of photos with the same best class.

    Args:
        model: a graph of ours.
        reference: the same in float32: a graph, or, for a graph in float32 itself, the checkpoint
            that it was written from.
        photos: labelled ones.

    Raises:
        AlexNetError: no runtime here runs the graph, or no photo can be read.
    """
    with tempfile.TemporaryDirectory(prefix="alexnet-validate-") as folder, _no_cache():
        views = info_of_model(model).views
        found, name = _best_five(_written(model, Path(folder) / "graph.onnx"), photos)
        if isinstance(reference, Path):
            exact, exact_name = _best_five(reference, photos, views=views)
        else:
            file = _written(reference, Path(folder) / "reference.onnx")
            exact, exact_name = _best_five(file, photos)
    read = found[:, 0] != _UNREADABLE
    if not read.any():
        raise AlexNetError(f"No photo of {photos.name} can be read.")
    if not read.all():
        log(f"Left out {np.sum(~read):,} photos of {photos.name} that can't be read.")
    found, exact, truth = found[read], exact[read], photos.classes[read]
    return {
        "data": photos.name,
        "photos": len(truth),
        "views": views,
        **_errors(found, truth),
        "reference": {"precision": "fp32", "backend": exact_name, **_errors(exact, truth)},
        "top1_agreement": round(float((found[:, 0] == exact[:, 0]).mean()), 6),
        "backend": name,
        "versions": versions(name, f"{name}-gpu", "pillow"),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _errors(best: NDArray[np.int64], truth: NDArray[np.int64]) -> dict[str, float]:
    right = best == truth[:, None]
    return {
        "top1_error": round(1 - float(right[:, 0].mean()), 6),
        "top5_error": round(1 - float(right.any(axis=1).mean()), 6),
    }


def _written(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def _best_five(
    path: Path, photos: ValidationPhotos, *, views: Views | None = None
) -> tuple[NDArray[np.int64], str]:
    """The five best classes of each photo (N, 5), best first, and the backend that found them."""
    backend = _opened(path, views)
    best = np.full((len(photos.classes), 5), _UNREADABLE)
    words = f"Validating {backend.info.precision}"
    try:
        with progress(words, total=len(best), unit="photos") as bar:
            for row, answer in enumerate(Predictor(backend).predict(photos.read())):
                classes = [score.index for score in answer.scores]
                best[row, : len(classes)] = classes
                bar.advance()
    finally:
        backend.close()
    return best, backend.name


def _opened(path: Path, views: Views | None) -> Backend:
    try:
        return open_backend(path, views=views)
    except BackendError as error:
        reason = str(error).replace(str(path), "the graph")
        raise BackendError(
            f"The accuracy can't be measured here: {reason.rstrip('.')}. With --unvalidated the "
            "graph is written without it."
        ) from error


@contextmanager
def _no_cache() -> Iterator[None]:
    """Keep no compiled copies of files that are gone at once."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "off"
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def _sentence(found: dict[str, Any], precision: Precision) -> str:
    exact = found["reference"]
    measured, reference = str(precision), "fp32"
    if precision == "fp32":
        measured, reference = f"the graph ({found['backend']})", "the checkpoint in PyTorch"
    return (
        f"On {found['photos']:,} photos of {found['data']} {measured} has {_percents(found)} "
        f"error, {reference} {_percents(exact)}; the best class is the same on "
        f"{100 * found['top1_agreement']:.2f} %."
    )


def _percents(errors: dict[str, Any]) -> str:
    return f"{100 * errors['top1_error']:.2f} % top-1 and {100 * errors['top5_error']:.2f} % top-5"
