"""Load on a service whose behaviour is known: what is sent when, and what is said of it."""

import itertools
import random
import socket
import time

import pytest

from bench.http_client import Reply, Target
from bench.load import Closed, Load, LoadError, Open, Shot, arrivals, drive
from bench.load_row import load_row, why_invalid, why_not_held
from bench.photos import read_photos
from tests.bench.stand_in import good, stalling, stand_in
from tests.photos import encode, pattern


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three small JPEGs."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(encode(pattern(seed=number), "JPEG"))
    return read_photos(folder)


def loaded(behave, photos, pattern, *, connections=1000, advance=lambda: None, **target):
    """Drive a stand-in: the load, its row, and what the stand-in saw."""
    with stand_in(behave) as (url, seen):
        chosen = Target(url=f"{url}/v1/classify", connections=connections, **target)
        load = drive(chosen, photos, pattern, advance=advance)
    return load, load_row("load", load, connections=connections), seen


# When requests are due


def test_arrivals_have_the_rate_that_was_asked_for_and_the_gaps_of_a_poisson_process():
    times = arrivals(Open(rate=50, seconds=200))
    assert len(times) == 50 * 200
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] < 200
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert deviation == pytest.approx(mean, rel=0.05)  # as of an exponential
    assert sum(gap > mean for gap in gaps) / len(gaps) == pytest.approx(0.3679, abs=0.02)  # 1/e


def test_arrivals_are_the_same_for_the_same_seed_and_others_for_another():
    assert arrivals(Open(rate=9, seconds=3)) == arrivals(Open(rate=9, seconds=3))
    assert arrivals(Open(rate=9, seconds=3)) != arrivals(Open(rate=9, seconds=3, seed=1))


def test_a_slow_load_lasts_until_the_fewest_requests_are_sent():
    times = arrivals(Open(rate=2, seconds=1, fewest=100))
    assert len(times) == 100
    assert 40 < times[-1] < 50  # a hundred requests at two per second


# A service that stalls


def test_an_open_loop_shows_a_stall_to_everybody_whom_it_delayed(photos):
    # One second, from the 50th request on, at 100 per second.
    pattern = Open(rate=100, seconds=2)
    load, row, _ = loaded(stalling(50, 1.0), photos, pattern)
    # When the 51st request has come, 51 are due. What is due t seconds after the stall's begin is
    # answered 1 - t seconds later or more; the first ones may have changed places on their way.
    end = arrivals(pattern)[50] + 1.0
    # On a busy machine they change places, so what counts is how many were answered before its end.
    assert sum(shot.ended < end for shot in load.shots) <= 50
    assert sum(shot.due < end <= shot.ended for shot in load.shots) > 60
    # About a hundred of two hundred waited, evenly up to a second: the 99th percentile is close.
    assert row["latency_ms"]["p99"] > 900
    assert row["latency_ms"]["max"] >= 950
    assert sum(latency >= 500 for latency in row["samples_ms"]) > 30
    assert row["answers"] == {"ok": 200, "refused": 0, "errors": 0, "timeouts": 0}


def test_a_closed_loop_hides_the_same_stall(photos):
    load, row, _ = loaded(stalling(50, 1.0), photos, Closed(clients=1, seconds=0, fewest=200))
    assert row["latency_ms"]["max"] >= 1000
    # One request alone has waited: a two-hundredth, which the 99th percentile does not see.
    assert row["latency_ms"]["p99"] < 1000
    assert len(load.shots) == 200


# What is counted


def test_statuses_are_counted_and_refusals_stand_apart_from_errors(photos):
    def behave(number):
        return {0: (500, b"broken"), 1: (429, b"full"), 2: (503, b"full"), 3: (404, b"")}.get(
            number % 10, (200, b"12345")
        )

    _, row, _ = loaded(behave, photos, Open(rate=200, seconds=0.5))
    # Of a hundred, ten of each of the first four and sixty good ones.
    assert row["statuses"] == {"200": 60, "404": 10, "429": 10, "500": 10, "503": 10}
    assert row["answers"] == {"ok": 60, "refused": 20, "errors": 20, "timeouts": 0}
    assert row["latency_ms"]["count"] == 60
    assert row["response_bytes"] == 60 * 5 + 10 * 6 + 20 * 4
    assert why_not_held(row, 1e9) == "20 refused, 20 errors"


def test_a_connection_that_is_closed_without_an_answer_is_an_error(photos):
    _, row, _ = loaded(
        lambda number: (None, b"") if number in (3, 7) else good(number),
        photos,
        Open(rate=100, seconds=0.2),
    )
    assert row["answers"] == {"ok": 18, "refused": 0, "errors": 2, "timeouts": 0}
    assert list(row["failures"].values()) == [2]


def test_a_request_that_is_given_up_counts_with_the_time_that_it_waited(photos):
    def behave(number):
        time.sleep(4 if number == 4 else 0)
        return good(number)

    _, row, _ = loaded(behave, photos, Open(rate=50, seconds=0.2), timeout=2)
    assert row["answers"]["timeouts"] == 1
    assert row["latency_ms"]["count"] == 10
    assert row["latency_ms"]["max"] >= 2000


