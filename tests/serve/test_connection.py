"""Connections that fall silent, trickle, or are not read from: they end, and others live on."""

import socket
import threading
import time
from contextlib import contextmanager, suppress
from http.client import HTTPResponse

import pytest
import uvicorn

from serve.connection import Connection
from serve.problems import ProblemMiddleware
from tests.serve.gated import until
from tests.serve.running import free_port

QUIET, WHOLE = 0.2, 1.0
LARGE = 30_000_000


async def app(scope, receive, send):
    """A large answer at /large, a refusal without a look at the body at /refused, else its size."""
    if scope["path"] == "/large":
        body = bytes(LARGE)
    elif scope["path"] == "/refused":
        body = b"no"
    else:
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size, more = size + len(message["body"]), message["more_body"]
        body = str(size).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def server(monkeypatch):
    """A server of such connections."""
    monkeypatch.setattr("serve.connection.limits", lambda: (QUIET, WHOLE))
    options = {"http": Connection, "lifespan": "off", "ws": "none", "log_config": None}
    server = uvicorn.Server(uvicorn.Config(ProblemMiddleware(app), port=free_port(), **options))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    yield server
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


@contextmanager
def connection(server, sent=b"", **options):
    """A connection on which this was sent."""
    with socket.socket() as sock:
        for name, value in options.items():
            sock.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        sock.settimeout(20)
        sock.connect(("127.0.0.1", server.config.port))
        sock.sendall(sent)
        yield sock


def head(path="/", *headers, method="GET"):
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: here", *headers, "", "")).encode()


def answer(sock):
    """The body of the next answer."""
    response = HTTPResponse(sock)
    response.begin()
    return response.read()


def end_of(sock):
    """What comes until the server hangs up."""
    found = b""
    try:
        while piece := sock.recv(100_000):
            found += piece
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize("sent", [b"", b"GET / HT"])
def test_a_client_that_does_not_finish_a_head_is_hung_up_on(server, sent):
    with connection(server, sent) as sock:
        assert end_of(sock) == b""


def test_nor_may_it_leave_the_second_one_unfinished(server):
    with connection(server, head()) as sock:
        assert answer(sock) == b"0"
        sock.sendall(b"GET / HT")
        assert end_of(sock) == b""


def test_so_is_one_that_falls_silent_in_a_body_that_was_refused(server):
    with connection(server, head("/refused", "Content-Length: 9", method="POST")) as sock:
        assert answer(sock) == b"no"
        with suppress(OSError):  # it may have hung up already, where this client was late
            sock.sendall(b"some")
        assert end_of(sock) == b""


def test_so_is_one_whose_head_never_ends(server):
    sent = 0
    with connection(server, b"GET / HTTP/1.1\r\nX-A: ") as sock, suppress(OSError):
        while sent < 200:  # never silent for long
            time.sleep(QUIET / 5)
            sock.sendall(b"a")
            sent += 1
    assert sent < 200


def test_an_answer_that_nobody_reads_is_given_up(server):
    with connection(server, head("/large"), SO_RCVBUF=4096) as sock:
        assert sock.recv(15) == b"HTTP/1.1 200 OK"
        until(lambda: not server.server_state.connections)
        assert len(end_of(sock)) < LARGE


def test_an_answer_that_is_read_slowly_is_not(server):
    with connection(server, head("/large"), SO_RCVBUF=65_536) as sock:
        found, paused = 0, 0.0
        while found < LARGE:
            piece = sock.recv(LARGE)
            assert piece, "it was hung up on"
            found += len(piece)
            if paused < 2 * WHOLE and found > LARGE * paused / (3 * WHOLE):
                time.sleep(QUIET / 3)
                paused += QUIET / 3
        assert paused > WHOLE


def test_a_client_may_ask_again_and_again_for_longer_than_one_request_may_last(server):
    with connection(server) as sock:
        end = time.monotonic() + 2 * WHOLE
        while time.monotonic() < end:
            sock.sendall(head())
            assert answer(sock) == b"0"
            time.sleep(QUIET / 2)


def test_a_request_that_is_under_way_has_limits_of_its_own(server):
    with connection(server, head("/", "Content-Length: 4", method="POST")) as sock:
        time.sleep(2 * WHOLE)
        sock.sendall(b"four")
        assert answer(sock) == b"4"


def chunked(piece, count):
    chunk = b"%x\r\n%s\r\n" % (len(piece), piece)
    return head("/", "Transfer-Encoding: chunked", method="POST") + chunk * count + b"0\r\n\r\n"


def test_a_body_in_chunks_of_a_byte_is_not_read_to_its_end(server):
    with connection(server) as sock:
        with suppress(OSError):
            sock.sendall(chunked(b"a", 300_000))
        refusal = end_of(sock)
        assert refusal.startswith(b"HTTP/1.1 400 ")
        assert b"too many chunks of a few bytes" in refusal


@pytest.mark.parametrize(("piece", "count"), [(b"a" * 200, 3000), (b"a", 99)])
def test_a_body_in_other_chunks_is(server, piece, count):
    with connection(server, chunked(piece, count)) as sock:
        assert int(answer(sock)) == len(piece) * count


def test_so_is_one_of_line_ends_that_is_in_no_chunks(server):
    whole = b"\r\n" * 50_000
    with connection(server, head("/", "Content-Length: 100000", method="POST") + whole) as sock:
        assert answer(sock) == b"100000"
