"""What is no HTTP, or not clear about where it ends: refused as anything else, and then hung up on.

RFC 9112: 2.2 (what a request is), 3.2 (one Host), 6.3 (where a body ends), 7.1 (chunks).
"""

import json
import socket
from http.client import HTTPResponse

import httpx
import pytest

from serve.headers import EVERY_ANSWER
from tests.serve.gated import until
from tests.serve.test_access_log import line_of, new_id

NEXT = b"GET /v1/model HTTP/1.1\r\nHost: here\r\n\r\n"


def request(*headers, body=b"", method="POST", path="/v1/classify"):
    """A request with nothing but these headers, and another one right behind it."""
    head = "\r\n".join((f"{method} {path} HTTP/1.1", *headers, "", ""))
    return head.encode() + body + NEXT


CHUNKED = "Transfer-Encoding: chunked"
UNREADABLE = {
    "no host": request(method="GET", path="/"),
    "two hosts": request("Host: a", "Host: b", method="GET", path="/"),
    "a method that is none": request("Host: here", method="G@T", path="/"),
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    "a head of 100 kB": f"GET / HTTP/1.1\r\nA: {'a' * 100_000}".encode(),
    "two lengths": request("Host: here", "Content-Length: 3", "Content-Length: 4", body=b"abc"),
    "a length below 0": request("Host: here", "Content-Length: -3", body=b"abc"),
    "a length and chunks": request("Host: here", "Content-Length: 5", CHUNKED, body=b"0\r\n\r\n"),
    "chunks and a length": request("Host: here", CHUNKED, "Content-Length: 5", body=b"0\r\n\r\n"),
    "another encoding": request("Host: here", "Transfer-Encoding: gzip, chunked"),
}


def refusal(service, *pieces):
    """The headers and the details of the one answer after which the service hangs up."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as sock:
        for piece in pieces:
            sock.sendall(piece)
        response = HTTPResponse(sock)
        response.begin()
        details = json.loads(response.read(int(response.headers["Content-Length"])))
        assert sock.recv(1) == b""  # and no answer to what comes after it
    assert response.status == details["status"] == 400
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Connection"] == "close"
    assert details["code"] == "malformed_request"
    return response.headers, details


def counted(service):
    """Requests that were refused so, by the metrics."""
    wanted = 'alexnet_problems_total{code="malformed_request"} '
    lines = httpx.get(service.url + "/metrics", timeout=60).text.splitlines()
    return sum(float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted))


def test_a_body_that_is_compressed_on_the_way_is_told_so(service):
    _, details = refusal(service, UNREADABLE["another encoding"])
    assert details["detail"].startswith("Its Transfer-Encoding is not read here")


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_can_not_be_read_is_refused_logged_and_counted(service, case):
    before = counted(service)
    headers, _ = refusal(service, UNREADABLE[case])
    for name, value in EVERY_ANSWER.items():
        assert headers[name] == value, name
    line = line_of(service, headers["X-Request-Id"])
    assert (line["status"], line["code"]) == (400, "malformed_request")
    assert counted(service) == before + 1


@pytest.mark.parametrize("together", [True, False])
def test_a_body_with_a_bad_chunk_is_one_request_under_its_own_id(service, together):
    before, id = counted(service), new_id()
    head = ("Host: here", f"X-Request-Id: {id}", CHUNKED, "Expect: 100-continue")
    good, bad = request(*head).removesuffix(NEXT), b"zz\r\nabc\r\n"
    if together:
        headers, _ = refusal(service, good.replace(b"Expect", b"X-No") + bad)
    else:
        with socket.create_connection(("127.0.0.1", service.port), timeout=60) as sock:
            sock.sendall(good)
            assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")  # it is being read
            sock.sendall(b"3\r\nabc\r\n" + bad)
            response = HTTPResponse(sock)
            response.begin()
            headers = response.headers
            assert (response.status, headers["Connection"]) == (400, "close")
    assert headers["X-Request-Id"] == id
    line = line_of(service, id)  # there is one, and no more
    assert (line["route"], line["status"], line["code"]) == (
        "/v1/classify", 400, "malformed_request",
    )  # fmt: skip
    assert counted(service) == before + 1


def test_a_bad_chunk_after_the_answer_ends_the_connection_without_another(service):
    large = b"%x\r\n%s\r\n" % (200_000, bytes(200_000))
    head = request("Host: here", CHUNKED, path="/nothing").removesuffix(NEXT)
    before = service.log.count("Traceback")
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as sock:
        sock.sendall(head)
        response = HTTPResponse(sock)
        response.begin()
        assert response.status == 404
        response.read()
        sock.sendall(large + b"zz\r\n")
        assert sock.recv(1) == b""
    until(lambda: httpx.get(service.url + "/livez", timeout=60).status_code == 200)
    assert service.log.count("Traceback") == before


def test_a_request_behind_a_good_one_is_refused_on_its_own(service):
    found = b""
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as sock:
        sock.sendall(NEXT + request(method="GET", path="/"))
        while piece := sock.recv(10_000):
            found += piece
    assert found.startswith(b"HTTP/1.1 200 OK\r\n")
    assert found.count(b"HTTP/1.1 400 Bad Request\r\n") == found.count(b"malformed_request") == 1
