"""Photos and shards behind URLs, through fsspec: s3://, gs://, https:// and whatever it knows."""

from __future__ import annotations

import io
import os
import queue
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import FrameType
from typing import IO, Any, cast
from urllib.parse import quote, unquote

from alexnet.errors import optional_import
from alexnet.junk import is_junk
from alexnet.photo_error import MissingPhotoError, PhotoError
from serve.folders import InputError, LeftOut, is_photo_name
from serve.web import WebError, WebFile, fetch, is_web, sendable

MAX_BYTES = 512 * 2**20
"""Bytes of a photo in a shard or behind an http URL; a local file is read whatever its size."""

_URL = re.compile(r"([a-z][a-z0-9+.-]*::)*[a-z][a-z0-9+.-]+://|file:/", re.IGNORECASE)
# file:///a.jpg, and as some programs write it file://localhost/a.jpg and file:/a.jpg.
_FILE = re.compile(r"file:(//localhost(?=/)|//|(?=/))", re.IGNORECASE)
_TRIES, _PAUSE = 3, 0.5
# Errors that do not pass.
_LASTING = FileNotFoundError | PermissionError | ImportError | ValueError
# Seconds after which who waits for a URL looks whether the run still goes on.
_LOOK = 0.2
# Whether the run that is under way was interrupted: each run has one of its own, which those keep
# that wait for its URLs.
_given_up = threading.Event()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT and SIGTERM end a run that waits for URLs, and let it clean up.

    Both raise a KeyboardInterrupt; nobody waits for a URL from then to the end of the block. Call
    it in the main thread.
    """
    global _given_up
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _given_up = threading.Event()  # the process may begin another run


def _interrupt(number: int, frame: FrameType | None) -> None:
    _given_up.set()
    signal.default_int_handler(number, frame)


def is_url(text: str) -> bool:
    """Whether `text` names something behind a URL: `s3://bucket/key`, also `zip::s3://...`."""
    return _URL.match(text) is not None


def local_path(url: str) -> str | None:
    """The path that a `file:` URL names, its escapes undone; None for any other URL."""
    start = _FILE.match(url)
    if start is None:
        return None
    raw = url[start.end() :]
    path = unquote(raw, errors="surrogateescape")
    # Some programs do not escape what they write: then a file has the very name.
    return raw if os.path.lexists(raw) and not os.path.lexists(path) else path


def _address(name: str, files: Any) -> str:
    """The URL of what a store calls `name`."""
    url = cast(str, files.unstrip_protocol(name))
    start = _FILE.match(url)
    return url if start is None else "file://" + quote(os.fsencode(url[start.end() :]))


def photos_behind(url: str, left_out: LeftOut) -> Iterator[str]:
    """What a URL on the command line means: one file, a folder's photos, or a glob's files.

    Folders and globs are those of object stores and file systems, sorted by their names; an http
    URL is always one file, for which a row comes even if it is not there.

    Raises:
        InputError: there is no such kind of URL, its package is not installed, the place can't be
            listed, or a glob matches nothing.
    """
    try:
        files, path = _opened(url)
    except (ImportError, ValueError) as error:  # no such package, no such kind of URL
        raise InputError(f"{url} can't be read: {_reason(error)}.") from error
    if is_web(url):
        yield url
        return
    # What lies in an archive is named with it: zip://a.jpg::s3://bucket/photos.zip.
    archive = "".join(url.partition("://")[2].partition("::")[1:])
    try:
        if any(character in path for character in "*?["):
            found = sorted(_matches(files, path, left_out))
            if not found:
                raise InputError(f"No file matches {url}.")
            yield from (_address(name, files) + archive for name in found)
        elif files.isdir(path):
            yield from (name + archive for name in _inside(files, path, left_out))
        else:
            yield url
    except InputError:
        raise
    except Exception as error:  # each kind of store has errors of its own
        raise InputError(f"{url} can't be listed: {_reason(error)}.") from error


def _matches(files: Any, pattern: str, left_out: LeftOut) -> Iterator[str]:
    """The files of a store that fit a glob; what `alexnet.junk` knows has to be named as itself."""
    named = set(pattern.split("/"))
    passed = set()
    for name, entry in files.glob(pattern, detail=True).items():
        parts = [part for part in name.split("/") if part]
        junk = [n for n, part in enumerate(parts) if is_junk(part) and part not in named]
        if junk:
            passed.add("/".join(parts[: junk[0] + 1]) if junk[0] < len(parts) - 1 else "")
        elif entry["type"] != "directory":
            yield name
    left_out.folders += len(passed - {""})


def _inside(files: Any, folder: str, left_out: LeftOut) -> Iterator[str]:
    """The photos in a store's folder and in those below, sorted."""
    waiting = _names(files, folder)
    while waiting:
        name = waiting.pop()
        last = name.rstrip("/").rpartition("/")[2]
        if not name.endswith("/"):
            if is_photo_name(last):
                yield _address(name, files)
        elif is_junk(last):
            left_out.folders += 1
        else:
            waiting += _names(files, name.rstrip("/"))


