"""Slow clients and a backend that takes too long: what counts in seconds."""

import time

from tests.serve.backends import grey
from tests.serve.gated import answer, gated, until
from tests.serve.running import problem


def test_slow_uploads_keep_nobody_from_the_network(monkeypatch):
    with gated(monkeypatch, max_requests=8, upload_timeout=4) as service:
        slow = [service.open("Content-Length: 1000") for _ in range(7)]
        for sock in slow:
            sock.sendall(b"\xff\xd8")
        until(lambda: service.requests == 7)
        response = service.classify(grey(3))
        assert response.json()["results"][0]["predictions"][0]["index"] == 3
        # A client that stops sending is told so, and its place is free again.
        for sock in slow:
            status, headers, details = answer(sock)
            assert (status, details["code"]) == (408, "upload_timeout")
            assert headers["Connection"] == "close"
        until(lambda: service.requests == 0)
        assert service.held == 0


def test_an_upload_that_goes_on_slowly_is_read(monkeypatch):
    photo, pieces = grey(7), 8
    with gated(monkeypatch, upload_timeout=2) as service:
        sock = service.open(f"Content-Length: {len(photo)}")
        for at in range(0, len(photo), len(photo) // pieces + 1):
            sock.sendall(photo[at : at + len(photo) // pieces + 1])
            time.sleep(0.4)  # 2.8 seconds before the last, of which 2 in silence would be too long
        status, _, body = answer(sock)
    assert status == 200
    assert body["results"][0]["predictions"][0]["index"] == 7
    assert body["timings"]["read_ms"] > 2000


def test_a_request_that_is_not_answered_in_time_is_told_so_and_never_run(monkeypatch):
    with gated(monkeypatch, timeout=3) as service:
        service.backend.gate.clear()
        in_time = service.send(grey(49))
        assert service.backend.entered.acquire(timeout=20)
        late = service.classify(grey(1))
        details = problem(late)
        assert (details["status"], details["code"]) == (503, "overloaded")
        assert "3 seconds" in details["detail"]
        assert int(late.headers["Retry-After"]) >= 1
        assert answer(in_time)[0] == 503
        service.backend.gate.set()
        assert service.classify(grey(2)).status_code == 200
        assert service.backend.photos == [49, 2]
