"""Options of alexnet-label that nothing would read, or that contradict each other: refused."""

import pytest
from click.testing import CliRunner

from serve.label import main


def refusal(*words):
    """What the command says to wrong use, without its frame."""
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == 2, result.output
    return " ".join(result.stderr.split("Error: ")[1].split())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["photos", "--path-column", "file", "-o", "a.csv"],
            "There is no manifest with columns: leave out --path-column.",
        ),
        (
            ["photos", "--part-photos", "3", "-o", "-"],
            "Rows on stdout are not written in parts: leave out --part-photos.",
        ),
        (
            ["photos", "--format", "label-studio", "--top-k", "3"],
            "label-studio has fields of its own, with one class: leave out --top-k.",
        ),
        (
            ["photos", "--format", "fiftyone", "-o", "data", "--columns", "alexnet"],
            "fiftyone has fields of its own, with one class: leave out --columns.",
        ),
    ],
)
def test_what_nothing_would_read_is_refused(words, sentence):
    assert refusal(*words) == sentence


@pytest.mark.parametrize("words", [["--path-column", "path"], ["--part-photos", "10000"]])
def test_a_default_that_is_given_is_refused_like_any_other_value(words):
    assert refusal("photos", *words).endswith(f"leave out {words[0]}.")


@pytest.mark.parametrize(
    "words",
    [
        ["--threads", "3"],
        ["--model", "nowhere.onnx"],
        ["--backend", "onnxruntime"],
        ["--device", "cuda"],
    ],
)
def test_no_model_runs_for_neighbours_of_rows(words):
    found = refusal("neighbours", "labels.parquet", "--query-rows", "0", *words)
    reason = "Rows of the index have their features, and no model runs"
    assert found == f"{reason}: leave out {words[0]}."


def test_without_a_sheet_no_photo_is_opened():
    found = refusal("neighbours", "labels.parquet", "--query-rows", "0", "--photos", "nowhere")
    assert found == "Photos are opened for a sheet (--output) only: leave out --photos."


@pytest.mark.parametrize(
    ("output", "format", "said"),
    [
        ("x.parquet", "csv", "parquet"),
        ("x.CSV", "jsonl", "csv"),
        ("x.jsonl", "label-studio", "jsonl"),
        ("x.csv", "fiftyone", "csv"),
    ],
)
def test_a_name_that_says_another_format_is_refused(output, format, said):
    assert refusal("photos", "-o", output, "--format", format) == (
        f"The name {output} says {said}, and --format says {format}: leave one of them out."
    )


@pytest.mark.parametrize("output", ["labels.csv/", "folder.csv"])
def test_a_folder_may_have_any_name(tmp_path, monkeypatch, output):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    result = CliRunner().invoke(main, ["nowhere", "-o", output, "--format", "jsonl"])
    assert "There is no file or folder nowhere." in result.stderr


def test_the_help_says_that_cells_are_as_they_are():
    said = " ".join(CliRunner().invoke(main, ["--help"]).stdout.split())
    assert "a spreadsheet may take one that begins with = for a formula" in said
