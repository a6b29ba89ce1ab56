"""An opened model that can be timed: in this process, or in one of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from alexnet.backends import ArtifactInfo, Backend, Mode, open_backend
from alexnet.config import Views
from alexnet.console import log
from bench.interleave import Call
from bench.work import Work

COMPILED = "torch-compiled"
"""PyTorch with the network compiled, which is listed as a backend of its own here."""


def name_of(opening: Opening, backend: Backend) -> str:
    """What the backend is called in tables."""
    return COMPILED if opening.backend == COMPILED else backend.name


@dataclass(frozen=True, kw_only=True)
class Opening:
    """How a model file is opened; as the arguments of `open_backend`."""

    path: Path
    backend: str = "auto"
    views: Views | None = None
    threads: int | None = None
    device: str = "cpu"
    mode: Mode = "latency"

    def open(self) -> Backend:
        """Open it.

        Raises:
            AlexNetError: as `open_backend`.
        """
        return open_backend(
            self.path,
            backend="torch" if self.backend == COMPILED else self.backend,
            views=self.views,
            threads=self.threads,
            device=self.device,
            mode=self.mode,
            compiled=self.backend == COMPILED,
            explain=log if self.backend == "auto" else None,
        )


class Session(Protocol):
    """A model that is ready; the two kinds are `Here` and `bench.processes.Apart`."""

    name: str
    """Of its backend."""
    info: ArtifactInfo
    streams: int
    """As `Backend.streams`."""
    startup: float
    """Seconds from before it was opened until its first answer (a photo of one colour)."""

    def call(self, work: Work) -> Call:
        """What does `work` once; its time may be measured where it happens (`Took`)."""
        ...

    def peak_mib(self) -> float | None:
        """The most memory its process has had, in MiB; None where others share the process."""
        ...

    def close(self) -> None:
        """Free it."""
        ...


OpenSession = Callable[[Opening], Session]


class Here:
    """A model in this process."""

    def __init__(self, opening: Opening) -> None:
        self.backend, self.startup = open_timed(opening)
        self.name, self.info = name_of(opening, self.backend), self.backend.info
        self.streams = self.backend.streams
        self._threads = opening.threads if opening.mode == "latency" else None

    def call(self, work: Work) -> Call:
        """The call itself."""
        call, threads = work.bind(self.backend), self._threads
        if self.backend.name != "torch" or threads is None:
            return call

        def with_threads() -> object:
            import torch

            torch.set_num_threads(threads)  # which models in one process share
            return call()

        return with_threads

    def peak_mib(self) -> None:
        """None: it is not alone in this process."""

    def close(self) -> None:
        """Free the backend."""
        self.backend.close()


def open_timed(opening: Opening) -> tuple[Backend, float]:
    """A backend that has given its first answer, and the seconds that this took."""
    began = time.perf_counter()
    backend = opening.open()
    side = backend.info.config.input.size
    backend.run(np.full((1, side, side, 3), 128, np.uint8))
    return backend, time.perf_counter() - began
