"""Photos of many requests, answered together: decoded in threads, run in small batches.

Decoders take photos in the order they came; a thread for each of the backend's streams takes what
is decoded as soon as it is free. The event loop is woken once for all answers of a batch, and alone
keeps the books of the requests, so that a photo changes hands three times and no more.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from alexnet.backends.base import Backend
from alexnet.machine import cores
from alexnet.photo import OutOfMemoryError, Photo
from alexnet.predictor import Prediction, Predictor
from serve.line import Item, Line
from serve.observer import Observer, Silent
from serve.pace import Pace
from serve.problems import backend_failed, overloaded, shutting_down, too_slow
from serve.settings import Settings

# Batches in a row that failed, from which on the backend counts as broken.
_BROKEN = 3
_NO_MEMORY = "The service has no memory for this photo now: try again later, or send a smaller one."
_logger = logging.getLogger("alexnet.serve")


@dataclass(frozen=True, kw_only=True)
class Answers:
    """One prediction for each photo of a request, and where the time went, in seconds.

    The times are those of the photo that was answered last: their sum is the whole time.
    """

    predictions: list[Prediction]
    decode: float
    """In a decoder."""
    wait: float
    """For a decoder, for other photos, and for the backend."""
    run: float
    """In the backend, together with the rest of its batch."""


@dataclass(eq=False)
class _Request:
    """The photos of one request; only the event loop's thread touches it."""

    future: asyncio.Future[Answers]
    top_k: int
    photos: int
    each_view: bool
    predictions: dict[int, Prediction] = field(default_factory=dict)


