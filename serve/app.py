"""The HTTP interface: photos in, the most probable classes out; errors are problem details."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from alexnet.container import FORMATS
from alexnet.predictor import Prediction
from serve.model import ServedModel
from serve.problems import Problem, photo_problem
from serve.settings import Settings, read_settings
from serve.uploads import read_upload

_ADDRESS = re.compile(rb"\s*(?:[a-z][a-z0-9+.-]{1,20}://|data:|www\.)", re.IGNORECASE)


class Application:
    """The routes, and the model behind them, which is opened when the server starts."""

    def __init__(self) -> None:
        self.asgi = Starlette(
            routes=[
                Route("/", self.index),
                Route("/v1/classify", self.classify, methods=["POST"]),
                Route("/v1/model", self.show_model),
                Route("/v1/model/classes", self.show_classes),
            ],
            lifespan=self._lifespan,
        )
        self._model: ServedModel | None = None
        self._use(Settings())

    @property
    def ready(self) -> bool:
        """Whether the model is open and has answered once."""
        return self._model is not None

    def _use(self, settings: Settings) -> None:
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.max_requests)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._use(read_settings())
        self._model = model = ServedModel(self._settings)
        try:
            yield
        finally:
            self._model = None
            model.close()

    async def index(self, _: Request) -> Response:
        """What there is."""
        return JSONResponse(
            {
                "classify": "POST /v1/classify, a form with one or more photos in the field image",
                "model": "GET /v1/model",
                "classes": "GET /v1/model/classes",
                "example": "curl -F image=@photo.jpg http://127.0.0.1:3000/v1/classify",
            }
        )

    async def show_model(self, _: Request) -> Response:
        """The model, and what the service takes."""
        settings = self._settings
        limits = {
            "body_bytes": settings.max_body,
            "pixels": settings.max_pixels,
            "photos": settings.max_photos,
            "requests": settings.max_requests,
            "seconds": settings.timeout,
            "formats": list(FORMATS),
        }
        return JSONResponse({**self._open_model().describe(), "limits": limits})

    async def show_classes(self, _: Request) -> Response:
        """The names of the classes."""
        return JSONResponse({"classes": self._open_model().classes()})

    async def classify(self, request: Request) -> Response:
        """The most probable classes of each photo of the request."""
        try:
            return await self._classify(request)
        except Problem as problem:
            return problem.response()

    async def _classify(self, request: Request) -> Response:
        model = self._open_model()
        started = time.perf_counter()
        reading = False
        try:
            async with asyncio.timeout(self._settings.timeout), self._slots:
                reading = True
                upload = await read_upload(request, self._settings)
                reading = False
                read = time.perf_counter()
                predictions = await model.predict(upload.photos, top_k=upload.top_k)
        except TimeoutError as error:
            raise _too_slow(self._settings.timeout, reading=reading) from error
        timings = {
            "read_ms": _milliseconds(read - started),
            "predict_ms": _milliseconds(time.perf_counter() - read),
        }
        results = [
            _result(photo, prediction)
            for photo, prediction in zip(upload.photos, predictions, strict=True)
        ]
        if len(results) == 1 and isinstance(results[0], Problem):
            raise results[0]
        return JSONResponse(
            {
                "model": model.name,
                "views": model.views,
                "results": _plain(results),
                "timings": timings,
            }
        )

    def _open_model(self) -> ServedModel:
        if self._model is None:
            raise Problem(503, "not_ready", "The model is not open.", headers={"Retry-After": "1"})
        return self._model


def _result(photo: bytes, prediction: Prediction) -> dict[str, Any] | Problem:
    """The answer for one photo; `frames` and `note` are said of an animation only."""
    error = prediction.error
    if error is not None and error.code == "not_a_photo" and _ADDRESS.match(photo):
        detail = "This is an address. The service fetches nothing: send the photo itself."
        return Problem(415, "address_refused", detail)
    if error is not None:
        return photo_problem(error.code, str(error))
    result: dict[str, Any] = {
        "width": prediction.width,
        "height": prediction.height,
        "format": prediction.format,
        "predictions": [
            {
                "index": score.index,
                "label": score.label,
                "name": score.name,
                "probability": score.probability,
            }
            for score in prediction.scores
        ],
    }
    if prediction.frames is not None and prediction.frames > 1:
        result["frames"] = prediction.frames
        result["note"] = f"The first of {prediction.frames} frames was used."
    return result


def _plain(results: Sequence[dict[str, Any] | Problem]) -> list[dict[str, Any]]:
    return [
        {"error": result.to_dict()} if isinstance(result, Problem) else result for result in results
    ]


def _too_slow(seconds: float, *, reading: bool) -> Problem:
    if reading:
        detail = f"The request did not arrive within {seconds:g} seconds."
        return Problem(408, "upload_timeout", detail, headers={"Connection": "close"})
    detail = f"There was no answer within {seconds:g} seconds: try again later."
    return Problem(503, "overloaded", detail, headers={"Retry-After": "5"})


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 3)
