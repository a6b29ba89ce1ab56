"""What `bentoml serve` runs: our application with BentoML's workers, probes, metrics, packaging.

This module is imported by the command itself, by each of its workers and by `bentoml build`; the
model is opened in the workers only.
"""

from __future__ import annotations

import logging
import os
import resource
import threading
from pathlib import Path
from typing import Any

import bentoml
import click
from bentoml.exceptions import BentoMLException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from alexnet.errors import AlexNetError
from serve.access_log import AccessLogMiddleware
from serve.app import Application
from serve.connection import watch_connections
from serve.control import take_control
from serve.headers import HeadersMiddleware, HostsMiddleware, OriginsMiddleware
from serve.keys import KeysMiddleware, check_keys
from serve.metrics import Metrics
from serve.paths import METRICS
from serve.problems import ProblemMiddleware
from serve.settings import EnvironmentVariableError, Settings, read_settings, variable
from serve.telemetry import OFF, off_by_default
from serve.trial import try_model

# Open files of a worker, nearly all of them connections.
_CONNECTIONS = 65_536
# Seconds that the last line of a worker's log may take.
_SAYING = 1.0


def _end_worker(reason: str) -> None:
    """End this process; BentoML's supervisor starts another, or in a container ends with it."""

    def say() -> None:
        logging.getLogger("alexnet.serve").critical("%s: this worker ends", reason)
        logging.shutdown()

    saying = threading.Thread(target=say, daemon=True)
    saying.start()
    saying.join(_SAYING)  # who reads the log may hang as well
    os._exit(os.EX_SOFTWARE)  # sys.exit and SIGTERM would wait for the thread that is stuck


off_by_default()
watch_connections()
metrics = Metrics()
application = Application(observer=metrics, end=_end_worker)
application.asgi.routes.append(Route(METRICS, metrics.show))


def _listening() -> dict[str, Any]:
    """Where the service listens, unless BentoML's own options say otherwise."""
    try:
        settings = read_settings()
    except EnvironmentVariableError:  # `check_settings` says so, where a service is started
        settings = Settings()
    return {"host": settings.host, "port": settings.port}


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
    http=_listening(),
    # Ours are in serve/access_log.py and serve/metrics.py.
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    # Spans that nobody collects took more time than all the rest of a request but its photos.
    tracing={"excluded_urls": ".*"},
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
            check_keys(settings)
            take_control(settings)
            _allow_connections()
            _tell_workers(settings)
            try_model(seconds=settings.start_timeout)
        except AlexNetError as error:
            raise BentoMLException(str(error)) from error

    async def __is_ready__(self) -> bool:
        """What GET /readyz says."""
        return await application.life.check_ready()

    async def __is_alive__(self) -> bool:
        """What GET /livez says."""
        return application.life.alive

    @bentoml.api(input_spec=Photos, output_spec=Answer)  # type: ignore[untyped-decorator]
    async def classify(self, image: list[Path], top_k: int = 5) -> Response:
        """The most probable classes of each photo: POST /v1/classify for BentoML's own clients."""
        return await application.classify(AlexNet.context.request)  # type: ignore[attr-defined]


def _tell_workers(settings: Settings) -> None:
    """Let workers know where files are, and where `bentoml serve` was told to listen."""
    for name in ("model", "keys"):
        path: Path | None = getattr(settings, name)
        if path is not None:  # workers start in another folder when a built bento is served
            os.environ[variable(name)] = str(path)
    command = click.get_current_context(silent=True)
    for name in ("host", "port"):  # GET /v1/model shows them
        if command is not None and command.params.get(name):
            os.environ[variable(name)] = str(command.params[name])


def _allow_connections() -> None:
    """Lift the limit of open files, often 1,024, which each connection counts in, for workers."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _CONNECTIONS if most == resource.RLIM_INFINITY else min(most, _CONNECTIONS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))


# The doors, from the outermost.
AlexNet.add_asgi_middleware(AccessLogMiddleware, metrics=metrics)  # type: ignore[attr-defined]
for door in (
    HeadersMiddleware,
    OriginsMiddleware,
    ProblemMiddleware,
    HostsMiddleware,
    KeysMiddleware,
):
    AlexNet.add_asgi_middleware(door)  # type: ignore[attr-defined]
