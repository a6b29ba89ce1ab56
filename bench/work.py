"""What one timed call does with a model: its network alone, a query, or a pass over many photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Protocol

import numpy as np

from alexnet.backends import Backend
from alexnet.photo import load_photo
from alexnet.predictor import Prediction, Predictor, Score
from bench.interleave import Call

Answer = list[tuple[int, float]]
"""Classes with their probabilities, best first: all of them, or those that are named."""


def answer_of(scores: Sequence[Score]) -> Answer:
    """The same, as plain numbers."""
    return [(score.index, score.probability) for score in scores]


class Work(Protocol):
    """Makes calls; can be sent to another process."""

    def bind(self, backend: Backend) -> Call:
        """A call that does it once."""
        ...


@dataclass(frozen=True)
class Network:
    """The network on photos that are decoded and resized already."""

    photos: Sequence[bytes]
    batch: int
    """Photos in a call; `photos` again and again, where they are fewer."""

    def bind(self, backend: Backend) -> Call:
        """`backend.run` on the same photos each time; dense, on those of the first one's shape."""
        config, whole = backend.info.config.input, backend.info.views == "dense"
        loaded = [load_photo(photo, config, whole=whole).pixels for photo in self.photos]
        alike = [pixels for pixels in loaded if pixels.shape == loaded[0].shape]
        batch = np.stack([alike[n % len(alike)] for n in range(self.batch)])
        return lambda: backend.run(batch)


@dataclass(frozen=True)
class Query:
    """From the bytes of `batch` photos to their answers, as a program that has them would."""

    photos: Sequence[bytes]
    batch: int
    fast: bool = False
    """As in `alexnet.photo.load_photo`."""

    def predictions(self, backend: Backend) -> Iterator[Prediction]:
        """Of each photo once, in their order."""
        predictor = Predictor(backend, batch=self.batch, fast=self.fast)
        return predictor.predict(self.photos, top_k=backend.info.config.network.classes)

    def bind(self, backend: Backend) -> Call:
        """A query for the next photos, in turns."""
        predictor = Predictor(backend, batch=self.batch, fast=self.fast)
        turn = cycle(self.photos)
        if self.batch == 1:
            return lambda: predictor.predict_one(next(turn))
        return lambda: list(predictor.predict([next(turn) for _ in range(self.batch)]))


@dataclass(frozen=True)
class Pass:
    """All photos at once, from their bytes to their answers, decoded while the network runs."""

    photos: Sequence[bytes] | Sequence[Path]
    count: int
    """Photos of a pass; `photos` again and again, where they are fewer."""
    batch: int
    """Photos that the backend is given at once."""
    fast: bool = False

    def predictions(self, backend: Backend) -> Iterator[Prediction]:
        """Of all photos of a pass, with all classes."""
        predictor = Predictor(backend, batch=self.batch, fast=self.fast)
        return predictor.predict(self._all(), top_k=backend.info.config.network.classes)

    def bind(self, backend: Backend) -> Call:
        """A whole pass."""
        predictor = Predictor(backend, batch=self.batch, fast=self.fast)

        def run() -> None:
            for _ in predictor.predict(self._all()):
                pass  # answers are not kept, as where they are written to a file

        return run

    def _all(self) -> Iterator[bytes | Path]:
        return islice(cycle(self.photos), self.count)


@dataclass(frozen=True)
class Answers:
    """What a query for each photo or a pass answers, with all classes: to be looked at."""

    work: Query | Pass

    def bind(self, backend: Backend) -> Callable[[], list[Answer]]:
        """A list in the order of the photos. Raises PhotoError where one can't be read."""

        def answers() -> list[Answer]:
            found = []
            for prediction in self.work.predictions(backend):
                if prediction.error is not None:
                    raise prediction.error
                found.append(answer_of(prediction.scores))
            return found

        return answers