def _names(files: Any, folder: str) -> list[str]:
    """What a folder holds, the first name last; that of a folder ends with a slash."""
    entries = files.ls(folder, detail=True)
    names = {one["name"].rstrip("/") + "/" * (one["type"] == "directory") for one in entries}
    # An object store may list a folder in itself.
    return sorted((n for n in names if n.strip("/") != folder.strip("/")), reverse=True)


def read_url(url: str) -> bytes:
    """The bytes of a photo behind a URL. What may pass, such as a broken line, is tried again.

    Raises:
        PhotoError: it can't be read, or has more than `MAX_BYTES`.
    """
    for number in range(_TRIES):
        try:
            return _read(url)
        except PhotoError:
            raise
        except Exception as error:
            if isinstance(error, WebError | _LASTING) or number == _TRIES - 1:
                raise unreadable(url, error) from error
            time.sleep(_PAUSE * 2**number)
    raise AssertionError("the last try returns or raises")


def _read(url: str) -> bytes:
    files, path = _opened(url)
    if not is_web(url):
        return cast(bytes, files.cat_file(path))
    # fsspec's own reading of a web address has no limit, and its opening asks twice.
    sync: Any = optional_import("fsspec.asyn").sync
    data = cast(bytes, sync(files.loop, _fetch, files, path))
    if len(data) > MAX_BYTES:
        raise too_large(url)
    return data


async def _fetch(files: Any, url: str) -> bytes:
    return await fetch(await files.set_session(), url, limit=MAX_BYTES, **files.kwargs)


def open_url(url: str) -> IO[bytes]:
    """A file behind a URL, to read from its beginning.

    Raises:
        PhotoError: it can't be opened.
    """
    try:
        files, path = _opened(url)
        if is_web(url):
            return io.BufferedReader(WebFile(files, path), 2**16)
        return cast(IO[bytes], files.open(path, "rb"))
    except Exception as error:
        raise unreadable(url, error) from error


def unreadable(name: str, error: Exception) -> PhotoError:
    """The sentence for whatever went wrong while `name` was read."""
    if isinstance(error, MemoryError):
        raise error  # the fault is not the file's
    if isinstance(error, FileNotFoundError):
        return MissingPhotoError(f"There is no file '{name}'.")
    return MissingPhotoError(f"'{name}' cannot be read: {_reason(error)}.", code="unreadable_file")


def too_large(name: str) -> PhotoError:
    """The sentence for a file of more than `MAX_BYTES`."""
    limit = MAX_BYTES // 2**20
    return PhotoError(f"'{name}' has more than {limit} MB: no photo.", code="file_too_large")


def _opened(url: str) -> tuple[Any, str]:
    fsspec = optional_import("fsspec")
    # A listing that fsspec keeps would grow with every folder.
    options: dict[str, Any] = {"use_listings_cache": False}
    before, _, last = url.rpartition("::")
    if is_web(last):
        # By default a whole file may take five minutes, which a shard can exceed: let no single
        # step take a minute instead.
        timeout = optional_import("aiohttp").ClientTimeout(
            total=None, sock_connect=30, sock_read=60
        )
        web = {
            "client_kwargs": {"timeout": timeout, "requote_redirect_url": False},
            "encoded": True,
        }
        options = web if not before else {last.partition(":")[0].lower(): web}
        url = f"{before}::{sendable(last)}" if before else url
    elif (path := local_path(url)) is not None:
        return fsspec.filesystem("file", **options), os.path.abspath(path)  # noqa: PTH100
    return cast(tuple[Any, str], fsspec.core.url_to_fs(url, **options))


def _reason(error: Exception) -> str:
    if isinstance(error, WebError):
        return str(error)
    if status := getattr(error, "status", None):  # of a web server
        return f"the server answers {status} {getattr(error, 'message', '')}".rstrip()
    strerror = error.strerror if isinstance(error, OSError) else None
    text = (strerror or str(error)).strip().splitlines()
    return text[0].rstrip(".") if text else type(error).__name__


class UrlReader:
    """Reads URLs in threads of its own, which do not keep a finished program waiting."""

    def __init__(self, readers: int) -> None:
        """`readers`: URLs that are read at once."""
        self._readers = readers
        self._waiting: queue.SimpleQueue[tuple[str, Future[bytes]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def later(self, url: str) -> Callable[[], bytes]:
        """Begin to read; the result waits for the bytes, or raises what `read_url` raised."""
        if len(self._threads) < self._readers:
            thread = threading.Thread(target=self._work, name="alexnet-read", daemon=True)
            self._threads.append(thread)
            thread.start()
        future: Future[bytes] = Future()
        self._waiting.put((url, future))
        given_up = _given_up

        def wait() -> bytes:
            while not given_up.is_set():
                try:
                    return future.result(timeout=_LOOK)
                except TimeoutError:  # of the waiting: that of a server is a PhotoError by now
                    continue
            raise PhotoError("The run was interrupted.", code="interrupted")

        return wait

    def close(self) -> None:
        """Let the threads end when they have read what was asked for."""
        for _ in self._threads:
            self._waiting.put(None)

    def _work(self) -> None:
        while (asked := self._waiting.get()) is not None:
            url, future = asked
            try:
                future.set_result(read_url(url))
            except BaseException as error:
                future.set_exception(error)
