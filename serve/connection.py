"""Connections that say nothing or nonsense, or that nobody reads from: refused and ended.

A request that is read or answered has limits of its own (serve/app.py); here is what is before it,
between two, and after. uvicorn by itself does nothing of this: whoever opens connections and falls
silent, or asks for answers and does not read them, takes all files or all memory in time, and
SIGTERM waits for them for ever. Who sends a body in chunks of a few bytes takes the event loop. And
what is no HTTP, or says in two ways where its body ends, gets an answer that the log, the metrics
and whoever sent it can read.
"""

from __future__ import annotations

import asyncio
import functools
from http import HTTPStatus
from typing import Any, cast

import h11
import uvicorn.config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from serve.note import note_of
from serve.problems import REFUSED, Problem, malformed_request
from serve.settings import read_settings

_LOOKS = 4  # in the time that silence may last
# A chunk takes 15 microseconds to read, also one of a single byte: 256 kB of those, which come at
# once, kept all others waiting for a second and more. Of photos each 65536th byte ends a line.
_MUCH = 16_384
_SHORTEST = 64
# What the refusal of a request takes over from it.
_KNOWN = ("method", "path", "raw_path", "query_string", "headers")


@functools.cache
def limits() -> tuple[float, float]:
    """Seconds of silence, and of a whole request: `upload_timeout` and `timeout`."""
    settings = read_settings()
    return settings.upload_timeout, settings.timeout


class _Parser(h11.Connection):
    """h11's, which takes no request whose body ends in one place by its length, in another by its
    chunks: a proxy in front may hold what is between them for another request (RFC 9112, 6.3).
    """

    unread_coding = False
    """Whether what could not be read is a body in a Transfer-Encoding of another kind."""

    def next_event(self) -> Any:
        """See `h11.Connection`."""
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            self.unread_coding = error.error_status_hint == HTTPStatus.NOT_IMPLEMENTED
            raise
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            if {b"content-length", b"transfer-encoding"} <= names:
                raise h11.RemoteProtocolError("both Content-Length and Transfer-Encoding")
        return event


class _Leaving:
    """A transport that is closed for what we say first, and for what we hear by the client.

    Closed at once while bytes are on their way here it would reset the connection, and the client's
    system throw away the answer unread.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.write = transport.write
        self.is_closing = transport.is_closing

    def close(self) -> None:
        """Say no more."""
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:  # TLS
            self._transport.close()


class Connection(H11Protocol):
    """uvicorn's connection, which is looked at again and again until it is closed.

    Also where httptools is installed, it is uvicorn's in plain Python: what is refused here, and
    how, was tried with that one.

    While no request is under way its client may be silent for `upload_timeout` and take `timeout`
    for the head of the next one, or for the rest of a body that was refused unread; between two
    requests uvicorn's own limit holds as long as nothing comes. Of an answer some part must be
    taken in every `timeout`. What can't be read is refused by the application, which finds the
    problem in the scope (`serve.problems.REFUSED`); what comes after it is thrown away.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        largest = self.config.h11_max_incomplete_event_size
        self.conn = _Parser(h11.SERVER) if largest is None else _Parser(h11.SERVER, largest)
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._wire = cast(asyncio.Transport, transport)
        super().connection_made(self._wire)
        self._loop = asyncio.get_running_loop()
        self._quiet, self._whole = limits()
        self._heard = self._free = self._taken = self._loop.time()
        self._unsent = 0
        self._look = self._loop.call_later(self._quiet / _LOOKS, self._look_at)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._refused:
            return
        self._heard = self._loop.time()
        if self._asked() and _shredded(data) and self._chunked():
            self._refuse(malformed_request("The body comes in too many chunks of a few bytes."))
        else:
            super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """What came can't be read: uvicorn calls this."""
        detail = "This is no HTTP, or not clear about where the request ends."
        if cast(_Parser, self.conn).unread_coding:
            detail = "Its Transfer-Encoding is not read here: send the body as it is, or in chunks."
        self._refuse(malformed_request(detail))

    def on_response_complete(self) -> None:
        """The last part of an answer is handed over: uvicorn calls this."""
        self._free = self._loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._look.cancel()
        super().connection_lost(exc)

    def _refuse(self, problem: Problem) -> None:
        """Let the application answer with this, and read no more."""
        self._refused = True
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # it has answered already
            if self._asked():
                self.cycle.keep_alive = False
            else:
                self.transport.close()
            return
        scope = self._no_scope()
        if self._asked():
            scope |= {name: self.scope[name] for name in _KNOWN}  # type: ignore[literal-required]
            note_of(cast(Any, self.cycle.scope)).replaced = True
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        scope[REFUSED] = problem
        self.cycle = RequestResponseCycle(
            scope=cast(Any, scope),
            conn=self.conn,
            transport=cast(Any, _Leaving(self.transport)),
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            on_response=self.on_response_complete,
        )
        self.cycle.more_body = False
        self.cycle.message_event.set()
        task = self.loop.create_task(self.cycle.run_asgi(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _no_scope(self) -> dict[str, Any]:
        """The scope of a request of which nothing is known."""
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": "",
            "root_path": self.root_path,
            "path": "",
            "raw_path": b"",
            "query_string": b"",
            "headers": [],
            "state": self.app_state.copy(),
        }

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
