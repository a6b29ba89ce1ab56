"""PyTorch runs a checkpoint: the classifier itself, in evaluation mode."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.backends.base import (
    ArtifactInfo,
    BackendError,
    Mode,
    check_photos,
    cuda_index,
    no_answers,
)
from alexnet.backends.graph import first_line
from alexnet.backends.threads import within_cores
from alexnet.checkpoint import load_checkpoint
from alexnet.classifier import Classifier
from alexnet.config import Views
from alexnet.dense import DenseClassifier
from alexnet.files import sha256_of
from alexnet.machine import cores

Answers = tuple[NDArray[np.float32], NDArray[np.float32]]


class TorchBackend:
    """A checkpoint on the CPU or one GPU, in float32.

    Threads may share it. What it sets is of the whole process: threads of a run go to
    `torch.set_num_threads`, and opening it on a GPU turns TF32 off, which rounds inputs to 10 bits.
    """

    name = "torch"

    def __init__(
        self,
        path: Path,
        *,
        views: Views | None = None,
        threads: int | None = None,
        device: str = "cpu",
        mode: Mode = "latency",
        compiled: bool = False,
    ):
        """See `alexnet.backends.open_backend`."""
        gpu = cuda_index(device)
        if gpu is not None and gpu >= torch.cuda.device_count():
            raise BackendError(
                f"PyTorch finds {torch.cuda.device_count()} CUDA devices, so there is no "
                f"'{device}': take cpu, or install PyTorch with CUDA and a driver."
            )
        if compiled and views == "dense":
            raise BackendError(
                "The network is compiled for photos of one shape, and dense answers are of any: "
                "take the views ten or centre, or run it uncompiled."
            )
        if compiled:
            _check_compiler(gpu)
        checkpoint = load_checkpoint(path)
        side_by_side = mode == "throughput" and gpu is None and not compiled
        self.streams = (threads or cores()) if side_by_side else 1
        if gpu is None and not side_by_side:
            threads = within_cores(threads, own=torch.get_num_threads())
        if side_by_side or threads is not None:
            torch.set_num_threads(1 if side_by_side else threads or 1)
        if gpu is not None:
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cuda.matmul.allow_tf32 = False
        classifier = checkpoint.deployed(views or "ten").to(device)
        self.info = ArtifactInfo(
            path=path,
            sha256=sha256_of(path),
            config=checkpoint.config,
            labels=checkpoint.labels,
            views=views or "ten",
            has_features=True,
            provenance=checkpoint.provenance,
        )
        self._device = torch.device(device)
        self._classifier: Classifier | DenseClassifier | None = classifier
        self._forward: _Eager | _Compiled | None = (
            _Compiled(classifier) if compiled else _Eager(classifier, self._device)
        )

    def run(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (N, classes) of uint8 photos (N, S, S, 3)."""
        return self.run_features(photos)[0]

    def run_features(
        self, photos: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities, and fc7 after its ReLU (N, units), averaged over the views."""
        check_photos(photos, self.info)
        forward = self._forward
        if forward is None:
            raise BackendError(f"The model {self.info.path} is closed.")
        if len(photos) == 0:
            return no_answers(self.info)
        return forward(photos)

    def run_views(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of each view by itself (views, N, classes), never compiled."""
        check_photos(photos, self.info)
        classifier = self._classifier
        if classifier is None:
            raise BackendError(f"The model {self.info.path} is closed.")
        if isinstance(classifier, DenseClassifier):
            raise BackendError("Dense answers have no views to tell apart: take the views ten.")
        if len(photos) == 0:
            return np.zeros((len(classifier.views), *no_answers(self.info)[0].shape), np.float32)
        with torch.inference_mode():
            batch = torch.tensor(photos, device=self._device)
            views: NDArray[np.float32] = classifier.forward_views(batch).cpu().numpy()
            return views

    def close(self) -> None:
        """Free the weights."""
        self._classifier = None
        forward, self._forward = self._forward, None
        if forward is not None:
            forward.close()


class _Eager:
    """A classifier as it is: each operator by itself."""

    def __init__(self, classifier: Classifier | DenseClassifier, device: torch.device) -> None:
        self._classifier, self._device = classifier, device

    def __call__(self, photos: NDArray[np.uint8]) -> Answers:
        """Probabilities and features of uint8 photos (N, S, S, 3)."""
        with torch.inference_mode():
            # A copy: torch would share the caller's memory, which may be read-only.
            batch = torch.tensor(photos, device=self._device)
            probabilities, features = self._classifier.forward_features(batch)
            return probabilities.cpu().numpy(), features.cpu().numpy()

    def close(self) -> None:
        """Nothing of its own to free."""


class _Compiled:
    """A classifier whose kernels TorchInductor made, with the weights as constants.

    Kernels are of one batch size. There are two: photos go in fours, and what is left one by one.
    All calls run in one thread: TorchInductor compiles anew for a thread with other settings.
    """

    SIZES = (4, 1)

    def __init__(self, classifier: Classifier | DenseClassifier) -> None:
        """Compile for both sizes.

        Raises:
            BackendError: TorchInductor can't compile here.
        """
        self._compiled = torch.compile(
            classifier.forward_features, dynamic=False, options={"freezing": True}
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="alexnet-compiled")
        side = classifier.config.input.size
        try:
            for size in self.SIZES:
                self(np.zeros((size, side, side, 3), dtype=np.uint8))
        except (RuntimeError, OSError) as error:
            self.close()
            raise BackendError(
                f"PyTorch can't compile the network here: {first_line(error)} Run it uncompiled."
            ) from error

    def __call__(self, photos: NDArray[np.uint8]) -> Answers:
        """Probabilities and features of uint8 photos (N, S, S, 3)."""
        return self._thread.submit(self._run, photos).result()

    def _run(self, photos: NDArray[np.uint8]) -> Answers:
        parts, start = [], 0
        with torch.no_grad():  # in inference mode, weights would not become constants
            while start < len(photos):
                size = self.SIZES[0] if len(photos) - start >= self.SIZES[0] else 1
                parts.append(self._compiled(torch.tensor(photos[start : start + size])))
                start += size
        probabilities, features = zip(*parts, strict=True)
        return torch.cat(probabilities).numpy(), torch.cat(features).numpy()

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()


def _check_compiler(gpu: int | None) -> None:
    if gpu is not None:
        raise BackendError("The network is compiled for the CPU only: take the device cpu.")
    if not (shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")):
        raise BackendError(
            "Compiling the network needs a C++ compiler, and there is none: install g++, or run it "
            "without compiling."
        )
