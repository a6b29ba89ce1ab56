"""The application on a real port of this process, with a backend that tests hold by the hand."""

import json
import socket
import threading
import time
from contextlib import contextmanager
from http.client import HTTPResponse

import httpx
import uvicorn

from serve.app import Application
from serve.headers import HeadersMiddleware
from serve.problems import ProblemMiddleware
from tests.serve.backends import Backend
from tests.serve.running import free_port


class Gated:
    """A running application, and its backend."""

    def __init__(self, application, backend, port):
        self.application, self.backend, self.port = application, backend, port
        self.url = f"http://127.0.0.1:{port}"

    @property
    def waiting(self):
        """Photos in the queue."""
        return self.application.life.batcher.waiting

    @property
    def held(self):
        """Bytes of bodies that are held."""
        return self.application.memory.used

    @property
    def requests(self):
        """Requests that are read or answered."""
        return self.application.requests

    @property
    def decoded(self):
        """How many photos have left the decoders, since it was started."""
        return self.backend.heard.decoded

    def block(self):
        """Keep the backend busy with one photo, the first of its batches."""
        self.backend.gate.clear()
        first = self.send(*self.photo(49))
        assert self.backend.entered.acquire(timeout=60)
        return first

    def photo(self, *numbers):
        """Photos as `Backend` knows them."""
        from tests.serve.backends import grey

        return [grey(number) for number in numbers]

    def classify(self, *photos, **options):
        """POST the photos and wait for the answer."""
        files = [("image", ("photo", photo)) for photo in photos]
        return httpx.post(self.url + "/v1/classify", files=files, timeout=30, **options)

    def open(self, *headers):
        """A connection on which the head of a POST was sent."""
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        lines = ("POST /v1/classify HTTP/1.1", "Host: here", *headers, "", "")
        sock.sendall("\r\n".join(lines).encode())
        return sock

    def send(self, photo):
        """A connection on which a photo was sent."""
        sock = self.open(f"Content-Length: {len(photo)}")
        sock.sendall(photo)
        return sock


def answer(sock):
    """Status, headers and JSON of what comes back on a connection."""
    response = HTTPResponse(sock)
    response.begin()
    return response.status, response.headers, json.loads(response.read())


def until(condition, seconds=60.0):
    """Wait for it."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


@contextmanager
def gated(monkeypatch, **settings):
    """The application with these settings, until the end of the block."""
    backend = Backend()
    monkeypatch.setattr("serve.model.open_backend", lambda *_, **__: backend)
    for name, value in settings.items():
        monkeypatch.setenv(f"ALEXNET_{name.upper()}", str(value))
    application, port = Application(observer=backend.heard), free_port()
    asgi = HeadersMiddleware(ProblemMiddleware(application.asgi))
    config = uvicorn.Config(asgi, port=port, log_config=None, http="h11", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        backend.batches.clear()
        while backend.entered.acquire(blocking=False):
            pass
        yield Gated(application, backend, port)
    finally:
        backend.gate.set()
        server.should_exit = True
        thread.join(60)
    assert not thread.is_alive()
    assert backend.closed
