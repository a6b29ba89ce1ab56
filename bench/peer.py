"""What a peer is: something that answers for the bytes of a photo, and what it is made from."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from alexnet.backends.base import Precision
from alexnet.child_process import environment, python_module
from alexnet.config import Config, Views
from alexnet.errors import AlexNetError
from bench.interleave import Call
from bench.photos import PhotoFile
from bench.work import Answer

BEST = 5
"""Classes of an answer."""
FILES = 32
"""Photos that peers which take many at once are given; those of the run are repeated."""


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
    call: Call
    """What is timed: it answers for the next photo, or tells the time that one photo took."""
    answers: list[Answer] | None = None
    """To the run's photos, in turns. None: it keeps none."""
    threads: int | None = None
    """That it was told to compute with."""
    views: Views = "ten"
    precision: Precision = "fp32"

    def same(self, other: Peer) -> bool:
        """Whether the other computes the same network on the same views."""
        both = self.answers is not None and other.answers is not None
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
    command = python_module(room, *map(str, arguments))
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise AlexNetError(f"alexnet-{room} {arguments[0]}: {lines[-1]}")


def difference(one: Answer, other: Answer) -> float:
    """The largest difference of two answers' probabilities, place by place and class by class.

    Place by place, because classes that are nearly equal may change places; and of the classes that
    both name. Of an answer that names all classes and one that names the best, it is that of these.
    """
    places = [abs(p - q) for (_, p), (_, q) in zip(one, other, strict=False)]
    named = dict(other)
    classes = [abs(p - named[index]) for index, p in one if index in named]
    if not classes:
        return 1.0
    return max(places + classes)
