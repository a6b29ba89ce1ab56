"""The photos of one request: its body read with limits, and taken apart; nothing goes to disk."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from serve.problems import Problem, client_gone, overloaded, upload_too_slow
from serve.settings import Settings

# Bytes of a body that is too large are read and thrown away, so that the client gets the answer and
# can use its connection on; a body this many times too large is cut off.
_DRAINED = 10
_CLOSE = {"Connection": "close"}
_LONGEST_HEADERS = 16_384
_DEFAULT_TOP_K = 5
_MOST_TOP_KS = 2  # one in the address, one in the form
_LONGEST_TOP_K = 100
# Headers that say how bytes were changed on the way, and what they say where they were not.
_CODINGS = {
    "content-encoding": {"", "identity"},
    "content-transfer-encoding": {"", "7bit", "8bit", "binary"},
}

# One `; name=value` of a header. A backslash in a file name is a backslash (browsers escape nothing
# but quotes, as %22), so only what comes before the name that is looked for can be misread.
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))\s*')
# A header may go on in a line that begins with blanks (RFC 5322, 2.2.3).
_FOLD = re.compile(r"\r\n[ \t]+")


@dataclass(frozen=True)
class Upload:
    """What one request asks."""

    photos: tuple[bytes, ...]
    """At least one, in the request's order."""
    top_k: int
    """How many classes of each; at least 1, and more than there are means all."""
    each_view: bool = False
    """Whether each view's own answer is asked for."""


class Share:
    """What the body of one request takes of the memory for all bodies."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.bytes = 0

    def grow(self, count: int) -> None:
        """Take so many bytes more.

        Raises:
            Problem: other requests hold them.
        """
        if self._memory.used + count > self._memory.limit and self._memory.used > self.bytes:
            raise overloaded("Other uploads take all memory that there is for them.")
        self._memory.used += count
        self.bytes += count

    def free(self) -> None:
        """Give all back."""
        self._memory.used -= self.bytes
        self.bytes = 0


class Memory:
    """Bytes of bodies that are held at once, `limit` at most.

    Only what has arrived counts, so that slow clients keep nobody out. There is room for any
    request that is alone.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """One request's share, given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            share.free()


async def read_upload(request: Request, settings: Settings, share: Share) -> Upload:
    """Read and take apart a request: a form with the field `image`, or one photo as the body.

    Raises:
        Problem: whatever is wrong with it, except with the photos themselves.
    """
    top_ks, each_view = _query(request)
    _check_codings(request.headers.items(), "The request's body")
    body = await _read_body(request, settings, share)
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if not kind.startswith("multipart/"):
        return Upload((bytes(body),), _top_k(top_ks), each_view)
    if kind != "multipart/form-data":
        raise Problem(415, "unsupported_media_type", f"Send multipart/form-data, not {kind}.")
    photos: list[bytes] = []
    for name, content in _fields(body, _boundary(content_type)):
        if name == "image":
            photos.append(content)
        elif name == "top_k":
            # Checked at once: a body has room for 300,000 of them, or for one of 20 MB.
            cut = content if len(content) <= _LONGEST_TOP_K else content[:_LONGEST_TOP_K] + b"..."
            top_ks.append(cut.decode("utf-8", "replace"))
            _top_k(top_ks)
        else:
            raise Problem(
                400, "unknown_field", f"There is no field {name[:100]!r}: take image, and top_k."
            )
        if len(photos) > settings.max_photos:
            raise Problem(
                413,
                "too_many_photos",
                f"A request takes {settings.max_photos} photos at most: send the rest by another.",
            )
    if not photos:
        raise Problem(400, "no_photo", "The form holds no photo: put it in the field image.")
    return Upload(tuple(photos), _top_k(top_ks), each_view)


def _query(request: Request) -> tuple[list[str], bool]:
    """The values of `top_k` in the address, and whether it says `views=each`; no more is known."""
    unknown = sorted(set(request.query_params) - {"top_k", "views"})
    if unknown:
        raise Problem(
            400,
            "unknown_parameter",
            f"There is no parameter {unknown[0][:100]!r}: take top_k or views.",
        )
    views = request.query_params.getlist("views")
    if any(value != "each" for value in views):
        raise Problem(400, "bad_views", "views must be each, or left out.")
    return request.query_params.getlist("top_k"), bool(views)


def _top_k(values: list[str]) -> int:
    if not values:
        return _DEFAULT_TOP_K
    value = values[0].strip()
    agree = len(set(values)) == 1 and len(values) <= _MOST_TOP_KS
    if not agree or not re.fullmatch("[0-9]{1,9}", value) or int(value) < 1:
        given = " and ".join(repr(value[:100]) for value in values[:2])
        raise Problem(
            400, "bad_top_k", f"top_k must be one whole number of at least 1, not {given}."
        )
    return int(value)


async def _read_body(request: Request, settings: Settings, share: Share) -> bytearray:
    """The whole body, if it has `max_body` bytes at most; of a larger one nothing is kept."""
    limit = settings.max_body
    declared = int(request.headers.get("content-length", "0"))
    too_large = f"The request's body has more than the {limit / 1e6:g} MB that are allowed."
    if declared > limit and (declared > _DRAINED * limit or expects_to_be_asked(request.headers)):
        raise Problem(413, "body_too_large", too_large, headers=_CLOSE)
    body = bytearray()
    length = 0
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(settings.upload_timeout) as silence:
            async for chunk in request.stream():
                silence.reschedule(loop.time() + settings.upload_timeout)
                length += len(chunk)
                if length > _DRAINED * limit:
                    raise Problem(413, "body_too_large", too_large, headers=_CLOSE)
                if max(length, declared) <= limit:
                    share.grow(len(chunk))
                    body += chunk
                else:
                    body.clear()
                    share.free()
    except TimeoutError as error:
        raise upload_too_slow(settings.upload_timeout) from error
    except ClientDisconnect as error:
        raise client_gone() from error
    if length > limit:
        raise Problem(413, "body_too_large", too_large)
    return body


def expects_to_be_asked(headers: Headers) -> bool:
    """Whether the client waits for a go-ahead before it sends the body."""
    return headers.get("expect", "").lower() == "100-continue"


def _fields(body: bytearray, boundary: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each part of a multipart/form-data body (RFC 7578, RFC 2046 5.1.1)."""
    delimiter = b"--" + boundary
    at = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter) + 2
    if at == 1:
        raise _malformed("its boundary does not occur in it")
    while True:
        at += len(delimiter)
        if body.startswith(b"--", at):
            return
        line_end = body.find(b"\r\n", at)
        if line_end < 0 or body[at:line_end].strip(b" \t"):
            raise _malformed("a boundary is not at the end of its line")
        head_end = body.find(b"\r\n\r\n", line_end, line_end + _LONGEST_HEADERS)
        if head_end < 0:
            raise _malformed("the headers of a part do not end")
        end = body.find(b"\r\n" + delimiter, head_end + 2)
        if end < 0:
            raise _malformed("it breaks off")
        yield _field_name(body[line_end:head_end]), bytes(memoryview(body)[head_end + 4 : end])
        at = end + 2


