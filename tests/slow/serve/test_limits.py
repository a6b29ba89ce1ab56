"""A service with low limits, and a crowd of clients; a worker that dies."""

import asyncio
import resource
import socket
from collections import Counter

import httpx
import psutil

from alexnet.container import FORMATS
from tests.photos import encode, pattern
from tests.serve.running import peak_memory, problem
from tests.serve.test_limits import request

PHOTO = encode(pattern(), "JPEG")


def test_every_setting_is_obeyed_and_shown(strict_service):
    model = httpx.get(strict_service.url + "/v1/model").json()
    assert (model["backend"], model["views"]) == ("torch", "centre")
    assert model["batching"] == {"photos": 2, "wait_ms": 1.0, "streams": 1}
    formats = model["limits"].pop("formats")
    assert formats == list(FORMATS)
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


def test_the_service_has_such_connections(strict_service):
    with socket.create_connection(("127.0.0.1", strict_service.port), timeout=20) as sock:
        assert sock.recv(1) == b""  # though nothing was asked
