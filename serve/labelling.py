"""Labelling photos without a service: from files to rows, one photo after the other."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from alexnet.backends import open_backend
from alexnet.config import Views
from alexnet.console import progress
from alexnet.errors import AlexNetError
from alexnet.machine import share_cores
from alexnet.photo import MAX_PIXELS
from alexnet.predictor import Predictor
from serve.inputs import photo_paths
from serve.records import Format, RowMaker, open_writer


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """What to label, with what, and where the rows go."""

    inputs: Sequence[str]
    """Files, folders and globs, as `serve.inputs.photo_paths` takes them."""
    output: Path | None
    """None is stdout."""
    format: Format = "csv"
    model: Path | None = None
    """None is the model that ships."""
    backend: str = "auto"
    views: Views | None = None
    device: str = "cpu"
    threads: int | None = None
    top_k: int | None = None
    """None is 5, or every class of a model that has fewer."""
    names: bool = False
    batch: int = 16
    decoders: int | None = None
    """Photos decoded at once; None is one per core."""
    fast: bool = False
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True)
class Outcome:
    """What became of the photos."""

    labelled: int
    failed: int
    seconds: float
    """From the first photo to the last row; loading the model is not in it."""


def label(task: Labelling, *, total: int) -> Outcome:
    """Label every photo of `task` and write the rows in the order of the inputs.

    `total`, the number of photos, is for the progress bar alone. Memory does not grow with it. A
    photo that can't be read gets a row that says why, and changes no other photo's row.

    Raises:
        AlexNetError: the inputs, the model or the output; nothing is written then.
    """
    with progress("Loading the model", total=None, unit=""):
        share_cores()
        backend = open_backend(
            task.model,
            backend=task.backend,
            views=task.views,
            threads=task.threads,
            device=task.device,
        )
    top_k = _top_k(task.top_k, classes=len(backend.info.labels))
    rows = RowMaker(backend, top_k, task.names)
    predictor = Predictor(
        backend,
        decoders=task.decoders,
        batch=task.batch,
        fast=task.fast,
        max_pixels=task.max_pixels,
    )
    failed = done = 0
    with (
        open_writer(task.output, rows.columns(), format=task.format) as write,
        progress("Labelling", total=total, unit="photos") as bar,
    ):
        start = time.perf_counter()
        paths = _Remembered(photo_paths(task.inputs))
        for prediction in predictor.predict(paths, top_k=top_k):
            write(rows.row(paths.oldest(), prediction))
            done += 1
            bar.advance()
            if prediction.error is not None:
                failed += 1
                bar.note(f"{failed:,} failed")
    seconds = time.perf_counter() - start
    backend.close()
    return Outcome(done - failed, failed, seconds)


class _Remembered:
    """Passes paths on, and keeps each one until its answer has come: no more than are under way."""

    def __init__(self, paths: Iterable[Path]):
        self._paths = paths
        self._passed: deque[Path] = deque()

    def __iter__(self) -> Iterator[Path]:
        for path in self._paths:
            self._passed.append(path)
            yield path

    def oldest(self) -> Path:
        """The path whose answer is due; it is forgotten."""
        return self._passed.popleft()


def _top_k(wanted: int | None, *, classes: int) -> int:
    if wanted is None:
        return min(5, classes)
    if wanted > classes:
        raise AlexNetError(f"The model has {classes} classes: --top-k can be {classes} at most.")
    return wanted
