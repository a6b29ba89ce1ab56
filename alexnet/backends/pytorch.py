"""PyTorch runs a checkpoint: the classifier itself, in evaluation mode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.backends.base import ArtifactInfo, BackendError, check_photos, cuda_index, no_answers
from alexnet.checkpoint import load_checkpoint
from alexnet.classifier import Classifier
from alexnet.config import Views
from alexnet.files import sha256_of


class TorchBackend:
    """A checkpoint on the CPU or one GPU, in float32.

    Threads may share it. What it sets is of the whole process: `threads` goes to
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
    ):
        """See `alexnet.backends.open_backend`."""
        gpu = cuda_index(device)
        if gpu is not None and gpu >= torch.cuda.device_count():
            raise BackendError(
                f"PyTorch finds {torch.cuda.device_count()} CUDA devices, so there is no "
                f"'{device}': take cpu, or install PyTorch with CUDA and a driver."
            )
        checkpoint = load_checkpoint(path)
        if threads is not None:
            torch.set_num_threads(threads)
        if gpu is not None:
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cuda.matmul.allow_tf32 = False
        self._device = torch.device(device)
        self._classifier: Classifier | None = checkpoint.classifier(views or "ten").to(self._device)
        self.info = ArtifactInfo(
            path=path,
            sha256=sha256_of(path),
            config=checkpoint.config,
            labels=checkpoint.labels,
            views=views or "ten",
            has_features=True,
            provenance=checkpoint.provenance,
        )

    def run(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (N, classes) of uint8 photos (N, S, S, 3)."""
        return self.run_features(photos)[0]

    def run_features(
        self, photos: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities, and fc7 after its ReLU (N, units), averaged over the views."""
        check_photos(photos, self.info)
        classifier = self._classifier
        if classifier is None:
            raise BackendError(f"The model {self.info.path} is closed.")
        if len(photos) == 0:
            return no_answers(self.info)
        with torch.inference_mode():
            # A copy: torch would share the caller's memory, which may be read-only.
            batch = torch.tensor(photos, device=self._device)
            probabilities, features = classifier.forward_features(batch)
            return probabilities.cpu().numpy(), features.cpu().numpy()

    def close(self) -> None:
        """Free the weights."""
        self._classifier = None
