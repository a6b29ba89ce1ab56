"""What every benchmark does with its result."""

import csv
import json

import click
import pytest
from click.testing import CliRunner

from alexnet.errors import AlexNetError
from bench.output import Output, finish, output_options, rounded
from tests.bench.results import result, row


def nothing(_):
    """No table."""


def test_the_terminal_gets_table_machine_verdict_and_json_in_this_order(capsys):
    finish(
        result(row("a", [10.0]), reasons=["Too few samples."]),
        Output(),
        table=lambda found: print(f"table of {len(found['results'])}"),
    )
    first, machine, verdict, reason, line = capsys.readouterr().out.splitlines()
    assert first == "table of 1"
    assert machine.startswith("Machine: A processor, 2 cores, 8.0 GiB, ")
    assert (verdict, reason) == ("INVALID", "  Too few samples.")
    assert "samples_ms" not in json.loads(line)["results"][0]


def test_the_file_keeps_single_times_to_four_digits_and_other_numbers_to_six(tmp_path, capsys):
    path = tmp_path / "made" / "now.json"
    finish(result(row("a", [12.345678, 2 / 3])), Output(json_file=path), table=nothing)
    (kept,) = json.loads(path.read_text())["results"]
    assert kept["samples_ms"] == [12.35, 0.6667]
    assert kept["latency_ms"]["max"] == 12.3457
    capsys.readouterr()


def test_what_is_no_number_is_null_in_json_and_empty_in_csv(tmp_path, capsys):
    # JSON has no NaN and no Infinity, and a reader other than Python's refuses a file with one.
    infinite = row("a", [10.0], cost=float("inf"), inner={"share": float("nan")})
    output = Output(json_file=tmp_path / "x.json", csv_file=tmp_path / "x.csv")
    finish(result(infinite), output, table=nothing)
    printed = capsys.readouterr().out.splitlines()[-1]
    for text in (printed, (tmp_path / "x.json").read_text()):
        (kept,) = json.loads(text, parse_constant=pytest.fail)["results"]
        assert kept["cost"] is None
        assert kept["inner"]["share"] is None
    with (tmp_path / "x.csv").open(newline="") as file:
        (cells,) = csv.DictReader(file)
    assert (cells["cost"], cells["inner_share"]) == ("", "")


def test_rounding_reaches_everything_and_leaves_other_values():
    assert rounded({"a": [1 / 3, {"b": 123456789.0}], "c": 1234567, "d": None}) == {
        "a": [0.333333, {"b": 123457000.0}],
        "c": 1234567,
        "d": None,
    }


def test_the_table_has_timms_columns_first_and_everything_else_after(tmp_path, capsys):
    path = tmp_path / "rows.csv"
    rows = [row("a", [10.0, 20.0]), row("b", [5.0], more={"inner": 7})]
    finish(result(*rows), Output(csv_file=path), table=nothing)
    with path.open(newline="") as file:
        first, second = csv.DictReader(file)
    # The header of timm's results/benchmark-infer-*.csv, but for activations.
    assert list(first)[:7] == [
        *("model", "infer_img_size", "infer_samples_per_sec", "infer_step_time"),
        *("infer_batch_size", "param_count", "infer_gmacs"),
    ]
    assert (first["model"], first["infer_step_time"], first["infer_gmacs"]) == ("a", "15.0", "0.72")
    assert (first["latency_ms_p50"], first["threads"]) == ("15.0", "")
    assert (first["more_inner"], second["more_inner"]) == ("", "7")
    assert "samples_ms" not in first
    capsys.readouterr()


def test_an_invalid_measurement_fails_where_that_is_wanted(capsys):
    bad = result(row("a", [10.0]), reasons=["Too few samples."])
    finish(bad, Output(), table=nothing)
    with pytest.raises(AlexNetError, match=r"The measurement is INVALID\. Too few samples\."):
        finish(bad, Output(strict=True), table=nothing)
    capsys.readouterr()


def test_a_plot_of_an_unknown_kind_is_a_sentence_before_anything_is_measured(tmp_path):
    with pytest.raises(AlexNetError, match=r"A plot is a \.png or \.svg file, and .*x\.gif is not"):
        Output(plot_files=(tmp_path / "x.gif",)).check()


def test_a_command_gets_its_options_as_one_value(tmp_path):
    got = []

    @click.command()
    @output_options
    def command(output):
        got.append(output)

    (tmp_path / "before.json").write_text(json.dumps(result(row("m", [1.0]))))
    files = ["--json", str(tmp_path / "a.json"), "--csv", str(tmp_path / "b.csv")]
    before = ["--compare", str(tmp_path / "before.json"), "--threshold", "3"]
    arguments = [*files, *before, "--strict"]
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    (output,) = got
    assert (output.json_file.name, output.csv_file.name) == ("a.json", "b.csv")
    assert (output.threshold, output.strict, output.plot_files) == (3, True, ())
