"""One line for each request, on stderr, and the request's id in its answer.

What is in a line is from short lists, or numbers, or an id: no address, parameter, header, key or
file name, and nothing of a photo. BentoML's own access log is switched off (service.py).
"""

from __future__ import annotations

import json
import re
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.metrics import Metrics
from serve.note import Note, note_of
from serve.paths import METRICS, PROBES, known_method, template
from serve.problems import MEDIA_TYPE
from serve.settings import Settings, read_settings

GONE = 499
"""The status of a request whose client went away before its answer, as other servers write it."""
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass
class _Traffic:
    """What went through one request's connection."""

    received: int = 0
    sent: int = 0
    status: int = 0
    code: str | None = None
    gone: bool = False
    problem: bool = False


class AccessLogMiddleware:
    """Gives each request its id, counts it in the metrics and writes its line."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        settings: Settings | None = None,
        write: Callable[[str], object] | None = None,
    ) -> None:
        """Take what to tell.

        Args:
            app: what is inside.
            metrics: told of every request.
            settings: those of the environment, unless given.
            write: takes a line with its end; stderr, unless given.
        """
        self.app = app
        self._metrics = metrics
        self._write = write or sys.stderr.write
        log = (settings or read_settings()).log
        if log == "auto":
            log = "plain" if sys.stderr.isatty() else "json"
        self._line = {"plain": _plain, "json": _json}.get(log)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As any ASGI application."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, note, traffic = time.perf_counter(), note_of(scope), _Traffic()
        given = Headers(scope=scope).get("x-request-id", "")
        id = given if _ID.fullmatch(given) else uuid.uuid4().hex

        async def counted_receive() -> Message:
            message = await receive()
            traffic.received += len(message.get("body", b""))
            traffic.gone = message["type"] == "http.disconnect" and not traffic.status
            return message

        async def counted_send(message: Message) -> None:
            _see(message, traffic, id)
            await send(message)

        try:
            await self.app(scope, counted_receive, counted_send)
        finally:
            self._tell(scope, id, time.perf_counter() - started, note, traffic)

    def _tell(self, scope: Scope, id: str, seconds: float, note: Note, traffic: _Traffic) -> None:
        if note.replaced:
            return
        route = template(scope["path"])
        status = GONE if traffic.gone or traffic.code == "client_gone" else traffic.status or 500
        self._metrics.request(
            route, status, seconds=seconds, code=traffic.code, photos=note.outcomes
        )
        quiet = route in PROBES or route == METRICS
        if self._line is None or (quiet and status < 400):
            return
        fields = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "id": id,
            "method": known_method(scope["method"]),
            "route": route,
            "status": status,
            "ms": round(1000 * seconds, 3),
            "bytes_in": traffic.received,
            "bytes_out": traffic.sent,
            "client": note.client,
            "photos": len(note.outcomes) or None,
            "failed": sum(outcome != "answered" for outcome in note.outcomes) or None,
            **{f"{stage}_ms": round(1000 * spent, 3) for stage, spent in note.seconds.items()},
            "code": traffic.code,
        }
        said = {name: value for name, value in fields.items() if value is not None}
        with suppress(OSError, ValueError):  # nobody reads: no reason to fail a request
            self._write(self._line(said) + "\n")


def _see(message: Message, traffic: _Traffic, id: str) -> None:
    """Note what a message of an answer says, and put the id into its headers."""
    if message["type"] == "http.response.start":
        headers = MutableHeaders(scope=message)
        headers["X-Request-Id"] = id
        traffic.status = message["status"]
        traffic.problem = headers.get("content-type") == MEDIA_TYPE
    elif message["type"] == "http.response.body":
        body = message.get("body", b"")
        if traffic.problem and not traffic.sent:  # problem details come in one piece
            traffic.code = json.loads(body).get("code") if body else None
        traffic.sent += len(body)


def _json(fields: dict[str, Any]) -> str:
    return json.dumps(fields)


def _plain(fields: dict[str, Any]) -> str:
    """The same for a terminal: `12:00:00.123 POST /v1/classify 200 12.3 ms ... id=...`."""
    head = ("time", "method", "route", "status", "ms")
    rest = " ".join(f"{name}={value}" for name, value in fields.items() if name not in head)
    clock = str(fields["time"]).partition("T")[2].rstrip("Z")
    return (
        f"{clock} {fields['method']} {fields['route']} {fields['status']} {fields['ms']} ms {rest}"
    )
