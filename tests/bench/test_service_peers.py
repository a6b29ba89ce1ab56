"""`alexnet-bench serve --peers`: that all answer alike, and what the numbers are of."""

import signal

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.service_peers import why_wrong


def test_failed_requests_and_busy_idlers_make_it_invalid():
    good = {"name": "good", "failed": {}, "idle_cores": 0.01}
    full = {"name": "full", "failed": {"503": 19, "timeout": 1}, "idle_cores": 0.0}
    spins = {"name": "spins", "failed": {}, "idle_cores": 1.5}
    first, second = why_wrong([good, full, spins])
    assert first == "full: not every request was answered: 19 x 503, 1 x timeout."
    assert second.startswith("spins: it kept 1.50 cores busy while others")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--peers"], 2, "--peers goes with --serve"),
        (["--serve", "m.onnx", "--peers", "--ramp"], 2, "--peers goes with --serve"),
        (["http://x", "--serve", "m.onnx", "--peers"], 2, "--peers goes with --serve"),
        (["--serve", "m.engine", "--peers"], 1, "--peers needs a graph that all of them run"),
    ],
)
def test_wrong_use_is_a_sentence(monkeypatch, arguments, code, sentence):
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # which the command sets for itself
    done = CliRunner().invoke(main, ["serve", *arguments], prog_name="alexnet-bench")
    assert (done.exit_code, done.stdout) == (code, "")
    assert sentence in done.stderr
