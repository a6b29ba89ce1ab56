"""The HTTP interface: photos in, the most probable classes out; errors are problem details."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serve import page
from serve.answer import results, timings
from serve.batcher import Answers
from serve.headers import own_address
from serve.life import Life
from serve.note import note_photos
from serve.observer import Observer
from serve.openapi import document
from serve.paths import DOCUMENTS
from serve.problems import Problem, client_gone, overloaded, upload_too_slow
from serve.settings import Settings, read_settings
from serve.uploads import Memory, read_upload
from serve.views_answer import add_views, check_size, check_views


class Application:
    """The routes, and the model behind them, which is opened when the server starts."""

    def __init__(
        self, *, observer: Observer | None = None, end: Callable[[str], object] | None = None
    ) -> None:
        """Take what belongs to the process that this runs in.

        Args:
            observer: is told what happens to photos.
            end: logs a sentence and ends the process, where something that hangs is a reason to.
        """
        self.asgi = Starlette(
            routes=[
                Route("/", self.index),
                *page.routes(),
                Route("/v1/classify", self.classify, methods=["POST"]),
                Route("/v1/model", self.show_model),
                Route("/v1/model/classes", self.show_classes),
                *(Route(path, self.show_document) for path in DOCUMENTS),
            ],
            lifespan=self._lifespan,
        )
        self._observer, self._end = observer, end
        self._use(Settings())

    def _use(self, settings: Settings) -> None:
        self._settings = settings
        self.memory = Memory(settings.max_uploads)
        """That of all bodies which are held."""
        self.requests = 0
        """How many are read or answered."""
        self.life = Life(settings, self._observer, end=self._end)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._use(read_settings())
        async with self.life.lived(idle=lambda: self.requests == 0):
            yield

    async def index(self, request: Request) -> Response:
        """What there is: a page for people, JSON for programs."""
        if page.wants_page(request):
            return page.show(request)
        return JSONResponse(
            {
                "classify": "POST /v1/classify, a form with one or more photos in the field image",
                "model": "GET /v1/model",
                "classes": "GET /v1/model/classes",
                "example": self._example(request),
            },
            headers={"Vary": "Accept"},
        )

    def _example(self, request: Request) -> str:
        """A command that asks under the address at which this request came."""
        key = "" if self._settings.keys is None else "-H 'Authorization: Bearer KEY' "
        return f"curl {key}-F image=@photo.jpg {own_address(request)}/v1/classify"

    async def show_model(self, _: Request) -> Response:
        """The model, and what the service takes."""
        try:
            return JSONResponse(self.life.model.describe())
        except Problem as problem:
            return problem.response()

    async def show_classes(self, _: Request) -> Response:
        """The names of the classes."""
        try:
            return JSONResponse({"classes": self.life.model.classes()})
        except Problem as problem:
            return problem.response()

    async def show_document(self, _: Request) -> Response:
        """What there is, for programs: OpenAPI."""
        return JSONResponse(document(self._settings))

    async def classify(self, request: Request) -> Response:
        """The most probable classes of each photo of the request."""
        try:
            self._check_room()
        except Problem as problem:  # before the body is read: the server throws it away
            return problem.response()
        self.requests += 1
        try:
            return await self._classify(request)
        except Problem as problem:
            return problem.response()
        finally:
            self.requests -= 1

    def _check_room(self) -> None:
        self.life.batcher.check_room()
        if self.requests >= self._settings.max_requests:
            raise overloaded(f"{self.requests} requests are read or answered already.")

    async def _classify(self, request: Request) -> Response:
        model, batcher, seconds = self.life.model, self.life.batcher, self._settings.timeout
        started = time.monotonic()
        with self.memory.share() as share:
            try:
                async with asyncio.timeout(seconds):
                    upload = await read_upload(request, self._settings, share)
            except TimeoutError as error:
                raise upload_too_slow(seconds) from error
            if upload.each_view:
                check_views(model.backend)
            check_size(
                len(upload.photos), upload.top_k, model.backend.info, each_view=upload.each_view
            )
            read = time.monotonic()
            answering = batcher.answer(
                upload.photos,
                top_k=upload.top_k,
                deadline=started + seconds,
                each_view=upload.each_view,
            )
            answers = await _while_connected(request, answering)
        note_photos(request.scope, answers)
        found = results(upload.photos, answers)
        if upload.each_view:
            add_views(found, answers.predictions, model.backend.info)
        return JSONResponse(
            {
                "model": model.name,
                "views": model.views,
                "results": found,
                "timings": timings(answers, read=read - started, predict=time.monotonic() - read),
            }
        )


async def _while_connected(request: Request, answering: Coroutine[Any, Any, Answers]) -> Answers:
    """The answers, unless the client goes away first: then its photos leave the line."""
    answer = asyncio.ensure_future(answering)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise client_gone()
        return answer.result()
    finally:
        answer.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
