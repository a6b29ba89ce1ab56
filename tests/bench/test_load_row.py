"""When a load says too little of how fast a service is."""

import json
import signal

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.http_client import Reply
from bench.load import Closed, Load, Open, Shot
from bench.load_row import load_row, why_few
from tests.bench.stand_in import good, stand_in


def row_of(*replies, pattern=None, at_once=1):
    """The row of requests that got these replies, 20 ms each, `at_once` of a query."""
    shots = [
        Shot(query=n // at_once, due=n / 10, sent=n / 10, ended=n / 10 + 0.02, reply=reply)
        for n, reply in enumerate(replies)
    ]
    pattern = pattern or Open(rate=10, seconds=len(shots) / 10)
    load = Load(pattern=pattern, shots=shots, seconds=len(shots) / 10, most_at_once=at_once)
    return load_row("10/s", load, connections=10)


GOOD, BROKEN = Reply(status=200, size=1), Reply(status=500, size=1)
SILENT = Reply(status=None, size=0, failure="timeout")


def test_a_hundred_answers_are_enough():
    assert why_few(row_of(*[GOOD] * 100)) == []
    assert why_few(row_of(*[GOOD] * 100, *[BROKEN] * 20)) == []


@pytest.mark.parametrize("count", [2, 99])
def test_fewer_hold_no_99th_percentile(count):
    (reason,) = why_few(row_of(*[GOOD] * count))
    assert reason.startswith(
        f"10/s: Too few samples: a 99th percentile needs 100 answers, not {count}: "
    )


def test_failures_are_no_answers():
    (reason,) = why_few(row_of(*[GOOD] * 99, *[BROKEN] * 99))
    assert "needs 100 answers, not 99" in reason


def test_requests_that_are_sent_together_are_one_answer():
    together = Closed(clients=4, seconds=1, together=True)
    (reason,) = why_few(row_of(*[GOOD] * 200, pattern=together, at_once=4))
    assert "not 50" in reason
    # A query with a failure in it has no latency.
    mixed = [GOOD, GOOD, GOOD, BROKEN] * 50
    (reason,) = why_few(row_of(*mixed, pattern=together, at_once=4))
    assert "not 0" in reason


def test_where_none_is_good_nothing_was_measured():
    (reason,) = why_few(row_of(*[BROKEN] * 200))
    assert reason == ("10/s: no request was answered well (200 x 500), so nothing was measured.")
    (reason,) = why_few(row_of(*[BROKEN] * 150, *[SILENT] * 50))
    assert "(150 x 500, 50 x timeout)" in reason


def run(*arguments):
    before = signal.getsignal(signal.SIGTERM)
    try:
        done = CliRunner().invoke(main, ["serve", *arguments], prog_name="alexnet-bench")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


def test_a_load_of_two_requests_is_invalid():
    with stand_in(good) as (url, _):
        result = run(url, "--rate", "2", "--duration", "1", "--warmup", "1")
    assert result["verdict"] == "INVALID"
    assert any("needs 100 answers, not 2: " in reason for reason in result["reasons"])


def test_a_service_that_fails_after_it_was_warm_is_invalid():
    with stand_in(lambda number: good(number) if number == 0 else (500, b"")) as (url, _):
        result = run(url, "--rate", "200", "--duration", "1", "--warmup", "1")
    assert result["verdict"] == "INVALID"
    assert any("(200 x 500), so nothing was measured" in reason for reason in result["reasons"])


def test_loads_that_a_ramp_finds_too_high_are_no_reason():
    # All above some rate are refused: the ramp ends, and every load that held had its answers.
    with stand_in(lambda number: good(number) if number < 250 else (503, b"")) as (url, _):
        result = run(url, "--ramp", "--bound", "10s", "--duration", "0.1", "--warmup", "1")
    failed = [row for row in result["results"] if row.get("holds") is False]
    assert failed
    assert not any("no request was answered well" in reason for reason in result["reasons"])
    assert not any("Too few samples" in reason for reason in result["reasons"])
