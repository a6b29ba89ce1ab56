"""The real service in a process of its own, and raw requests to it."""

import contextlib
import http.client
import io
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from tests.photos import ROOT

MINE = ("ALEXNET_", "BENTOML_", "ORT_DISABLE")


# Below those that the system gives to whoever asks for any.
_PORTS = iter(range(20_000, 32_000))
# Each port's number is taken for UDP, too, as long as this process runs: by that the processes of
# this suite, and of others beside it, know which are each other's while nobody listens yet.
_TAKEN = []


def free_port():
    """A port that nobody listens on now, and no other test will."""
    for port in _PORTS:
        mark = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", port))
                mark.bind(("127.0.0.1", port))
        except OSError:
            mark.close()
        else:
            _TAKEN.append(mark)
            return port
    raise AssertionError("there is no free port")


class Service:
    """`bentoml serve`, started on a free port of 127.0.0.1."""

    def __init__(
        self, folder, *arguments, command=("bentoml", "serve"), cwd=ROOT, by=(), **environment
    ):
        """`folder` keeps its log and BentoML's files; `environment` replaces what it would see.

        `by` is put before the command: what runs it as somebody else.
        """
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = folder / "log"
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(MINE)}
        kept |= {"BENTOML_HOME": str(folder / "bentoml"), "TMPDIR": str(self.temporary)}
        kept["OMP_NUM_THREADS"] = "1"  # several threads wait for each other on a busy machine
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [*by, sys.executable, "-m", *command, "--port", str(self.port), *arguments],
                cwd=cwd,
                env=kept | {name: str(value) for name, value in environment.items()},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self):
        """All that it has written."""
        return self.log_file.read_text("utf-8", "replace")

    def wait_until_ready(self, seconds=180):
        """Until GET /readyz says so."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(self.url + "/readyz", timeout=5).status_code == 200:
                    return self
            time.sleep(0.1)
        raise AssertionError(f"the service did not get ready:\n{self.log}")

    def first_answer(self, path="/v1/model", seconds=120):
        """What the service says once it listens, ready or not."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(self.url + path, timeout=5)
            time.sleep(0.1)
        raise AssertionError(f"the service does not listen:\n{self.log}")

    def children(self):
        """Its workers."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self):
        """SIGTERM, and its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(90)  # longer than it may take, whatever hangs
        except subprocess.TimeoutExpired:
            for child in self.children():
                child.kill()
            self.process.kill()
            raise

    def classify(self, *photos, path="/v1/classify", **options):
        """POST the photos as a form."""
        files = [("image", ("photo", photo)) for photo in photos]
        return httpx.post(self.url + path, files=files, timeout=60, **options)

    def connection(self):
        """A connection of its own, kept alive."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def exchange(self, request):
        """Send raw bytes; the status and the headers and body of what comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as sock:
            sock.sendall(request)
            response = http.client.HTTPResponse(sock)
            response.begin()
            return response.status, response.headers, response.read()


class Listener:
    """A server that takes note of who calls and hangs up."""

    def __init__(self):
        self.calls = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    self.calls.append(connection.recv(1000).split(b"\r\n")[0])

    def close(self):
        """Listen no more."""
        self._socket.close()


def peak_memory(service):
    """Bytes that the worker has taken at most."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of a process's memory is read from /proc")
    (worker,) = service.children()
    status = Path(f"/proc/{worker.pid}/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def form(*parts, boundary=b"frontier"):
    """A multipart body of (head, content) pairs as they are, and its Content-Type."""
    body = io.BytesIO()
    for head, content in parts:
        body.write(b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n")
    body.write(b"--" + boundary + b"--\r\n")
    return body.getvalue(), {"Content-Type": f"multipart/form-data; boundary={boundary.decode()}"}


def image_part(content, *, filename="a.jpg", type="image/jpeg"):
    """One part of `form`."""
    disposition = f'Content-Disposition: form-data; name="image"; filename="{filename}"'
    return f"{disposition}\r\nContent-Type: {type}".encode(), content


def damaged_forms(body, *, count):
    """Copies of a form with pieces cut out and put in; always the same ones."""
    chance = random.Random(6)
    for _ in range(count):
        damaged = bytearray(body)
        for _ in range(chance.choice((1, 3, 10))):
            at = chance.randrange(len(damaged))
            if chance.random() < 0.5:
                damaged[at : at + chance.choice((1, 4, 50))] = b""
            else:
                damaged[at:at] = chance.choice((b"\r\n", b"--frontier", b"\0", b'"', b";"))
        yield bytes(damaged)


def problem(response):
    """The problem details of an error response, checked to be such."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    details = response.json()
    assert set(details) == {"type", "title", "status", "detail", "code"}
    assert details["status"] == response.status_code
    assert details["detail"].endswith((".", "?"))
    return details


def make_model(path: Path, *, seed=0):
    """A checkpoint of `mini` with random weights, which tells photos apart."""
    from alexnet.checkpoint import save_checkpoint
    from alexnet.config import preset
    from alexnet.fresh import fresh_checkpoint
    from alexnet.labels import Label

    labels = tuple(Label(f"n{index:08}", f"thing {index}") for index in range(50))
    checkpoint = fresh_checkpoint(preset("mini"), seed=seed, labels=labels)
    checkpoint.weights["fc8.weight"].mul_(10)  # as sure of its answers as a trained network
    made = replace(checkpoint, provenance={"data": "none: random weights"})
    save_checkpoint(made, path)
    return path
