"""What answers say to browsers, and which pages of other places may ask (CORS): none, by default.

Pages of other places can't read answers, load them, or put them into frames. With `hosts` set, a
request under another name is refused, so that nobody's DNS can make a browser take this service for
a site of theirs.
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.paths import PROBES
from serve.problems import Problem
from serve.settings import HOST, Settings, read_settings
from serve.uploads import expects_to_be_asked

EVERY_ANSWER = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every answer that does not bring its own; the page has a policy that lets it run."""


class HeadersMiddleware:
    """Adds `EVERY_ANSWER`, and ends connections of which nobody can say what comes next.

    A client that waits for a go-ahead (`Expect: 100-continue`) and gets an answer in its place may
    send the body or not: what it sends next would be a request to it and a body to us.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As any ASGI application."""

        waits = scope["type"] == "http" and expects_to_be_asked(Headers(scope=scope))

        async def asking() -> Message:
            nonlocal waits
            waits = False
            return await receive()

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in EVERY_ANSWER.items():
                    headers.setdefault(name, value)
                if waits:
                    headers["Connection"] = "close"
            await send(message)

        await self.app(scope, asking if waits else receive, with_headers)


class OriginsMiddleware(CORSMiddleware):
    """Lets pages of the origins in the settings ask and read; without any it changes nothing."""

    def __init__(self, app: ASGIApp, *, settings: Settings | None = None) -> None:
        """`settings`: those of the environment, unless given."""
        origins = (settings or read_settings()).cors_origins or ()
        self._closed = not origins
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=("Authorization", "Content-Type", "X-API-Key", "X-Request-Id"),
            expose_headers=("Retry-After", "WWW-Authenticate", "X-Request-Id"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As any ASGI application."""
        if self._closed:
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        """Starlette's answer, or problem details where it refuses."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        detail = "Pages of this origin may not ask so: ALEXNET_CORS_ORIGINS names those that may."
        return Problem(403, "origin_refused", detail, headers={"Vary": "Origin"}).response()


class HostsMiddleware:
    """Refuses requests for a host that the settings do not name; probes may use any."""

    def __init__(self, app: ASGIApp, *, settings: Settings | None = None) -> None:
        """`settings`: those of the environment, unless given."""
        self.app = app
        self._hosts = (settings or read_settings()).hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As any ASGI application."""
        app = self.app
        if scope["type"] == "http" and self._hosts is not None and scope["path"] not in PROBES:
            host = _without_port(Headers(scope=scope).get("host", ""))
            if host not in self._hosts:
                detail = "The service does not go by this host's name: ALEXNET_HOSTS has those."
                app = Problem(421, "unknown_host", detail).response()
        await app(scope, receive, send)


def _without_port(host: str) -> str:
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()


def own_address(request: Request) -> str:
    """Scheme, host and port at which a request came: by its Host, where that makes sense.

    A proxy passes that on (and X-Forwarded-Proto, which uvicorn believes on the same machine);
    else it is the address on which the connection was accepted.
    """
    host = request.headers.get("host", "").lower()
    if not re.fullmatch(rf"{HOST}(?::[0-9]{{1,5}})?", host):
        name, port = request.scope["server"]
        host = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    return f"{request.scope['scheme']}://{host}"
