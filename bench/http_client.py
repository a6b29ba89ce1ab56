"""POSTs of photos over many connections, and what became of each."""

from __future__ import annotations

import asyncio
import mimetypes
import resource
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.photos import PhotoFile

if TYPE_CHECKING:
    import aiohttp

# Servers close a connection that has been idle for some seconds (uvicorn: 5). Left first, it can't
# be closed by the server just as the next request goes out.
_IDLE = 3.0


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where photos are sent, and how."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    """Sent with every request: an API key, say."""
    field: str | None = None
    """The photo's field of a multipart form; None: the body is the photo."""
    timeout: float = 10.0
    """Seconds until a request is given up."""
    connections: int = 1000
    """Requests under way at once; those beyond wait for a connection."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back."""

    status: int | None
    """None where no whole answer came."""
    size: int = 0
    """Bytes of the answer's body."""
    start: str = ""
    """The body's beginning, of answers that are no success."""
    failure: str | None = None
    """Why no whole answer came: `timeout`, or the connection's error in words."""

    @property
    def ok(self) -> bool:
        """Whether the answer is a success."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True)
class Body:
    """A photo as it travels."""

    data: bytes
    content_type: str


class Client:
    """Sends photos in turn."""

    def __init__(self, session: aiohttp.ClientSession, target: Target, bodies: Sequence[Body]):
        self._session, self._target, self._bodies = session, target, bodies

    async def post(self, number: int) -> Reply:
        """Send the photo whose turn it is; every failure is a reply of its own."""
        import aiohttp

        body = self._bodies[number % len(self._bodies)]
        headers = [("Content-Type", body.content_type), *self._target.headers]
        try:
            async with self._session.post(
                self._target.url, data=body.data, headers=headers, allow_redirects=False
            ) as answer:
                content = await answer.read()
        except TimeoutError:  # of aiohttp, too, whose own classes derive from it
            return Reply(status=None, failure="timeout")
        except (aiohttp.ClientError, OSError) as error:
            return Reply(status=None, failure=str(error) or type(error).__name__)
        start = "" if answer.status < 300 else content[:300].decode("utf-8", "replace")
        return Reply(status=answer.status, size=len(content), start=start)


@asynccontextmanager
async def open_client(target: Target, photos: Sequence[PhotoFile]) -> AsyncIterator[Client]:
    """A client whose requests share one pool of kept connections."""
    import aiohttp

    _allow_files(target.connections)
    bodies = [await _body(photo, target.field) for photo in photos]
    connector = aiohttp.TCPConnector(limit=target.connections, keepalive_timeout=_IDLE)
    timeout = aiohttp.ClientTimeout(total=target.timeout)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield Client(session, target, bodies)
        await asyncio.sleep(0)  # connections that are being closed get their turn


async def _body(photo: PhotoFile, field: str | None) -> Body:
    """Made once for all requests: a form that is written anew each time costs more than sending."""
    import aiohttp

    kind = mimetypes.guess_type(photo.name)[0] or "application/octet-stream"
    if field is None:
        return Body(photo.data, kind)
    form = aiohttp.FormData()
    form.add_field(field, photo.data, filename="photo", content_type=kind)
    parts = form()
    assert isinstance(parts, aiohttp.MultipartWriter)
    return Body(await parts.as_bytes(), parts.headers["Content-Type"])


def _allow_files(connections: int) -> None:
    """Raise this process's limit of open files, as far as the system lets it: 1024 is usual."""
    wanted = connections + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY not in (soft, hard) and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
