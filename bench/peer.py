"""What a peer is: something that answers for the bytes of a photo, and what it is made from."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet.backends.base import Precision
from alexnet.config import Config, Views
from alexnet.errors import AlexNetError
from bench.interleave import Call
from bench.photos import PhotoFile

BEST = 5
"""Classes of an answer."""
FILES = 32
"""Photos that peers which take many at once are given; those of the run are repeated."""

Answer = list[tuple[int, float]]
"""The most probable classes with their probabilities, best first."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One way from the bytes of a photo to its answer."""

    name: str
    part: str
    """Of `bench.peers.PARTS`."""
    what: str
    """For people."""
    config: Config
    """Of the network that it runs."""
    answer: Callable[[bytes], Answer] | None = None
    """Raises AlexNetError where it fails. None: it works on folders only."""
    folder: Callable[[], None] | None = None
    """Answers for all `FILES` photos of a folder, one view each."""
    timed: Call | None = None
    """Timed in place of `answer` or `folder`: the same work in a process of its own."""
    views: Views = "ten"
    precision: Precision = "fp32"

    def same(self, other: Peer) -> bool:
        """Whether the other computes the same network on the same views."""
        both = self.answer is not None and other.answer is not None
        return both and self.config == other.config and self.views == other.views


@dataclass(kw_only=True)
class Setup:
    """What peers are opened with."""

    checkpoint: Path
    folder: Path
    """For what they write."""
    photos: Sequence[PhotoFile]
    threads: int | None = None
    _graphs: dict[tuple[str, ...], Path] = field(default_factory=dict)

    def graph(self, *options: str) -> Path:
        """The checkpoint as `alexnet-export onnx` writes it with `options`, written once.

        Raises:
            AlexNetError: the command refuses; the sentence is its own.
        """
        if options not in self._graphs:
            path = self.folder / ("-".join(("model", *options)).replace("--", "") + ".onnx")
            run_room("export", "onnx", self.checkpoint, "-o", path, *options)
            self._graphs[options] = path
        return self._graphs[options]


def run_room(room: str, *arguments: object) -> None:
    """Run another command of this project, which this room may not import.

    Raises:
        AlexNetError: it fails; the sentence is its last line.
    """
    command = [sys.executable, "-m", room, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise AlexNetError(f"alexnet-{room} {arguments[0]}: {lines[-1]}")


def best(probabilities: NDArray[np.float32]) -> Answer:
    """The answer that probabilities (classes,) give; of equal ones the lower index first."""
    order = np.argsort(-probabilities, kind="stable")[:BEST]
    return [(int(index), float(probabilities[index])) for index in order]


def difference(one: Answer, other: Answer) -> float:
    """The largest difference of two answers' probabilities, place by place and class by class.

    Place by place, because classes that are nearly equal may change places; and of the classes that
    both name.
    """
    places = [abs(p - q) for (_, p), (_, q) in zip(one, other, strict=True)]
    named = dict(other)
    classes = [abs(p - named[index]) for index, p in one if index in named]
    if not classes:
        return 1.0
    return max(places + classes)
