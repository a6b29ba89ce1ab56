"""Our own service is measured."""

from tests.bench.test_serve import last_line, run


def test_our_own_service_is_served_by_a_word(model_path):
    code, out, error = run(
        *("--serve", model_path, "--scenario", "single-stream", "--duration", "0.3"),
        *("--warmup", "2"),
    )
    assert code == 0, error
    result = last_line(out)
    (row,) = result["results"]
    assert row["answers"]["ok"] == row["sent"] > 0
    assert result["service"]["peak_mib"] > 100  # PyTorch is in it
