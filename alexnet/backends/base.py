"""What every backend is: a model file that turns uint8 photos into probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from alexnet.config import Config, Views
from alexnet.errors import AlexNetError
from alexnet.labels import Label

Precision = Literal["fp32", "fp16", "bf16", "int8"]
"""What the layers of a model file are computed in; photos and answers are the same in all."""
Target = Literal["portable", "onnxruntime", "openvino", "tensorrt"]
"""The runtime that a graph was written for; every runtime may run a `portable` one."""
Mode = Literal["latency", "throughput"]
"""One call at a time on all cores, or a call on each core side by side."""


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
    target: Target = "portable"
    accuracy: Mapping[str, Any] | None = None
    """What was measured when the file was written, as JSON values (docs/results.md); else None."""


class Backend(Protocol):
    """Runs the deployed function of one model file. Threads may share it."""

    name: str
    """`torch`, `onnxruntime`, `openvino` or `tensorrt`."""
    info: ArtifactInfo
    streams: int
    """Threads that gain by calling `run` side by side: 1 in the mode `latency`, where each call
    uses all cores, and on a GPU. More may call it; they wait, or slow one another down."""

    def run(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (N, classes) of photos (N, S, S, 3), uint8 RGB; N may be 0.

        With the views `dense` photos are (N, H, W, 3), of one shape a call.

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


@runtime_checkable
class ViewsBackend(Backend, Protocol):
    """A backend that can tell the views apart; exported graphs average them inside.

    The views `dense` are none, and can't be told apart by any.
    """

    def run_views(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of each view by itself (views, N, classes), in the order of `views_of`.

        Their mean over the views is what `run` gives.

        Raises:
            BackendError: `photos` has another type or shape, or the views are `dense`.
        """
        ...


def check_photos(photos: NDArray[np.uint8], info: ArtifactInfo) -> None:
    """Raise a `BackendError` unless `photos` is uint8 (N, S, S, 3).

    For dense answers it is (N, H, W, 3) with sides of at least `input.crop`.
    """
    side, least = info.config.input.size, info.config.input.crop
    if not isinstance(photos, np.ndarray) or photos.dtype != np.uint8:
        kind = photos.dtype if isinstance(photos, np.ndarray) else type(photos).__name__
        raise BackendError(f"Photos must be a numpy array of uint8, not {kind}.")
    if info.views == "dense":
        if photos.ndim != 4 or photos.shape[3] != 3 or min(photos.shape[1:3]) < least:
            raise BackendError(
                f"Photos must have the shape (N, H, W, 3) with sides of at least {least}, not "
                f"{photos.shape}: alexnet.photo.load_photo(whole=True) makes one of any picture."
            )
        return
    if photos.ndim != 4 or photos.shape[1:] != (side, side, 3):
        raise BackendError(
            f"Photos must have the shape (N, {side}, {side}, 3), not {photos.shape}: "
            "alexnet.photo.load_photo makes such a photo of any picture."
        )


def warm_up(backend: Backend, *, batches: Sequence[int] = (1,)) -> None:
    """Run so many black photos on every stream, so that no caller pays for a first call.

    `batches`: sizes of the calls that will come.

    Raises:
        BackendError: the model can't be run.
    """
    side = backend.info.config.input.size
    with ThreadPoolExecutor(backend.streams, thread_name_prefix="alexnet-warm-up") as pool:
        for batch in batches:
            photos = np.zeros((batch, side, side, 3), dtype=np.uint8)
            list(pool.map(backend.run, [photos] * backend.streams))


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
