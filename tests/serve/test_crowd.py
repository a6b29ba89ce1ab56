"""Many clients, slow clients, and clients that go away, while the backend is held by the hand."""

import socket
import struct
import threading

import httpx
import pytest

from tests.photos import encode, pattern
from tests.serve.backends import grey
from tests.serve.gated import answer, gated, until
from tests.serve.running import problem


@pytest.fixture
def crowd(monkeypatch):
    with gated(
        monkeypatch,
        queue=4,
        max_photos=4,
        max_requests=8,
        max_body="1MB",
        max_uploads="1500kB",
        upload_timeout=20,
        timeout=30,
    ) as service:
        yield service


@pytest.mark.parametrize("end", ["close", "reset", "half-close"])
def test_the_photos_of_a_client_that_goes_away_are_never_run(crowd, end):
    first = crowd.block()
    gone = crowd.send(grey(1))
    stays = crowd.send(grey(2))
    until(lambda: crowd.waiting == 2)
    if end == "reset":
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if end == "half-close":  # taken for gone, as nobody can tell the two apart
        gone.shutdown(socket.SHUT_WR)
    else:
        gone.close()
    until(lambda: crowd.waiting == 1)
    crowd.backend.gate.set()
    assert [answer(sock)[0] for sock in (first, stays)] == [200, 200]
    assert crowd.backend.photos == [49, 2]
    until(lambda: crowd.requests == 0)
    assert crowd.held == 0


def test_a_full_queue_refuses_before_the_body_is_read_and_the_connection_lives_on(crowd):
    first = crowd.block()
    waiting = [crowd.send(grey(number)) for number in range(4)]
    until(lambda: crowd.waiting == 4)
    late = crowd.open("Content-Length: 500000")
    status, headers, details = answer(late)
    assert (status, details["code"]) == (503, "overloaded")
    assert 1 <= int(headers["Retry-After"]) <= 60
    late.sendall(bytes(500_000))  # a client that does not listen while it sends
    crowd.backend.gate.set()
    assert [answer(sock)[0] for sock in (first, *waiting)] == [200] * 5
    photo = grey(5)
    head = f"POST /v1/classify HTTP/1.1\r\nHost: here\r\nContent-Length: {len(photo)}\r\n\r\n"
    late.sendall(head.encode() + photo)
    assert answer(late)[0] == 200
    assert 5 in crowd.backend.photos


def test_a_client_that_asks_first_is_refused_by_a_full_queue_for_good(crowd):
    crowd.block()
    waiting = [crowd.send(grey(number)) for number in range(4)]
    until(lambda: crowd.waiting == 4)
    status, headers, _ = answer(crowd.open("Content-Length: 500", "Expect: 100-continue"))
    assert (status, headers["Connection"]) == (503, "close")
    assert len(waiting) == 4


def test_an_upload_has_no_longer_than_the_whole_request(monkeypatch):
    with gated(monkeypatch, timeout=1, upload_timeout=5) as service:
        sock = service.open("Content-Length: 1000")
        sock.sendall(b"\xff")
        status, _, details = answer(sock)
        assert (status, details["code"]) == (408, "upload_timeout")
        assert "1 seconds" in details["detail"]


def test_requests_beyond_their_number_are_refused(crowd):
    slow = [crowd.open("Content-Length: 1000") for _ in range(8)]
    until(lambda: crowd.requests == 8)
    details = problem(crowd.classify(grey(1)))
    assert (details["status"], details["code"]) == (503, "overloaded")
    for sock in slow:
        sock.close()
    until(lambda: crowd.requests == 0)
    assert crowd.classify(grey(1)).status_code == 200


def test_bodies_beyond_their_memory_are_refused_and_others_are_read_on(crowd):
    first = crowd.block()
    large = encode(pattern(), "JPEG") + bytes(800_000)
    reading = crowd.open(f"Content-Length: {len(large)}")
    reading.sendall(large[:-1])
    until(lambda: crowd.held > 800_000)
    details = problem(crowd.classify(large))
    assert (details["status"], details["code"]) == (503, "overloaded")
    reading.sendall(large[-1:])
    crowd.backend.gate.set()
    assert [answer(sock)[0] for sock in (first, reading)] == [200, 200]
    until(lambda: crowd.held == 0)
    assert crowd.classify(large).status_code == 200


def test_the_photos_of_a_request_are_decoded_and_run_together(crowd):
    first = crowd.block()
    before, answers = crowd.decoded, []
    thread = threading.Thread(
        target=lambda: answers.append(crowd.classify(*map(grey, (1, 2, 3)), b"text"))
    )
    thread.start()
    until(lambda: crowd.decoded == before + 4)
    crowd.backend.gate.set()
    thread.join()
    assert answer(first)[0] == 200
    results = answers[0].json()["results"]
    assert [result["predictions"][0]["index"] for result in results[:3]] == [1, 2, 3]
    assert results[3]["error"]["code"] == "not_a_photo"
    assert sorted(crowd.backend.batches[1]) == [1, 2, 3]


def test_a_backend_that_fails_and_recovers(crowd):
    crowd.backend.failing = True
    life = crowd.application.life
    for _ in range(3):
        assert life.ready
        details = problem(crowd.classify(grey(1)))
        assert (details["status"], details["code"]) == (503, "backend_failed")
    assert not life.ready
    assert life.alive
    crowd.backend.failing = False
    assert crowd.classify(grey(1)).status_code == 200
    assert life.ready


def test_a_photo_for_which_the_network_gives_no_numbers_fails_alone(crowd):
    crowd.backend.senseless = 2
    first = crowd.block()
    before = crowd.decoded
    both = [crowd.send(grey(number)) for number in (1, 2)]
    until(lambda: crowd.decoded == before + 2)
    crowd.backend.gate.set()
    answers = [answer(sock) for sock in (first, *both)]
    assert [status for status, _, _ in answers] == [200, 200, 503]
    assert answers[2][2]["code"] == "backend_failed"
    # Together, in whichever order the two connections were read.
    assert [sorted(batch) for batch in crowd.backend.batches] == [[49], [1, 2]]
    life = crowd.application.life
    for _ in range(3):
        assert life.ready
        assert crowd.classify(grey(2)).status_code == 503
    assert not life.ready


def test_an_answer_names_so_many_classes_and_no_more(crowd, monkeypatch):
    monkeypatch.setattr("serve.views_answer.MOST_NAMES", 100)
    response = crowd.classify(grey(1), grey(2), params={"top_k": 999})  # all 50 classes, twice
    results = response.json()["results"]
    assert [len(result["predictions"]) for result in results] == [50, 50]
    details = problem(crowd.classify(*map(grey, (1, 2, 3)), params={"top_k": 50}))
    assert (details["status"], details["code"]) == (422, "answer_too_large")
    assert crowd.backend.photos.count(3) == 0


def test_model_and_classes_are_shown_while_all_is_busy(crowd):
    crowd.block()
    for path in ("/", "/v1/model", "/v1/model/classes"):
        assert httpx.get(crowd.url + path).status_code == 200
