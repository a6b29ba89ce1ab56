"""What every backend is: a model file that turns square uint8 photos into probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from alexnet.config import Config, Views
from alexnet.errors import AlexNetError
from alexnet.labels import Label

Precision = Literal["fp32", "fp16", "bf16", "int8"]
"""What the layers of a model file are computed in; photos and answers are the same in all."""


class BackendError(AlexNetError):
    """A model file that a backend can't run, or a request that it can't meet."""


@dataclass(frozen=True, kw_only=True)
class ArtifactInfo:
    """What a model file says of itself."""

    path: Path
    sha256: str
    config: Config
    labels: tuple[Label, ...]
    views: Views
    """The views whose answers are averaged."""
    has_features: bool
    """Whether `run_features` works."""
    provenance: Mapping[str, Any]
    """Where the weights came from, as JSON values."""
    precision: Precision = "fp32"


class Backend(Protocol):
    """Runs the deployed function of one model file. Threads may share it."""

    name: str
    """`torch`, `onnxruntime` or `tensorrt`."""
    info: ArtifactInfo

    def run(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (N, classes) of photos (N, S, S, 3), uint8 RGB; N may be 0.

        Raises:
            BackendError: `photos` has another type or shape.
        """
        ...

    def run_features(
        self, photos: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities, and fc7 after its ReLU (N, units), averaged over the views.

        Raises:
            BackendError: `photos` has another type or shape, or the file holds no features.
        """
        ...

    def close(self) -> None:
        """Free the model; it can't be run any more. Closing twice is fine."""
        ...


def check_photos(photos: NDArray[np.uint8], info: ArtifactInfo) -> None:
    """Raise a `BackendError` unless `photos` is uint8 (N, S, S, 3)."""
    side = info.config.input.size
    if not isinstance(photos, np.ndarray) or photos.dtype != np.uint8:
        kind = photos.dtype if isinstance(photos, np.ndarray) else type(photos).__name__
        raise BackendError(f"Photos must be a numpy array of uint8, not {kind}.")
    if photos.ndim != 4 or photos.shape[1:] != (side, side, 3):
        raise BackendError(
            f"Photos must have the shape (N, {side}, {side}, 3), not {photos.shape}: "
            "alexnet.photo.load_photo makes such a photo of any picture."
        )


def no_answers(info: ArtifactInfo) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The probabilities and features of a batch of no photos."""
    network = info.config.network
    return (
        np.zeros((0, network.classes), dtype=np.float32),
        np.zeros((0, network.fc7.units), dtype=np.float32),
    )


def cuda_index(device: str) -> int | None:
    """The GPU that `cuda` or `cuda:N` means; None for `cpu`.

    Raises:
        BackendError: `device` is none of these.
    """
    if device == "cpu":
        return None
    kind, _, index = device.partition(":")
    if kind != "cuda" or not (index.isdecimal() or device == "cuda"):
        raise BackendError(f"There is no device '{device}': take cpu, cuda or cuda:N.")
    return int(index or 0)
