"""Photos that are being decoded, in order and a bounded number ahead of the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from alexnet.photo import Photo, PhotoError, Source

LazyBytes = Callable[[], bytes]
"""A photo that is still to be read: called where photos are decoded, it may raise a PhotoError."""


class ReadAhead:
    """Photos that are being decoded, in order, never more than `limit` at a time."""

    def __init__(self, photos: Iterator[Source | LazyBytes], limit: int) -> None:
        """Bind what gives the photos; nothing is read from it yet."""
        self.failure: Exception | None = None
        """What `photos` raised; nothing is read from it after that."""
        self._photos: Iterator[Source | LazyBytes] | None = photos
        self._limit = limit
        self._loading: deque[Future[Photo | PhotoError]] = deque()

    def fill(
        self, pool: ThreadPoolExecutor, load: Callable[[Source | LazyBytes], Photo | PhotoError]
    ) -> None:
        """Read photos and start to decode them, up to the limit."""
        while self._photos is not None and len(self._loading) < self._limit:
            try:
                source = next(self._photos)
            except StopIteration:
                self._photos = None
            except Exception as error:
                self.failure, self._photos = error, None
            else:
                self._loading.append(pool.submit(load, source))

    def take(self, count: int) -> list[Future[Photo | PhotoError]]:
        """The next photos, at most `count` of them; none at the end."""
        return [self._loading.popleft() for _ in range(min(count, len(self._loading)))]