def _check_codings(headers: Iterable[tuple[str, str]], what: str) -> None:
    """Refuse what is compressed or written in letters: it would only look like a damaged photo."""
    for name, value in headers:
        coding = value.partition(";")[0].strip()
        plain = _CODINGS.get(name.lower())
        if plain is not None and coding.lower() not in plain:
            raise Problem(
                415,
                "unsupported_encoding",
                f"{what} has {name.title()} {coding[:100]}, which is not read here: send the "
                "photo's bytes as they are.",
                headers={"Accept-Encoding": "identity"},
            )


def _field_name(head: bytearray) -> str:
    """The name that a part's Content-Disposition gives."""
    lines = _FOLD.sub(" ", head.decode("utf-8", "replace")).split("\r\n")
    pairs = [line.partition(":") for line in lines]
    headers = [(name.strip(), value.strip()) for name, _, value in pairs]
    _check_codings(headers, "A part of the form")
    for name, value in headers:
        if name.lower() == "content-disposition":
            field = _parameter(value, "name")
            if field is not None and value.partition(";")[0].strip().lower() == "form-data":
                return field
    raise _malformed("a part has no name")


def _boundary(content_type: str) -> bytes:
    boundary = _parameter(content_type, "boundary") or ""
    if not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise _malformed("its Content-Type names no boundary")
    return boundary.encode("ascii")


def _parameter(header: str, wanted: str) -> str | None:
    """A parameter's value, as `name` of `form-data; name="image"; filename="a.jpg"`."""
    at = header.find(";")
    while at >= 0 and (match := _PARAMETER.match(header, at)):
        if match[1].lower() == wanted:
            return match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
        at = match.end()
    return None


def _malformed(reason: str) -> Problem:
    return Problem(
        400,
        "malformed_form",
        f"The multipart form is malformed: {reason}. Send it as curl -F does.",
    )
