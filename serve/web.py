"""Files behind http and https URLs, asked for under the very address that was given.

A signed URL (S3, Google, Azure, a CDN) holds a signature of its own characters. aiohttp and fsspec
rewrite escapes that need not be there (`%2F`, `%40`, `%27`) before they send them, which breaks the
signature. Here only what can't stand in a request line is escaped, also in redirects.
"""

from __future__ import annotations

import io
import re
from contextlib import suppress
from typing import Any
from urllib.parse import urljoin, urlsplit

from alexnet.errors import optional_import

MAX_REDIRECTS = 10
"""Redirects that are followed; browsers stop at 20."""

_REDIRECTS = (301, 302, 303, 307, 308)
_GONE = (404, 410)
_WEB = re.compile(r"https?://", re.IGNORECASE)
# Controls, space, all that is not ASCII, what RFC 3986 (section 2) lists nowhere, and a percent
# sign that begins no escape.
_UNSENDABLE = re.compile(rb"[^!#-;=?-\[\]_a-z~]|%(?![0-9A-Fa-f]{2})")
_BLOCK = 2**16


class WebError(Exception):
    """A server whose answer is no file; the message is the end of a sentence."""


def is_web(url: str) -> bool:
    """Whether `url` is an http or https address."""
    return _WEB.match(url) is not None


def sendable(url: str) -> str:
    """`url` with what can't be sent escaped, every escape that it has left as it is.

    Raises:
        ValueError: it is no URL.
    """
    yarl: Any = optional_import("yarl")
    parts = urlsplit(url)
    # An international host has a form of its own, which yarl knows.
    host = yarl.URL(f"{parts.scheme}://{parts.netloc}").raw_authority
    rest = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return f"{parts.scheme}://{host}{_escaped(rest)}"


def _escaped(text: str) -> str:
    data = text.encode("utf-8", "surrogateescape")
    return _UNSENDABLE.sub(lambda found: b"%%%02X" % found[0][0], data).decode("ascii")


async def get(session: Any, url: str, **options: Any) -> Any:
    """The answer of a web server, its body still to be read; to be closed.

    Args:
        session: an `aiohttp.ClientSession`.
        url: an http or https address.
        options: of `session.get`.

    Raises:
        FileNotFoundError: the server has no such file.
        WebError: it redirects in a circle, or to no web address.
        aiohttp.ClientError: it does not answer, or answers with an error.
        ValueError: there is no such URL.
    """
    yarl: Any = optional_import("yarl")
    address = sendable(url)
    for _ in range(MAX_REDIRECTS + 1):
        answer = await session.get(
            yarl.URL(address, encoded=True), **{**options, "allow_redirects": False}
        )
        if answer.status not in _REDIRECTS:
            break
        answer.release()
        address = _next(address, answer.headers.get("Location"))
    else:
        raise WebError(f"the server redirects more than {MAX_REDIRECTS} times")
    try:
        if answer.status in _GONE:
            raise FileNotFoundError(url)
        answer.raise_for_status()
    except BaseException:
        answer.close()
        raise
    return answer


def _next(address: str, location: str | None) -> str:
    if location is None:
        raise WebError("the server redirects without saying where to")
    there = urljoin(address, location)
    if not is_web(there):
        raise WebError(f"the server redirects to {there[:200]}, which is no web address")
    return sendable(there)


async def fetch(session: Any, url: str, *, limit: int, **options: Any) -> bytes:
    """The bytes behind `url`: all of them, or a few more than `limit`.

    Raises:
        Exception: as `get`.
    """
    answer = await get(session, url, **options)
    try:
        data = bytearray()
        async for block in answer.content.iter_chunked(_BLOCK):
            data += block
            if len(data) > limit:
                break
        return bytes(data)
    finally:
        answer.close()


class WebFile(io.RawIOBase):
    """A file behind `url`, read forwards while it arrives."""

    def __init__(self, files: Any, url: str) -> None:
        """Ask for it.

        Args:
            files: fsspec's file system for web addresses.
            url: an http or https address.

        Raises:
            Exception: as `get`.
        """
        self._answer: Any = None
        self._files, self._sync = files, optional_import("fsspec.asyn").sync
        self._answer = self._sync(files.loop, self._open, url)

    async def _open(self, url: str) -> Any:
        return await get(await self._files.set_session(), url, **self._files.kwargs)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for some bytes; none at the end.

        Raises:
            aiohttp.ClientError: the connection broke.
        """
        data = self._sync(self._files.loop, self._answer.content.read, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Let the connection go."""
        if self._answer is not None and not self.closed:
            with suppress(RuntimeError):  # the loop has ended, and its connections with it
                self._files.loop.call_soon_threadsafe(self._answer.close)
        super().close()
