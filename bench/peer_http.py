"""Peers behind HTTP: plain FastAPI and BentoML services, and ours, each a process of its own."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from alexnet.checkpoint import load_checkpoint
from alexnet.child_process import ROOT, environment, python_module
from alexnet.errors import AlexNetError, optional_import
from bench.peer import BEST, Peer, Setup
from bench.service_process import Service, free_port, our_service, running
from bench.work import Answer

_BOUNDARY = "alexnet-bench-peers"
_TIMEOUT = 120.0  # seconds
_SERVICES = "bench.peer_services"

PLAIN: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "FastAPI": (
        ("fastapi", "uvicorn", "python_multipart"),
        ("uvicorn", f"{_SERVICES}.fastapi_service:app"),
        "/openapi.json",
    ),
    "BentoML": ((), ("bentoml", "serve", f"{_SERVICES}.bentoml_service:Plain"), "/readyz"),
    "BentoML, adaptive batching": (
        (),
        ("bentoml", "serve", f"{_SERVICES}.bentoml_batching:Batching"),
        "/readyz",
    ),
}
"""The plain services: packages that may be missing, command, and path that tells it is ready."""


@dataclass(frozen=True, kw_only=True)
class Hosted:
    """A service that runs and takes a form with a photo in its field `image`."""

    name: str
    what: str
    """For people."""
    url: str
    """That forms are posted to."""
    service: Service
    ask: Callable[[bytes], Answer]
    """Over one kept connection. Raises AlexNetError where it fails."""


def fastapi(setup: Setup, stack: ExitStack) -> Peer:
    """FastAPI under uvicorn, fifty lines."""
    return _plain(setup, stack, "FastAPI")


def bentoml(setup: Setup, stack: ExitStack) -> Peer:
    """BentoML without batching."""
    return _plain(setup, stack, "BentoML")


def bentoml_batching(setup: Setup, stack: ExitStack) -> Peer:
    """BentoML with adaptive batching."""
    return _plain(setup, stack, "BentoML, adaptive batching")


def our_own(setup: Setup, stack: ExitStack) -> Peer:
    """`bentoml serve` as the README has it, with the same graph."""
    return _peer(setup, host_ours(setup.graph(), setup.threads, stack))


def host_ours(model: Path, threads: int | None, stack: ExitStack) -> Hosted:
    """Start our service.

    Raises:
        LoadError: it does not get ready.
    """
    port = free_port()
    settings = {"ALEXNET_MODEL": str(model)}
    if threads is not None:
        settings["ALEXNET_THREADS"] = str(threads)
    started = running(
        our_service(port),
        url=_at(port),
        ready_path="/readyz",
        environment=environment() | settings,
    )
    return Hosted(
        name="our service",
        what="bentoml serve, the same graph",
        url=_at(port) + "/v1/classify",
        service=stack.enter_context(started),
        ask=_asking(stack, port, f"/v1/classify?top_k={BEST}", _from_ours),
    )


def host_plain(name: str, model: Path, threads: int | None, stack: ExitStack) -> Hosted:
    """Start one of the plain services, named in `PLAIN`, with a graph in ONNX Runtime.

    Raises:
        MissingPackageError: what it is made of is not installed.
        LoadError: it does not get ready.
    """
    packages, command, ready = PLAIN[name]
    for package in packages:
        optional_import(package, extra="peers")
    port = free_port()
    settings = {
        "PEER_MODEL": str(model.absolute()),
        "PEER_THREADS": str(threads or 0),
        "BENTOML_DO_NOT_TRACK": "True",
        "ORT_DISABLE_TELEMETRY": "1",
    }
    # uvicorn and BentoML look for what they serve in the folder that they start in.
    started = running(
        python_module(*command, "--host", "127.0.0.1", "--port", str(port)),
        url=_at(port),
        ready_path=ready,
        environment=environment() | settings,
        folder=ROOT,
    )
    return Hosted(
        name=f"{name} service",
        what="plain, our graph in ONNX Runtime",
        url=_at(port) + "/classify",
        service=stack.enter_context(started),
        ask=_asking(stack, port, "/classify", _from_plain),
    )


def _plain(setup: Setup, stack: ExitStack, name: str) -> Peer:
    return _peer(setup, host_plain(name, setup.graph(), setup.threads, stack))


def _peer(setup: Setup, hosted: Hosted) -> Peer:
    turn = cycle(setup.photos)
    return Peer(
        name=hosted.name,
        part="services",
        what=hosted.what,
        config=load_checkpoint(setup.checkpoint).config,
        answers=[hosted.ask(photo.data) for photo in setup.photos],
        call=lambda: hosted.ask(next(turn).data),
        threads=setup.threads,
    )


def _at(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _asking(
    stack: ExitStack, port: int, path: str, read: Callable[[Any], Answer]
) -> Callable[[bytes], Answer]:
    """A call that POSTs a photo over one kept connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
    stack.callback(connection.close)
    headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}

    def post(body: bytes) -> tuple[int, bytes]:
        connection.request("POST", path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()

    def ask(data: bytes) -> Answer:
        body = form(data)
        try:
            try:
                status, content = post(body)
            except (ConnectionError, http.client.RemoteDisconnected):
                connection.close()  # servers hang up after some idle seconds: opened anew
                status, content = post(body)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise AlexNetError(f"The service on port {port} does not answer: {error}.") from error
        if status != 200:
            text = content[:300].decode("utf-8", "replace")
            raise AlexNetError(f"The service on port {port} answers {status}: {text}")
        return read(json.loads(content))

    return ask


def form(data: bytes) -> bytes:
    """A multipart form with the photo in its field `image`."""
    head = (
        f"--{_BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="image"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return head.encode() + data + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _from_plain(answer: Any) -> Answer:
    rows = answer[0] if isinstance(answer[0][0], list) else answer  # of a batch of one
    return [(int(index), float(probability)) for index, probability in rows]


def _from_ours(answer: Any) -> Answer:
    scores = answer["results"][0]["predictions"]
    return [(int(score["index"]), float(score["probability"])) for score in scores]
