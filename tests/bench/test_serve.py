"""`alexnet-bench serve` as a process of its own, on services that tests know, and on ours."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.process_tree import Watch, slope_per_minute
from tests.bench.stand_in import good, stand_in

HERE = Path(__file__).parent


def process(*arguments):
    """The command as a process of its own: exit code, stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", "serve", *map(os.fspath, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


def run(*arguments):
    """The same in this process, which is quicker."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        done = CliRunner().invoke(
            main, ["serve", *map(os.fspath, arguments)], prog_name="alexnet-bench"
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def last_line(out):
    return json.loads(out.splitlines()[-1])


# A load on a service that runs already


def test_rates_are_offered_one_after_the_other_and_every_answer_is_counted(tmp_path):
    def behave(number):
        return (500, b"") if number == 25 else good(number)

    rates = ("--rate", "40,80", "--duration", "0.5", "--warmup", "4")
    with stand_in(behave) as (url, seen):
        code, out, error = process(url, *rates, "--json", tmp_path / "serve.json")
    assert code == 0, error
    result = last_line(out)
    assert (result["benchmark"], result["scenario"]) == ("serve", "server")
    assert result["url"] == f"{url}/v1/classify"
    assert {path for path, _, _ in seen.requests} == {"/v1/classify"}
    assert len(seen.requests) == 4 + 20 + 40
    slow, fast = result["results"]
    assert (slow["name"], slow["rate"], slow["sent"]) == ("40/s", 40, 20)
    assert (fast["name"], fast["rate"], fast["sent"]) == ("80/s", 80, 40)
    # The 26th request is the second load's second, after four to warm up and twenty.
    assert slow["answers"]["errors"] == 0
    assert fast["answers"] == {"ok": 39, "refused": 0, "errors": 1, "timeouts": 0}
    assert fast["latency_ms"]["p90"] > 0
    assert fast["latency_ms"]["p99"] is None  # which takes a hundred
    assert fast["late_ms"]["p99"] >= 0
    assert fast["infer_samples_per_sec"] <= 39 / 0.5
    assert result["service"] is None
    assert "80/s: 1 x 500" in out
    kept = json.loads((tmp_path / "serve.json").read_text())
    assert [len(row["samples_ms"]) for row in kept["results"]] == [20, 39]


def test_the_ramp_finds_the_capacity_of_one_worker():
    worker = threading.Lock()

    def behave(number):
        with worker:
            time.sleep(0.005)  # 200 per second, and a little less
        return good(number)

    with stand_in(behave) as (url, _):
        code, out, error = run(url, "--ramp", "--bound", "150ms", "--duration", "0.5")
    assert code == 0, error
    result = last_line(out)
    # Half a second of 300 is answered in three quarters: the last ones have waited for 250 ms. What
    # holds on a busy machine may be far below the capacity; test_knee.py finds it without a clock.
    assert 5 < result["knee_per_sec"] < 300
    *rows, knee = result["results"]
    assert knee == {"name": "knee", "infer_samples_per_sec": result["knee_per_sec"]}
    held = [row["rate"] for row in rows if row["holds"]]
    assert max(held) == result["knee_per_sec"]
    assert all(row["sent"] >= 100 for row in rows)
    # What nearly held was tried twice.
    names = [row["name"] for row in rows]
    for row in rows:
        if not row["holds"] and row["latency_ms"]["p50"] <= 150:
            assert row["name"].removesuffix(" again") + " again" in names
    assert len(set(names)) == len(names)
    assert f"Knee: {result['knee_per_sec']:g}/s" in out
    assert ": holds" in error


def test_a_scenario_in_which_clients_wait(tmp_path):
    with stand_in(good) as (url, seen):
        scenario = ("--scenario", "multi-stream", "--concurrency", "3", "--duration", "0.2")
        code, out, error = run(f"{url}/predict", *scenario, "--header", "X-API-Key: hush")
    assert code == 0, error
    (row,) = last_line(out)["results"]
    assert (row["clients"], row["rate"]) == (3, None)
    assert row["answers"]["ok"] == 3 * row["latency_ms"]["count"]
    assert {path for path, _, _ in seen.requests} == {"/predict"}
    assert {headers["X-API-Key"] for _, headers, _ in seen.requests} == {"hush"}
    assert "hush" not in out + error


# A service that is started


def start(*more):
    script = f"{sys.executable} {HERE / 'stand_in.py'} {{port}} {' '.join(map(str, more))}"
    return ("--start", script)


def test_a_service_is_started_watched_and_ended():
    code, out, error = run(*start(), "--rate", "50", "--duration", "1.5")
    assert code == 0, error
    result = last_line(out)
    service, (row,) = result["service"], result["results"]
    port = service["command"][2]
    assert result["url"] == f"http://127.0.0.1:{port}/v1/classify"
    assert row["answers"]["ok"] == 75
    assert service["start_s"] > 0
    assert 5 < row["service_peak_mib"] <= service["peak_mib"] < 1000  # a Python
    assert 0 < row["service_processor_s"] <= service["processor_s"]
    assert len(service["memory_mib"]) >= 3
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)), timeout=5)


def test_a_service_that_dies_midway_is_a_sentence_with_its_last_words():
    code, out, error = process(*start("dies", 60), "--rate", "50", "--duration", "60")
    assert (code, out) == (1, "")
    assert error == (
        "alexnet-bench: The service has ended with exit code 3. Its last lines:\nout of cheese\n"
    )


# Wrong use


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Name the URL of a service, or give --serve or --start."),
        (["http://x"], "The scenario server needs one of --rate and --ramp."),
        (["http://x", "--rate", "1", "--ramp"], "needs one of --rate and --ramp."),
        (["http://x", "--scenario", "offline", "--rate", "1"], "are for the scenario server."),
        (["http://x", "--serve", "m.onnx", "--ramp"], "--serve goes without URL"),
        (["http://x", "--ramp", "--bound", "soon"], "'soon' is no time such as 200ms or 2s."),
        (["http://x", "--ramp", "--header", "key"], "a header is 'Name: value'."),
        (["http://x", "--ramp", "--concurrency", "3"], "--concurrency is for"),
    ],
)
def test_wrong_use_is_a_sentence_and_exit_code_2(arguments, sentence):
    code, out, error = run(*arguments)
    assert (code, out) == (2, "")
    assert sentence in error


def test_what_is_no_service_is_a_sentence():
    with stand_in(lambda _: (404, b"no such page")) as (url, _):
        refused = run(url, "--rate", "5")
    assert refused == (
        *(1, ""),
        f"alexnet-bench: POST {url}/v1/classify is answered with status 404: no such page\n",
    )
    for command, words in (
        (("--start", "false"), "The service has ended with exit code 1."),
        (("--start", "no-such-program"), "no-such-program can't be started: "),
        (("127.0.0.1:3000",), "127.0.0.1:3000 is no address such as http://127.0.0.1:3000."),
    ):
        code, out, error = run(*command, "--rate", "5")
        assert (code, out) == (1, "")
        assert error.startswith(f"alexnet-bench: {words}")
        assert "Traceback" not in error


# Memory and processor time


def test_the_slope_is_that_of_the_later_half():
    # A MiB a second is 60 a minute.
    assert slope_per_minute([(n, 100 + n) for n in range(60)]) == pytest.approx(60)
    settled = [(n, 100 + min(n, 30)) for n in range(60)]
    assert slope_per_minute(settled) == pytest.approx(0)
    falling = [(10 * n, 500 - n) for n in range(40)]
    assert slope_per_minute(falling) == pytest.approx(-6)


def test_a_few_samples_have_no_slope():
    assert slope_per_minute([(n, 1) for n in range(18)]) is None
    assert slope_per_minute([]) is None


def test_descendants_count_too():
    # 150 MB and some work in a child's child; the parent does nothing.
    work = "b = bytearray(150_000_000); n = sum(i for i in range(3_000_000)); print(1, flush=True)"
    inner = f"{work}; import sys; sys.stdin.read()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", outer], **pipes) as top:
        watch = Watch(top.pid, every=0.02)
        assert top.stdout.readline() == b"1\n"
        watch.look()
        spent = watch.processor_seconds()
        top.stdin.close()
        top.wait()
        watch.stop()
    assert watch.peak() > 150_000_000 / 2**20
    assert spent > 0.05
    assert watch.processor_seconds() is None
