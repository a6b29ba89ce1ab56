"""From paths to photos that can be decoded: shards and URLs are read ahead of the decoders."""

from __future__ import annotations

import os
import queue
import stat
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NoReturn

from alexnet.photo_error import MissingPhotoError, PhotoError
from serve.folders import LeftOut, is_long, open_at
from serve.remote import UrlReader, is_url, unreadable
from serve.shards import is_shard, photos_in_shard

Place = tuple[int, int]
"""Where in a listing: entries that are done, and photos of the entry after them that are done."""

START: Place = (0, 0)
_AHEAD = 32
# Seconds after which a thread looks whether it is still wanted.
_LOOK = 0.2


@dataclass(frozen=True, slots=True)
class Item:
    """A photo to be labelled."""

    path: str
    """What its row is called."""
    source: str | bytes | Callable[[], bytes]
    """A local path, bytes, or what gives the bytes or raises a `PhotoError`."""
    next: Place
    """Where the photo after it begins."""
    folders: int = 0
    """Folders of thumbnails or trash in its tar that lie between it and the photo after it; beside
    the first one also those before it."""


def items(entries: Iterable[str], *, start: Place = START, readers: int = 16) -> Generator[Item]:
    """The photos of `entries` from `start` on; of shards and URLs, `readers` are read at once."""
    done, members = start
    with closing(UrlReader(readers)) as urls:
        for number, entry in enumerate(islice(entries, done, None), done):
            if is_shard(entry):
                for path, content, folders in _counted(entry, skip=members):
                    members += 1
                    source = _failing(content) if isinstance(content, PhotoError) else content
                    yield Item(path, source, (number, members), folders)
            else:
                yield Item(entry, _source(entry, urls), (number + 1, 0))
            members = 0


def _counted(shard: str, *, skip: int) -> Iterator[tuple[str, bytes | PhotoError, int]]:
    """The pairs of a shard, each with its `Item.folders`, for which one is read ahead.

    So a run that goes on within a shard counts each of its folders once.
    """
    left_out = LeftOut()
    pairs = photos_in_shard(shard, skip=skip, left_out=left_out)
    pair = next(pairs, None)
    counted = left_out.folders if skip else 0
    while pair is not None:
        following = next(pairs, None)
        yield *pair, left_out.folders - counted
        pair, counted = following, left_out.folders


def _source(entry: str, urls: UrlReader) -> str | Callable[[], bytes]:
    if is_url(entry):
        return urls.later(entry)
    return partial(_read_long, entry) if is_long(entry) else entry


def _read_long(path: str) -> bytes:
    """The bytes of a file whose path is too long for those who open it by that.

    Raises:
        PhotoError: it can't be read.
    """
    try:
        handle = open_at(os.fsencode(path), os.O_RDONLY | os.O_NONBLOCK)  # a pipe is not waited for
        with os.fdopen(handle, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise MissingPhotoError(f"'{path}' is not a file.", code="unreadable_file")
            return file.read()
    except OSError as error:
        raise unreadable(path, error) from error


def _failing(error: PhotoError) -> Callable[[], bytes]:
    def fail() -> NoReturn:
        raise error

    return fail


class ReadAhead:
    """Runs an iterator of items in a thread, a bounded number of items ahead; to be closed."""

    def __init__(self, items: Iterable[Item], *, ahead: int = _AHEAD) -> None:
        """Start to read. Of URLs, `ahead` limits how many are read at once."""
        self._queue: queue.Queue[Item | Exception | None] = queue.Queue(ahead)
        self._closed = threading.Event()
        thread = threading.Thread(
            target=self._read, args=(items,), name="alexnet-read-ahead", daemon=True
        )
        thread.start()

    def __iter__(self) -> Iterator[Item]:
        """The items, in their order.

        Raises:
            Exception: what the iterator raised, after the items before.
        """
        while (item := self._queue.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    def close(self) -> None:
        """Stop reading."""
        self._closed.set()

    def _read(self, items: Iterable[Item]) -> None:
        try:
            for item in items:
                if not self._put(item):
                    return
            self._put(None)
        except Exception as error:
            self._put(error)

    def _put(self, item: Item | Exception | None) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=_LOOK)
            except queue.Full:
                continue
            return True
        return False