class Batcher:
    """Answers the photos of any number of requests with one backend."""

    def __init__(
        self, backend: Backend, settings: Settings, *, observer: Observer | None = None
    ) -> None:
        """Start the threads, for the running event loop.

        The backend stays the caller's to close, after `close`.
        """
        self._loop = asyncio.get_running_loop()
        self._predictor = Predictor(
            backend, fast=settings.decode == "fast", max_pixels=settings.max_pixels
        )
        self._settings = settings
        self._observer = observer or Silent()
        self._pace = Pace()
        self._failures = 0
        self._closing = False
        self._running: dict[int, float] = {}
        decoders, streams = cores(), max(1, backend.streams)
        self._line: Line[_Request] = Line(
            batch=settings.batch,
            wait=settings.wait,
            reserve=settings.batch * streams + decoders,
        )
        self._threads = [
            threading.Thread(target=work, name=f"alexnet-{name}-{number}", daemon=True)
            for work, name, count in (
                (self._decode, "decode", decoders),
                (self._run, "run", streams),
            )
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def healthy(self) -> bool:
        """False once the backend failed several times in a row, until it answers again."""
        return self._failures < _BROKEN

    @property
    def waiting(self) -> int:
        """Photos that are decoded or wait for it, or for the backend."""
        return self._line.waiting

    @property
    def idle(self) -> bool:
        """Whether no photo waits or is being run."""
        return not self.waiting and not self._running

    def stuck(self, seconds: float) -> bool:
        """Whether the backend has been busy with one batch for longer than that."""
        now = time.monotonic()
        return now - min(self._running.copy().values(), default=now) > seconds

    def check_room(self, photos: int = 1) -> None:
        """Raise the problem that `answer` would raise for so many photos.

        Where nothing else waits there is room for any request.

        Raises:
            Problem: the queue is full, or the service is about to end.
        """
        if self._closing:
            raise shutting_down()
        waiting = self.waiting
        if waiting and waiting + photos > self._settings.queue:
            raise overloaded(
                f"{waiting} photos wait already: try again later.",
                retry_after=self._pace.seconds(waiting),
            )

    async def answer(
        self, photos: Sequence[bytes], *, top_k: int, deadline: float, each_view: bool = False
    ) -> Answers:
        """The predictions for the photos of one request; that of a bad photo has an `error`.

        Cancelling this takes the photos out of the line.

        Args:
            photos: at least one.
            top_k: at least 1.
            deadline: the moment (of `time.monotonic`) from which on nobody wants the answer.
            each_view: let predictions have `views`, which takes a `ViewsBackend`.

        Raises:
            Problem: there is no room, the deadline passes, or the backend fails.
        """
        self.check_room(len(photos))
        request = _Request(self._loop.create_future(), top_k, len(photos), each_view)
        now = time.monotonic()
        items = [Item(request, place, data, now) for place, data in enumerate(photos)]
        self._line.put(items)
        self._observer.queue(self.waiting)
        try:
            async with asyncio.timeout(deadline - now):
                return await request.future
        except TimeoutError:
            raise too_slow(self._settings.timeout) from None
        finally:
            if len(request.predictions) < len(photos):
                self._line.remove(items)
            self._observer.queue(self.waiting)

    def stop_accepting(self) -> None:
        """Refuse new requests from now on; those accepted are answered."""
        self._closing = True

    def close(self, *, deadline: float) -> list[str]:
        """End the threads; requests that still wait are told that the service ends.

        May be called in any thread, and takes no longer than until `deadline` (of
        `time.monotonic`), however many threads do not come back.

        Returns:
            The names of those that did not: they may use the backend still.
        """
        self.stop_accepting()
        self._tell(self._fail, self._line.stop(), shutting_down())
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return [thread.name for thread in self._threads if thread.is_alive()]

    def _decode(self) -> None:
        """What a decoder's thread does."""
        while (item := self._line.next_to_decode()) is not None:
            try:
                self._decode_one(item)
            except OutOfMemoryError as error:
                _logger.error("%s", error)
                self._line.decoded(item, None)
                self._tell(self._fail, [item], overloaded(_NO_MEMORY))
            except Exception as error:  # a defect of ours, and this request's alone
                self._line.decoded(item, None)
                self._tell(self._fail, [item], error)
            self._observer.spent("decode", item.decoded - item.decoding)
            item = None  # the thread may sleep now, and should hold no photo

    def _decode_one(self, item: Item[_Request]) -> None:
        loaded = self._predictor.load(item.data)
        if isinstance(loaded, Photo):
            self._line.decoded(item, loaded)
        else:
            self._line.decoded(item, None)
            self._tell(self._settle, [item], [Prediction(error=loaded)])

    def _run(self) -> None:
        """What a stream's thread does."""
        while batch := self._line.next_batch():
            self._observer.batch(len(batch))
            self._observer.queue(self.waiting)
            self._running[threading.get_ident()] = batch[0].running
            predictions: list[Prediction] | None = None
            try:
                predictions = self._predictor.run(
                    [item.photo for item in batch if item.photo is not None],
                    top_k=max(item.owner.top_k for item in batch),
                    views=any(item.owner.each_view for item in batch),
                )
            except Exception:
                _logger.exception("The backend failed with a batch of %s", len(batch))
            del self._running[threading.get_ident()]
            self._give_back(batch, predictions)
            ended = time.monotonic()
            for item in batch:
                self._observer.spent("run", ended - item.running)
                self._observer.spent("wait", _waited(item))
            batch = []  # the thread may sleep now, and should hold no photos

    def _give_back(
        self, batch: Sequence[Item[_Request]], predictions: Sequence[Prediction] | None
    ) -> None:
        """Tell each photo's request its answer, or that there is none."""
        found = dict(zip(batch, predictions, strict=True)) if predictions is not None else {}
        # What was decoded has an error only where the network gives no numbers for it.
        lost = [item for item in batch if item not in found or found[item].error]
        if predictions is not None and lost:
            _logger.error("The backend gave no numbers for %s of %s photos", len(lost), len(batch))
        good = [item for item in batch if item not in lost]
        self._failures = 0 if good else self._failures + 1
        if lost:
            self._tell(self._fail, lost, backend_failed())
        if good:
            self._tell(self._settle, good, [found[item] for item in good])

    def _tell(self, what: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left who waits
            self._loop.call_soon_threadsafe(what, *arguments)

    # What follows runs in the event loop's thread.

    def _settle(self, items: Sequence[Item[_Request]], predictions: list[Prediction]) -> None:
        """Enter the answers of photos, and finish the requests of which they were the last."""
        ended = time.monotonic()
        if items[0].running:
            self._pace.note(len(items), arrived=items[0].arrived, ended=ended)
        for item, prediction in zip(items, predictions, strict=True):
            request = item.owner
            if len(prediction.scores) > request.top_k:  # of a batch with one that asked for more
                prediction = replace(prediction, scores=prediction.scores[: request.top_k])
            request.predictions[item.place] = prediction
            item.photo = None
            if len(request.predictions) == request.photos and not request.future.done():
                request.future.set_result(
                    Answers(
                        predictions=[request.predictions[at] for at in range(request.photos)],
                        decode=item.decoded - item.decoding,
                        wait=_waited(item),
                        run=ended - item.running if item.running else 0.0,
                    )
                )

    def _fail(self, items: Sequence[Item[_Request]], error: Exception) -> None:
        """End the requests of these photos; what else they sent need not be answered."""
        for request in {item.owner for item in items}:
            if not request.future.done():
                request.future.set_exception(error)


def _waited(item: Item[_Request]) -> float:
    """Seconds outside a decoder, from arrival to the backend, or to the end of a bad photo."""
    return (item.running or item.decoded) - item.arrived - (item.decoded - item.decoding)
