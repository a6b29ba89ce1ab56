"""Connections that behave badly, and a service with low limits."""

import asyncio
import random
import resource
import socket
import time
from collections import Counter

import httpx
import psutil
import pytest

from tests.photos import encode, pattern
from tests.serve.running import form, image_part, peak_memory, problem

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
    chance = random.Random(6)
    body, headers = form(image_part(PHOTO[:300]), image_part(encode(pattern(8, 8))))
    with httpx.Client(base_url=service.url, timeout=60) as client:
        for _ in range(300):
            damaged = bytearray(body)
            for _ in range(chance.choice((1, 3, 10))):
                at = chance.randrange(len(damaged))
                if chance.random() < 0.5:
                    damaged[at : at + chance.choice((1, 4, 50))] = b""
                else:
                    damaged[at:at] = chance.choice((b"\r\n", b"--frontier", b"\0", b'"', b";"))
            response = client.post("/v1/classify", content=bytes(damaged), headers=headers)
            assert response.status_code in (200, 400, 415, 422), bytes(damaged)
            if response.status_code != 200:
                problem(response)


def test_every_setting_is_obeyed_and_shown(strict_service):
    model = httpx.get(strict_service.url + "/v1/model").json()
    assert (model["backend"], model["views"]) == ("torch", "centre")
    assert model["batching"] == {"photos": 2, "wait_ms": 1.0, "streams": 1}
    formats = model["limits"].pop("formats")
    assert formats == ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIF"]
    assert model["limits"] == {
        "body_bytes": 100_000,
        "pixels": 10_000,
        "photos": 2,
        "requests": 400,
        "seconds": 20.0,
        "upload_bytes": 30_000_000,
        "upload_seconds": 5.0,
        "queue_photos": 20,
    }
    assert strict_service.classify(PHOTO).json()["views"] == "centre"


def test_the_limits_are_the_settings(strict_service):
    assert problem(strict_service.classify(bytes(100_000)))["code"] == "body_too_large"
    small, large = encode(pattern(100, 100)), encode(pattern(101, 100))
    assert strict_service.classify(small).status_code == 200
    assert "0.01 megapixels" in problem(strict_service.classify(large))["detail"]
    assert strict_service.classify(small, small).status_code == 200
    details = problem(strict_service.classify(small, small, small))
    assert (details["status"], details["code"]) == (413, "too_many_photos")


def test_a_body_of_just_the_limit_is_read(strict_service):
    url = strict_service.url + "/v1/classify"
    photo = PHOTO + bytes(100_000 - len(PHOTO))  # what follows the end of a JPEG is ignored
    assert httpx.post(url, content=photo).status_code == 200
    assert httpx.post(url, content=photo + b"\0").status_code == 413


def test_an_upload_that_falls_silent_is_ended_and_others_are_answered_meanwhile(strict_service):
    with socket.create_connection(("127.0.0.1", strict_service.port), timeout=60) as slow:
        slow.sendall(request("Content-Length: 1000", body=PHOTO[:100]))
        assert strict_service.classify(PHOTO).status_code == 200
        with slow.makefile("rb") as file:
            answer = file.read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"upload_timeout"' in answer
    assert strict_service.classify(PHOTO).status_code == 200


def test_a_thousand_clients_at_once_are_answered_or_told_to_come_back(strict_service):
    reader = resource.RLIMIT_NOFILE
    soft, hard = resource.getrlimit(reader)
    resource.setrlimit(reader, (min(hard, max(soft, 4096)), hard))
    body = encode(pattern(100, 100), "BMP")  # 30 kB, so that bodies take their time

    async def client():
        streams, sink = await asyncio.open_connection("127.0.0.1", strict_service.port)
        sink.write(request(f"Content-Length: {len(body)}", body=body))
        status = int((await streams.readline()).split()[1])
        head = await streams.readuntil(b"\r\n\r\n")
        sink.close()
        return status, b"retry-after: " in head.lower()

    async def crowd():
        return await asyncio.gather(*(client() for _ in range(1000)))

    before = peak_memory(strict_service)
    answers = Counter(asyncio.run(crowd()))
    grown = peak_memory(strict_service) - before
    print(f"{dict(answers)}, peak memory {before / 1e6:.0f} MB + {grown / 1e6:.0f} MB")
    assert set(answers) <= {(200, False), (503, True)}
    assert answers[200, False] >= 20  # at least what the queue holds
    assert grown < 150e6
    assert strict_service.classify(PHOTO).status_code == 200


def test_a_worker_that_dies_is_replaced_also_when_the_model_is_gone_for_a_while(strict_service):
    model = strict_service.log_file.parent / "model.safetensors"
    away = model.rename(model.with_name("away.safetensors"))
    assert strict_service.classify(PHOTO).status_code == 200  # it has read all there was
    (worker,) = strict_service.children()
    worker.kill()
    psutil.wait_procs([worker], timeout=30)
    details = problem(strict_service.first_answer())
    assert (details["status"], details["code"]) == (503, "not_ready")
    assert httpx.get(strict_service.url + "/readyz").status_code == 503
    assert httpx.get(strict_service.url + "/livez").status_code == 200
    assert f"There is no checkpoint {model}" in strict_service.log
    assert "Traceback" not in strict_service.log
    away.rename(model)
    strict_service.wait_until_ready()
    assert strict_service.classify(PHOTO).status_code == 200


@pytest.mark.parametrize("seconds", [0, 1.2])
def test_a_connection_lives_on_after_an_error(service, seconds):
    with httpx.Client(base_url=service.url) as client:
        assert client.post("/v1/classify", content=b"text").status_code == 415
        time.sleep(seconds)
        assert client.post("/v1/classify", content=PHOTO).status_code == 200
