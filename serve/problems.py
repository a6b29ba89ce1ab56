"""What went wrong with a request, as problem details (RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MEDIA_TYPE = "application/problem+json"
REFUSED = "alexnet.refused"
"""In the scope of a request that can't be read (serve/connection.py): the `Problem` it gets."""
_KEPT = (b"allow", b"retry-after", b"connection")
# Starlette's answer where an address has a slash too many: go by http, whatever the proxy in front
# speaks, to whatever host the request names. A client would go there with its photos and its key.
_REDIRECT = 307
_logger = logging.getLogger("alexnet.serve")

# The codes of alexnet.photo, of which MissingPhotoError's cannot come up here.
_PHOTO_STATUS = {
    "empty_file": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "not_a_photo": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "unsupported_format": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "corrupt_photo": HTTPStatus.UNPROCESSABLE_ENTITY,
    "too_many_pixels": HTTPStatus.UNPROCESSABLE_ENTITY,
    "internal_error": HTTPStatus.INTERNAL_SERVER_ERROR,
}


class Problem(Exception):  # noqa: N818 - what RFC 9457 calls it
    """An answer that says what is wrong: `code` is stable, for programs; `detail` is a sentence."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`headers` go with the response."""
        super().__init__(detail)
        self.status = HTTPStatus(status)
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})

    def to_dict(self) -> dict[str, Any]:
        """The members of the JSON object. Without a page of its own, the type is about:blank."""
        return {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
            "code": self.code,
        }

    def response(self) -> JSONResponse:
        """The HTTP response."""
        return JSONResponse(
            self.to_dict(), self.status.value, headers=self.headers, media_type=MEDIA_TYPE
        )


def photo_problem(code: str, detail: str) -> Problem:
    """The problem of a photo that cannot be used, by the code of its `PhotoError`."""
    return Problem(_PHOTO_STATUS.get(code, HTTPStatus.UNPROCESSABLE_ENTITY), code, detail)


def overloaded(detail: str, *, retry_after: int = 5) -> Problem:
    """There is no room for this request now; `retry_after` in seconds."""
    return Problem(503, "overloaded", detail, headers={"Retry-After": str(retry_after)})


def too_slow(seconds: float) -> Problem:
    """There was no answer in time."""
    return overloaded(f"There was no answer within {seconds:g} seconds: try again later.")


def upload_too_slow(seconds: float) -> Problem:
    """The client sent nothing for so long, or took so long for the whole request."""
    detail = f"The request did not arrive within {seconds:g} seconds."
    return Problem(408, "upload_timeout", detail, headers={"Connection": "close"})


def malformed_request(detail: str) -> Problem:
    """What came is no request, or not clear about where it ends."""
    return Problem(400, "malformed_request", detail, headers={"Connection": "close"})


def client_gone() -> Problem:
    """The connection broke, so that nobody will read this."""
    return Problem(400, "client_gone", "The request breaks off.", headers={"Connection": "close"})


def shutting_down() -> Problem:
    """SIGTERM has come: what was accepted is answered, and this was not."""
    detail = "The service is about to end: try again, or ask another."
    return Problem(503, "shutting_down", detail, headers={"Retry-After": "5"})


def backend_failed() -> Problem:
    """The network could not be run."""
    detail = "The network could not be run, and the service's log says why: try again later."
    return Problem(503, "backend_failed", detail, headers={"Retry-After": "5"})


def not_ready() -> Problem:
    """The model is not open yet, or can't be opened."""
    return Problem(503, "not_ready", "The model is not open.", headers={"Retry-After": "1"})


def status_problem(status: int, scope: Scope) -> Problem:
    """The problem for an error response of which only the status is known."""
    method, path = scope["method"], scope["path"][:100]
    if status == HTTPStatus.NOT_FOUND:
        return Problem(status, "not_found", f"There is nothing at {path}: try GET /.")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return Problem(status, "method_not_allowed", f"{path} does not take {method}.")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return Problem(status, "not_ready", "The service is not ready.")
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return Problem(status, "bad_request", "The service can't make sense of this request.")
    return Problem(
        status,
        "internal_error",
        "The service failed, and its log says why. That is a defect of ours, not of the request.",
    )


class ProblemMiddleware:
    """Makes every error response problem details, and every exception a logged one.

    Whatever is inside answers errors in its own way: Starlette as text, BentoML as JSON of several
    shapes. This replaces them; problem details pass as they are. A redirection becomes 404.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As any ASGI application."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal: Problem | None = scope.get(REFUSED)
        if refusal is not None:
            await refusal.response()(scope, receive, send)
            return
        answer = _Answer(scope, receive, send)
        try:
            await self.app(scope, receive, answer.send)
        except Exception:
            if answer.started and not answer.complete:
                raise
            # An address may hold the end of a line, and would begin a line of its own.
            path = scope["path"].encode("unicode_escape").decode()
            _logger.exception("%s %s failed", scope["method"], path)
            if not answer.started:  # else Starlette's own handler has answered and raised it again
                await status_problem(500, scope).response()(scope, receive, send)


class _Answer:
    """One response on its way out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.started = False
        self.complete = False
        self._replaced = False
        self._scope, self._receive, self._send = scope, receive, send

    async def send(self, message: Message) -> None:
        """Pass a message on, or send problem details in the place of a whole response."""
        if message["type"] == "http.response.start":
            self.started = True
            status = 404 if message["status"] == _REDIRECT else message["status"]
            headers = {name.lower(): value for name, value in message.get("headers", ())}
            if status >= 400 and headers.get(b"content-type") != MEDIA_TYPE.encode():
                self._replaced = self.complete = True
                problem = status_problem(status, self._scope)
                problem.headers = {
                    name.decode(): headers[name].decode("latin-1")
                    for name in _KEPT
                    if name in headers
                }
                await problem.response()(self._scope, self._receive, self._send)
                return
        if not self._replaced:
            self.complete = self.started and not message.get("more_body", False)
            await self._send(message)
