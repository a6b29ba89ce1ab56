"""The line in which photos wait: first to be decoded, then to be run in a batch."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from alexnet.photo import Photo

Owner = TypeVar("Owner")


@dataclass(eq=False)
class Item(Generic[Owner]):
    """One photo on its way; moments are those of `time.monotonic`."""

    owner: Owner
    """The request that it belongs to."""
    place: int
    """Its number there."""
    data: bytes
    """The file; empty once it is decoded."""
    arrived: float
    photo: Photo | None = None
    decoding: float = 0.0
    """When it came to a decoder,"""
    decoded: float = 0.0
    """left it,"""
    running: float = 0.0
    """and came to the backend."""
    gone: bool = False
    """Nobody waits for it any more: its client went away, or its deadline has passed."""


class Line(Generic[Owner]):
    """Shared by the threads that decode and those that run; first come, first served."""

    def __init__(self, *, batch: int, wait: float, reserve: int) -> None:
        """An empty line.

        Args:
            batch: photos that are run at once, at most.
            wait: seconds for which decoded photos wait for others that are being decoded, so that
                the batch gets fuller; where no others are on their way they never wait.
            reserve: photos that are decoded ahead, at most, for the sake of memory.
        """
        self._batch, self._wait, self._reserve = batch, wait, reserve
        self._arrived: deque[Item[Owner]] = deque()
        self._decoded: deque[Item[Owner]] = deque()
        self._decoding: set[Item[Owner]] = set()
        self._stopped = False
        lock = threading.Lock()
        self._to_decode = threading.Condition(lock)
        self._to_run = threading.Condition(lock)

    @property
    def waiting(self) -> int:
        """Photos in the line, with those that are in a decoder."""
        with self._to_decode:  # a photo that moves on meanwhile would count twice, or not at all
            return len(self._arrived) + len(self._decoding) + len(self._decoded)

    def put(self, items: Sequence[Item[Owner]]) -> None:
        """Let these wait behind all others."""
        with self._to_decode:
            self._arrived.extend(items)
            self._to_decode.notify(len(items))

    def next_to_decode(self) -> Item[Owner] | None:
        """Wait for a photo to decode; None: there will be no more. `decoded` takes it back."""
        with self._to_decode:
            while not self._stopped:
                if not self._arrived or len(self._decoding) + len(self._decoded) >= self._reserve:
                    self._to_decode.wait()
                    continue
                item = self._arrived.popleft()
                if not item.gone:
                    self._decoding.add(item)
                    item.decoding = time.monotonic()
                    return item
                self._to_run.notify()  # who waits for it to come along need not any longer
        return None

    def decoded(self, item: Item[Owner], photo: Photo | None) -> None:
        """Give back what `next_to_decode` gave; None: it could not be decoded, and goes away."""
        with self._to_run:
            self._decoding.discard(item)
            item.data, item.photo, item.decoded = b"", photo, time.monotonic()
            if photo is not None and not self._stopped and not item.gone:
                self._decoded.append(item)
            else:
                self._to_decode.notify()
            self._to_run.notify()

    def next_batch(self) -> list[Item[Owner]]:
        """Wait for photos to run, as many as are there; none: there will be no more."""
        with self._to_run:
            while not self._stopped:
                patience = self._patience()
                if patience is None or patience > 0:
                    self._to_run.wait(patience)
                elif batch := self._take():
                    return batch
        return []

    def remove(self, items: Sequence[Item[Owner]]) -> None:
        """Nobody waits for these any more. What is being run is run to its end."""
        with self._to_run:
            for item in items:
                item.gone = True
            self._arrived = deque(item for item in self._arrived if not item.gone)
            self._decoded = deque(item for item in self._decoded if not item.gone)
            self._to_decode.notify(len(items))
            self._to_run.notify_all()

    def stop(self) -> list[Item[Owner]]:
        """End the waiting of all threads; the photos that will not be run, with those that are in
        a decoder."""
        with self._to_run:
            left = [*self._arrived, *self._decoding, *self._decoded]
            self._arrived.clear()
            self._decoded.clear()
            self._stopped = True
            self._to_decode.notify_all()
            self._to_run.notify_all()
        return left

    def _patience(self) -> float | None:
        """Seconds for which decoded photos wait for others to come; None: none is decoded."""
        if not self._decoded:
            return None
        alone = not self._arrived and not self._decoding
        if alone or len(self._decoded) >= self._batch:
            return 0.0
        return self._decoded[0].decoded + self._wait - time.monotonic()

    def _take(self) -> list[Item[Owner]]:
        taken: list[Item[Owner]] = []
        while self._decoded and len(taken) < self._batch:
            item = self._decoded.popleft()
            if not item.gone:
                item.running = time.monotonic()
                taken.append(item)
        self._to_decode.notify(self._batch)
        if self._decoded:
            self._to_run.notify()
        return taken
