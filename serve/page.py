"""The page for people at `/`: three files that are read once and ask nothing of other hosts."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from serve.paths import PAGE

_FOLDER = Path(__file__).with_name("page")
_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The page's Content-Security-Policy: nothing inline, nothing from elsewhere, in no other page."""


def wants_page(request: Request) -> bool:
    """Whether who asks is a browser that a person uses: those name HTML among what they accept."""
    return "text/html" in request.headers.get("accept", "").lower()


def show(request: Request) -> Response:
    """The page itself."""
    response = _response(request, "index.html")
    response.headers["Vary"] = "Accept"  # others get JSON at the same address
    return response


def routes() -> list[BaseRoute]:
    """Where the page's style and script are."""
    return [Route(PAGE, _part)]


async def _part(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _TYPES or name == "index.html":
        raise HTTPException(404)
    return _response(request, name)


def _response(request: Request, name: str) -> Response:
    """The file, or 304 where the browser has it already; it asks every time, so that no page ever
    meets a service of another version."""
    content, tag = _read(name)
    headers = {
        "ETag": tag,
        "Cache-Control": "no-cache",
        "Content-Security-Policy": POLICY,
    }
    if _has(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=_TYPES[name], headers=headers)


def _has(request: Request, tag: str) -> bool:
    """Whether the tag is among those that the browser has (RFC 9110, 13.1.2)."""
    known = request.headers.get("if-none-match", "").split(",")
    return any(one.strip().removeprefix("W/") in (tag, "*") for one in known)


@functools.cache
def _read(name: str) -> tuple[bytes, str]:
    content = (_FOLDER / name).read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