def test_a_load_is_held_when_all_are_answered_and_99_of_100_within_the_bound():
    row = {"answers": {"ok": 100, "timeouts": 0}, "latency_ms": {"p99": 200.0}}
    assert why_not_held(row, 200) is None
    assert why_not_held(row, 199) == "p99 200 ms"
    assert why_not_held(row | {"answers": {"ok": 99, "timeouts": 1}}, 200) == "1 timeouts"


# What is sent


def test_photos_are_sent_in_turn_as_they_are_with_the_headers(photos):
    _, _, seen = loaded(
        good, photos, Closed(clients=1, seconds=0, fewest=5), headers=(("X-API-Key", "secret"),)
    )
    assert [body for _, _, body in seen.requests] == [photos[n % 3].data for n in range(5)]
    for path, headers, _ in seen.requests:
        assert path == "/v1/classify"
        assert headers["Content-Type"] == "image/jpeg"
        assert headers["X-API-Key"] == "secret"


def test_a_form_has_the_photo_in_the_field(photos):
    _, _, seen = loaded(good, photos, Closed(clients=1, seconds=0, fewest=1), field="picture")
    ((_, headers, body),) = seen.requests
    kind, _, boundary = headers["Content-Type"].partition("; boundary=")
    assert kind == "multipart/form-data"
    before, head_and_photo, after = body.split(b"--" + boundary.encode())
    head, _, photo = head_and_photo.strip(b"\r\n").partition(b"\r\n\r\n")
    assert (before, after.strip()) == (b"", b"--")
    assert b'name="picture"' in head
    assert b"Content-Type: image/jpeg" in head
    assert photo == photos[0].data.strip(b"\r\n")


# Clients that wait


def test_clients_that_wait_keep_as_many_requests_under_way_as_they_are(photos):
    def behave(number):
        time.sleep(0.02)
        return good(number)

    load, row, seen = loaded(behave, photos, Closed(clients=5, seconds=0, fewest=40))
    assert seen.most_at_once == load.most_at_once == 5
    assert row["answers"]["ok"] == len(load.shots) >= 40
    assert row["infer_samples_per_sec"] <= 5 / 0.02


def test_requests_that_are_sent_together_are_one_query_which_takes_as_long_as_the_slowest(photos):
    def behave(number):
        time.sleep(0.1 if number % 4 == 2 else 0)
        return good(number)

    pattern = Closed(clients=4, seconds=0, fewest=12, together=True)
    _, row, _ = loaded(behave, photos, pattern)
    assert row["answers"]["ok"] == 12
    assert row["latency_ms"]["count"] == 3
    assert row["latency_ms"]["min"] >= 100


# The sender itself


def test_a_sender_that_is_late_says_so(photos):
    load, row, _ = loaded(
        good, photos, Open(rate=100, seconds=0.5), advance=lambda: time.sleep(0.03)
    )
    # Each answer keeps the program busy for 30 ms, and the next requests are due every 10.
    assert max(load.late()) > 0.1
    assert row["late_ms"]["p99"] > 100
    assert sum(latency >= 100 for latency in row["samples_ms"]) > 10  # counted from when it was due
    (reason,) = why_invalid(row)
    assert reason.startswith("load: one request in a hundred left ")


def shot(number, *, late, latency):
    due = number / 10
    reply = Reply(status=200, size=1)
    return Shot(query=number, due=due, sent=due + late, ended=due + latency, reply=reply)


def test_being_late_counts_by_what_is_measured():
    chance = random.Random(0)

    def reasons(late, latency):
        shots = [shot(n, late=late * chance.random(), latency=latency) for n in range(1000)]
        load = Load(pattern=Open(rate=10, seconds=100), shots=shots, seconds=100, most_at_once=1)
        return why_invalid(load_row("load", load, connections=10))

    assert reasons(0.001, 0.005) == []  # the clock's own steps
    assert reasons(0.015, 0.2) == []  # 15 ms of 200
    assert len(reasons(0.015, 0.05)) == 1  # 15 ms of 50


def test_requests_that_wait_for_a_connection_make_the_load_invalid(photos):
    def behave(number):
        time.sleep(0.05)
        return good(number)

    _, row, seen = loaded(behave, photos, Open(rate=100, seconds=0.3), connections=2)
    assert seen.most_at_once == 2
    assert row["answers"]["ok"] == 30
    assert any("waited for one of 2 connections" in reason for reason in why_invalid(row))


def test_a_service_that_is_not_there_is_given_up_with_a_sentence(photos, monkeypatch):
    monkeypatch.setattr("bench.load.PATIENCE", 0.2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        target = Target(url=f"http://127.0.0.1:{taken.getsockname()[1]}/")
        with pytest.raises(LoadError, match=r"took no connection any more .*, after 0 answers: "):
            drive(target, photos, Open(rate=20, seconds=60))
