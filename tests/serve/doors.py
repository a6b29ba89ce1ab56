"""What the tests of the doors share: a key, an origin, and an application behind one door."""

import asyncio

import httpx
from starlette.responses import PlainTextResponse

KEY = "tests.0123456789-abcdef"
ORIGIN = "https://photos.example"
WITH_KEY = {"Authorization": f"Bearer {KEY}"}


async def inside(scope, receive, send):
    """What is behind the door: it says its path to everybody."""
    await PlainTextResponse(scope["path"])(scope, receive, send)


def ask(app, path="/v1/model", *, method="GET", **options):
    """The answer of an application to one request."""

    async def asking():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.request(method, path, **options)

    return asyncio.run(asking())
