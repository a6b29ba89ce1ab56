"""What a backend for exported graphs is, whichever runtime computes: requests, refusals, facts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet.backends.base import ArtifactInfo, BackendError, check_photos, no_answers
from alexnet.backends.metadata import info_from_metadata, read_metadata
from alexnet.config import Views
from alexnet.files import sha256_of


class GraphBackend(ABC):
    """An `.onnx` file that `alexnet-export` wrote. Threads may share it."""

    name: str
    streams: int
    info: ArtifactInfo

    def __init__(self, path: Path, *, views: Views | None):
        """Read what the file says of itself, and load it.

        Raises:
            BackendError: it is missing, damaged or foreign, has other views, or can't be run.
        """
        self.info = info_from_metadata(read_metadata(path), path, sha256="")
        if views is not None and views != self.info.views:
            raise BackendError(
                f"{path} was exported with the views '{self.info.views}' and can't take "
                f"'{views}': export it again with --views {views}."
            )
        # Hashing 245 MB takes as long as a third of loading them, and leaves the other core free.
        with ThreadPoolExecutor(1, thread_name_prefix="alexnet-sha256") as pool:
            sha256 = pool.submit(sha256_of, path)
            self._load()
            self.info = replace(self.info, sha256=sha256.result())

    def run(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (N, classes) of uint8 photos (N, S, S, 3)."""
        check_photos(photos, self.info)
        if len(photos) == 0:
            return no_answers(self.info)[0]
        return self._outputs(photos, ["probabilities"])[0]

    def run_features(
        self, photos: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities, and fc7 after its ReLU (N, units), averaged over the views."""
        check_photos(photos, self.info)
        if not self.info.has_features:
            raise BackendError(
                f"{self.info.path} was exported without features: export it again with --features."
            )
        if len(photos) == 0:
            return no_answers(self.info)
        probabilities, features = self._outputs(photos, ["probabilities", "features"])
        return probabilities, features

    @abstractmethod
    def close(self) -> None:
        """Free the model; it can't be run any more. Closing twice is fine."""

    @abstractmethod
    def _load(self) -> None:
        """Load the graph of `info.path` into the runtime."""

    @abstractmethod
    def _outputs(self, photos: NDArray[np.uint8], names: list[str]) -> list[NDArray[np.float32]]:
        """The outputs `names` of at least one photo."""

    def _closed(self) -> BackendError:
        return BackendError(f"The model {self.info.path} is closed.")


def first_line(error: Exception) -> str:
    """The first line of what a runtime says, or the error's class where it says nothing."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
