"""What `bentoml serve` runs: our application with BentoML's workers, probes, metrics, packaging.

This module is imported by the command itself, by each of its workers and by `bentoml build`; the
model is opened in the workers only.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import bentoml
from bentoml.exceptions import BentoMLException
from starlette.requests import Request
from starlette.responses import Response

from alexnet.errors import AlexNetError
from serve.app import Application
from serve.problems import ProblemMiddleware
from serve.settings import read_settings
from serve.telemetry import OFF, off_by_default

off_by_default()
application = Application()


class Photos(bentoml.IODescriptor):  # type: ignore[misc]
    """What BentoML's clients are told to send; the request is read by our own code."""

    image: list[Path]
    top_k: int = 5

    @classmethod
    async def from_http_request(cls, request: Request, serde: object) -> Photos:
        """Leave the request unread: BentoML would write it to disk and fetch what is a URL."""
        unread: Photos = cls.model_construct(image=[])
        return unread


class Answer(bentoml.IODescriptor):  # type: ignore[misc]
    """What BentoML's clients are told to expect."""

    model: str
    views: str
    results: list[dict[str, Any]]
    timings: dict[str, float]


@bentoml.service(
    name="alexnet",
    workers=1,
    envs=[{"name": name, "value": value} for name, value in OFF.items()],
    http={"host": "127.0.0.1", "port": 3000},
    # BentoML's log takes every Content-Type for UTF-8, and fails on one that is not.
    logging={"access": {"request_content_type": False}},
)
@bentoml.asgi_app(application.asgi, path="/")
class AlexNet:
    """Names what is in a photo: POST /v1/classify, GET /v1/model."""

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check_settings() -> None:
        """Refuse a wrong setting with a sentence, once, before any worker is started."""
        try:
            settings = read_settings()
        except AlexNetError as error:
            raise BentoMLException(str(error)) from error
        if settings.model is not None:
            # Workers start in another folder when a built bento is served.
            os.environ["ALEXNET_MODEL"] = str(settings.model)
        # A worker that fails is started again and again, so the model is tried in another process.
        trial = subprocess.run(
            [sys.executable, "-m", "serve.model"],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
        if trial.returncode != 0:
            raise BentoMLException((trial.stdout or trial.stderr).strip())

    async def __is_ready__(self) -> bool:
        """What GET /readyz says."""
        return application.ready

    @bentoml.api(input_spec=Photos, output_spec=Answer)  # type: ignore[untyped-decorator]
    async def classify(self, image: list[Path], top_k: int = 5) -> Response:
        """The most probable classes of each photo: POST /v1/classify for BentoML's own clients."""
        return await application.classify(AlexNet.context.request)  # type: ignore[attr-defined]


AlexNet.add_asgi_middleware(ProblemMiddleware)  # type: ignore[attr-defined]
