"""Connections that behave badly, and a service with low limits."""

import socket
import time

import httpx
import pytest

from tests.photos import encode, pattern
from tests.serve.running import damaged_forms, form, image_part, problem

PHOTO = encode(pattern(), "JPEG")


def request(*headers, body=b"", path="/v1/classify"):
    lines = (f"POST {path} HTTP/1.1", "Host: here", *headers, "", "")
    return "\r\n".join(lines).encode("latin-1") + body


def test_a_client_that_asks_first_is_refused_before_it_sends(service):
    status, headers, _ = service.exchange(
        request("Content-Length: 30000000", "Expect: 100-continue", "Content-Type: image/jpeg")
    )
    assert status == 413
    assert headers["Connection"] == "close"


def test_a_client_that_asks_first_is_told_to_go_on(service):
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as sock:
        sock.sendall(request(f"Content-Length: {len(PHOTO)}", "Expect: 100-continue"))
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
        sock.sendall(PHOTO)
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", ["/nothing", "/v1/model", "/v1/classify?what=1", "/v1/classify/"])
def test_a_client_that_asks_first_may_not_go_on_after_any_refusal(service, path):
    headers = ("Content-Length: 100", "Expect: 100-continue")
    status, answered, _ = service.exchange(request(*headers, path=path))
    assert status in (400, 404, 405)
    assert answered["Connection"] == "close"


@pytest.mark.parametrize("path", ["/v1/model/", "/v1/classify/", "/metrics/"])
def test_an_address_with_a_slash_too_many_is_none(service, path):
    response = httpx.get(service.url + path, headers={"Host": "evil.example"})
    assert (response.status_code, problem(response)["code"]) == (404, "not_found")
    assert "Location" not in response.headers


def test_a_body_far_beyond_the_limit_is_not_even_read(service):
    status, headers, _ = service.exchange(request("Content-Length: 99999999999"))
    assert status == 413
    assert headers["Connection"] == "close"


def test_headers_that_are_no_text_do_no_harm(service):
    length = f"Content-Length: {len(PHOTO)}"
    for header in ("Content-Type: image/\xff\xfe", "Content-Type: \xff", "X-Other: \xff"):
        assert service.exchange(request(length, header, body=PHOTO))[0] == 200
    disposition = 'Content-Type: multipart/form-data; boundary="\xff"'
    assert service.exchange(request(length, disposition, body=PHOTO))[0] == 400


def test_a_client_that_goes_away_leaves_the_service_unharmed(service):
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", service.port)) as sock:
            sock.sendall(request("Content-Length: 100000", body=PHOTO[:100]))
    assert service.classify(PHOTO).status_code == 200


def test_damaged_forms_never_make_the_service_fail(service):
    body, headers = form(image_part(PHOTO[:300]), image_part(encode(pattern(8, 8))))
    with httpx.Client(base_url=service.url, timeout=60) as client:
        for damaged in damaged_forms(body, count=30):
            response = client.post("/v1/classify", content=damaged, headers=headers)
            assert response.status_code in (200, 400, 415, 422), damaged
            if response.status_code != 200:
                problem(response)


@pytest.mark.parametrize("seconds", [0, 1.2])
def test_a_connection_lives_on_after_an_error(service, seconds):
    with httpx.Client(base_url=service.url) as client:
        assert client.post("/v1/classify", content=b"text").status_code == 415
        time.sleep(seconds)
        assert client.post("/v1/classify", content=PHOTO).status_code == 200
