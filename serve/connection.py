"""Connections that say nothing, or that nobody reads from: ended, as uvicorn by itself never does.

A request that is read or answered has limits of its own (serve/app.py); here is what is before it,
between two, and after. Without it whoever opens connections and falls silent, or asks for answers
and does not read them, takes all files or all memory in time, and SIGTERM waits for them for ever.
And who sends a body in chunks of a few bytes takes the event loop.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any, cast

import uvicorn.config
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from serve.settings import read_settings

_LOOKS = 4  # in the time that silence may last
# A chunk takes 15 microseconds to read, also one of a single byte: 256 kB of those, which come at
# once, kept all others waiting for a second and more. Of photos each 65536th byte ends a line.
_MUCH = 16_384
_SHORTEST = 64


@functools.cache
def limits() -> tuple[float, float]:
    """Seconds of silence, and of a whole request: `upload_timeout` and `timeout`."""
    settings = read_settings()
    return settings.upload_timeout, settings.timeout


class Connection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's connection, which is looked at again and again until it is closed.

    While no request is under way its client may be silent for `upload_timeout` and take `timeout`
    for the head of the next one, or for the rest of a body that was refused unread; between two
    requests uvicorn's own limit holds as long as nothing comes. Of an answer some part must be
    taken in every `timeout`. A body in chunks of a few bytes ends the connection.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._wire = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        self._quiet, self._whole = limits()
        self._heard = self._free = self._taken = self._loop.time()
        self._unsent = 0
        self._look = self._loop.call_later(self._quiet / _LOOKS, self._look_at)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._heard = self._loop.time()
        if self._asked() and _shredded(data) and self._chunked():
            self._wire.abort()
        else:
            super().data_received(data)

    def on_response_complete(self) -> None:
        """The last part of an answer is handed over: uvicorn calls this."""
        self._free = self._loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._look.cancel()
        super().connection_lost(exc)

    def _look_at(self) -> None:
        now = self._loop.time()
        unsent = self._wire.get_write_buffer_size()
        if not unsent or unsent < self._unsent:
            self._taken = now
        self._unsent = unsent
        if now - self._taken > self._whole or (not self._busy() and self._late(now)):
            self._wire.abort()
        else:
            self._look = self._loop.call_later(self._quiet / _LOOKS, self._look_at)

    def _busy(self) -> bool:
        """Whether there is a request, or some of its answer left, or uvicorn has a limit itself."""
        return self._asked() or self._unsent > 0 or self.timeout_keep_alive_task is not None

    def _asked(self) -> bool:
        """Whether a request is read or answered."""
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def _chunked(self) -> bool:
        return any(name == b"transfer-encoding" for name, _ in self.cycle.scope["headers"])

    def _late(self, now: float) -> bool:
        heard = max(self._heard, self._free)
        return now - heard > self._quiet or now - self._free > self._whole


def _shredded(data: bytes) -> bool:
    """Whether this is of a chunked body that is nearly all ends of lines."""
    return len(data) > _MUCH and data.count(b"\r\n") * _SHORTEST > len(data)


def watch_connections() -> None:
    """Let the uvicorn that this process will start make connections of this kind."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{Connection.__name__}"
