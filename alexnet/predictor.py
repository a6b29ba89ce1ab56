"""Photos -> predictions, for any number of photos: decoded in threads while the network runs.

As many batches are in the network at once as the backend has streams; answers come in order.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from alexnet.backends.base import Backend, ViewsBackend
from alexnet.errors import AlexNetError
from alexnet.labels import Label
from alexnet.machine import cores
from alexnet.photo import MAX_PIXELS, Photo, PhotoError, Source, load_photo
from alexnet.photo_error import InternalPhotoError, NoNumbersError
from alexnet.read_ahead import LazyBytes, ReadAhead

_logger = logging.getLogger(__name__)
_NO_NUMBERS = (
    "The model gives no probabilities for this photo: its numbers overflow, or its weights are "
    "damaged."
)


@dataclass(frozen=True, kw_only=True)
class Score:
    """One class of an answer."""

    index: int
    """The class's place in the network's output."""
    label: str
    """Its WordNet id, or its folder's name."""
    name: str
    """For people."""
    probability: float
    """0-1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """The answer for one photo, or why there is none; what is not known is None."""

    scores: tuple[Score, ...] = ()
    """The most probable classes, best first; of equal ones the lower index first."""
    probabilities: npt.NDArray[np.float32] | None = None
    """Of all classes, (classes,)."""
    features: npt.NDArray[np.float32] | None = None
    """fc7 after its ReLU, (units,), where asked for."""
    views: npt.NDArray[np.float32] | None = None
    """Probabilities of each view by itself, (views, classes), where asked for."""
    width: int | None = None
    """Of the upright original, in pixels."""
    height: int | None = None
    format: str | None = None
    frames: int | None = None
    """Pictures in the file, of which the first was used."""
    error: PhotoError | None = None
    """Why there is no answer; None where there is one."""


class Predictor:
    """Answers for photos with one backend. Threads may share it, as they may share the backend."""

    def __init__(
        self,
        backend: Backend,
        *,
        decoders: int | None = None,
        batch: int | None = None,
        fast: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """Bind a backend, which stays the caller's to close.

        Args:
            backend: what runs the network.
            decoders: threads that decode for each `predict`; None: as many as this process has
                cores.
            batch: photos that the backend is given at once, at most; None: 4 on each of several
                streams, which already read the weights of fully connected layers once for 40
                crops, and 16 where there is one stream.
            fast: as in `load_photo`: faster decoding of large photos, slightly other pixels.
            max_pixels: as in `load_photo`.

        Raises:
            AlexNetError: `decoders` or `batch` is less than 1.
        """
        self.backend = backend
        self.decoders = _at_least_one("decoders", cores() if decoders is None else decoders)
        default = 4 if backend.streams > 1 else 16
        self.batch = _at_least_one("batch", default if batch is None else batch)
        self.fast = fast
        self.max_pixels = max_pixels

    def predict(
        self, photos: Iterable[Source | LazyBytes], *, top_k: int = 5, features: bool = False
    ) -> Iterator[Prediction]:
        """One prediction for each photo, in their order, while `photos` is read bit by bit.

        Photos are read before their answers are taken: two batches and one for each stream of the
        backend at most (a batch counts as `decoders` photos, if these are more), so `photos` may be
        endless. A photo that cannot be used, or that the network gives no numbers for, gives a
        prediction with `error`, and changes no other.
        What the backend raises is raised here; what `photos` raises too, after the answers for all
        photos before. Closing the iterator, or leaving it to an error, ends its threads.

        Raises:
            AlexNetError: `top_k` is less than 1, `photos` is a single photo, or the model has no
                features; at once, before the first answer is asked for.
            OutOfMemoryError: there is no memory to decode a photo.
        """
        if isinstance(photos, str | bytes | os.PathLike | Image.Image):
            raise AlexNetError(
                "predict takes several photos: pass a list of them, or call predict_one."
            )
        self._check(top_k, features)
        return self._answers(iter(photos), top_k, features)

    def predict_one(self, photo: Source, *, top_k: int = 5, features: bool = False) -> Prediction:
        """The prediction for one photo, decoded in the calling thread.

        Raises:
            AlexNetError: as `predict`; a photo that cannot be used is a prediction with `error`.
        """
        self._check(top_k, features)
        return self.run([self.load(photo)], top_k=top_k, features=features)[0]

    def _check(self, top_k: int, features: bool) -> None:
        _at_least_one("top_k", top_k)
        if features and not self.backend.info.has_features:
            raise AlexNetError(
                f"{self.backend.info.path} gives no features: export it again with --features."
            )

    def _answers(
        self, photos: Iterator[Source | LazyBytes], top_k: int, features: bool
    ) -> Iterator[Prediction]:
        decoding = ThreadPoolExecutor(self.decoders, thread_name_prefix="alexnet-decode")
        running = ThreadPoolExecutor(self.backend.streams, thread_name_prefix="alexnet-run")
        ahead = ReadAhead(photos, max(self.batch, self.decoders))
        under_way: deque[Future[list[Prediction]]] = deque()

        def fill() -> None:
            """Let every stream have a batch, and the decoders the next one."""
            ahead.fill(decoding, self.load)
            while len(under_way) < self.backend.streams and (loading := ahead.take(self.batch)):
                under_way.append(running.submit(self._answer, loading, top_k, features))
                ahead.fill(decoding, self.load)

        try:
            fill()
            while under_way:
                predictions = under_way.popleft().result()
                fill()
                yield from predictions
            if ahead.failure is not None:
                raise ahead.failure
        finally:
            decoding.shutdown(wait=False, cancel_futures=True)
            running.shutdown(cancel_futures=True)
            decoding.shutdown()

    def _answer(
        self, loading: Sequence[Future[Photo | PhotoError]], top_k: int, features: bool
    ) -> list[Prediction]:
        return self.run([future.result() for future in loading], top_k=top_k, features=features)

    def load(self, source: Source | LazyBytes) -> Photo | PhotoError:
        """The first half of an answer: a photo as the network takes it, or why it can't be used.

        A defect of ours is logged with its traceback and is this photo's `InternalPhotoError`.

        Raises:
            OutOfMemoryError: there is no memory for it.
            TypeError: `source` is none of the kinds that there are.
        """
        try:
            return self._prepare(source() if callable(source) else source)
        except PhotoError as error:
            # Tracebacks hold the photo's bytes, and answers may be kept for a whole folder.
            error.__cause__ = error.__context__ = None
            return error.with_traceback(None)

    def _prepare(self, source: Source) -> Photo:
        try:
            return load_photo(
                source,
                self.backend.info.config.input,
                whole=self.backend.info.views == "dense",
                fast=self.fast,
                max_pixels=self.max_pixels,
            )
        except AlexNetError:
            raise
        except Exception as error:
            if not isinstance(source, str | bytes | os.PathLike | Image.Image):
                raise  # a mistake of the caller's
            name = os.fspath(source) if isinstance(source, str | os.PathLike) else "a photo"
            _logger.exception("A defect of alexnet stopped %r", name)
            raise InternalPhotoError(
                "A defect of alexnet stopped this photo, and the log has the traceback. "
                "The photo may well be good: please report it."
            ) from error

    def run(
        self,
        loaded: Sequence[Photo | PhotoError],
        *,
        top_k: int = 5,
        features: bool = False,
        views: bool = False,
    ) -> list[Prediction]:
        """The second half: predictions for what `load` gave, in its order.

        The good photos are one batch; for the views `dense` one of each shape that there is.
        `views` needs a `ViewsBackend`, and leaves `features` out. Where weights or an overflow give
        what is no number, the photo's prediction has a `NoNumbersError`.
        """
        found: dict[int, Prediction] = {}
        alike: dict[tuple[int, ...], dict[int, Photo]] = {}
        for place, photo in enumerate(loaded):
            if isinstance(photo, PhotoError):
                found[place] = Prediction(error=photo)
            else:
                alike.setdefault(photo.pixels.shape, {})[place] = photo
        for places in alike.values():
            photos = list(places.values())
            predictions = self._run_alike(photos, top_k=top_k, features=features, views=views)
            found.update(zip(places, predictions, strict=True))
        return [found[place] for place in range(len(loaded))]

    def _run_alike(
        self, photos: Sequence[Photo], *, top_k: int, features: bool, views: bool
    ) -> list[Prediction]:
        """The same for photos of one shape."""
        pixels = np.stack([photo.pixels for photo in photos])
        units: npt.NDArray[np.float32] | None = None
        each: npt.NDArray[np.float32] | None = None
        if views:
            assert isinstance(self.backend, ViewsBackend)
            each = self.backend.run_views(pixels)
            answers = each.mean(0)
        elif features:
            answers, units = self.backend.run_features(pixels)
        else:
            answers = self.backend.run(pixels)
        numbers = np.isfinite(answers).all(axis=1)
        return [
            Prediction(
                scores=top_scores(answers[row], self.backend.info.labels, top_k=top_k),
                probabilities=answers[row].copy(),  # a view would keep the whole batch
                features=None if units is None else units[row].copy(),
                views=None if each is None else each[:, row].copy(),
                width=photo.width,
                height=photo.height,
                format=photo.format,
                frames=photo.frames,
            )
            if numbers[row]
            else Prediction(error=NoNumbersError(_NO_NUMBERS))
            for row, photo in enumerate(photos)
        ]


def top_scores(
    probabilities: npt.NDArray[np.float32], labels: Sequence[Label], *, top_k: int = 5
) -> tuple[Score, ...]:
    """The `top_k` most probable of the classes (all, where there are fewer), best first.

    Args:
        probabilities: (classes,).
        labels: of each class.
        top_k: at least 1. Of equal classes the lower index comes first.

    Raises:
        AlexNetError: `top_k` is less than 1.
    """
    best = np.argsort(-probabilities, kind="stable")[: _at_least_one("top_k", top_k)]
    return tuple(
        Score(
            index=index,
            label=labels[index].wnid,
            name=labels[index].name,
            probability=float(probabilities[index]),
        )
        for index in best.tolist()
    )


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise AlexNetError(f"{name} must be at least 1, not {value}.")
    return value
