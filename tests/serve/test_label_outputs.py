"""What alexnet-label writes: formats, columns, parts, and exports for other programs."""

import json
import os
import re
import signal
from dataclasses import replace

import click
import numpy as np
import pytest

from alexnet.backends import open_backend
from alexnet.errors import AlexNetError
from alexnet.photo import load_photo
from serve.formats import OutputError
from serve.inputs import Inputs
from serve.label import main
from serve.label_options import labelling
from serve.labelling import label
from tests.serve.label_runs import read_csv, read_jsonl, run, write_model, write_photos, write_tar

GOOD = [0, 1, 2, 3, 4, 5, 6, 8, 9]
"""Of ten photos; the eighth is torn."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model and ten photos."""
    folder = tmp_path_factory.mktemp("outputs")
    write_model(folder / "model.onnx")
    write_photos(folder / "photos", 10)
    return folder


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    monkeypatch.chdir(place)


def task(*words, **fields):
    """What the command line asks for."""
    with main.make_context("alexnet-label", ["--threads", "1", *map(os.fspath, words)]) as context:
        return replace(labelling(**context.params), **fields)


def labelled(target, *words):
    """Label the ten photos into `target`."""
    outcome = label(task("photos", "--model", "model.onnx", "-o", target, *words))
    assert (outcome.labelled, outcome.failed) == (9, 1)
    return target


def read_parquet(path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="reads Parquet")
    return parquet.read_table(path)


def expected():
    """Probabilities and features of the good photos, each run alone."""
    backend = open_backend("model.onnx", threads=1)
    config = backend.info.config.input
    pixels = [load_photo(f"photos/{number:05}.bmp", config).pixels for number in GOOD]
    answers = [backend.run_features(photo[np.newaxis]) for photo in pixels]
    return [np.concatenate(values) for values in zip(*answers, strict=True)]


def test_the_networks_answers_differ():
    """Without that, the other tests here would show nothing."""
    assert len({tuple(row) for row in expected()[0].round(3)}) == len(GOOD)


def test_the_three_formats_hold_the_same_rows(tmp_path):
    as_csv = read_csv(labelled(tmp_path / "rows.csv"))
    as_json = read_jsonl(labelled(tmp_path / "rows.jsonl"))
    as_parquet = read_parquet(labelled(tmp_path / "rows.parquet")).to_pylist()
    assert as_parquet == as_json
    as_text = [{k: "" if v is None else str(v) for k, v in row.items()} for row in as_json]
    assert as_text == as_csv
    assert [row["path"] for row in as_json] == [f"photos/{number:05}.bmp" for number in range(10)]
    assert [row["status"] for row in as_json] == [*["ok"] * 7, "error", "ok", "ok"]


def test_parquet_has_typed_columns(tmp_path):
    schema = read_parquet(labelled(tmp_path / "rows.parquet", "--features")).schema
    kinds = {name: str(schema.field(name).type) for name in ("path", "index", "score", "width")}
    assert kinds == {"path": "string", "index": "int32", "score": "double", "width": "int32"}
    assert str(schema.field("features").type).replace("element", "item") == "list<item: float>"


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_probabilities_and_features_are_the_networks_to_the_bit_or_nearly(tmp_path, ending):
    target = labelled(tmp_path / f"rows.{ending}", "--probabilities", "--features", "--batch", "1")
    rows = read_jsonl(target) if ending == "jsonl" else read_parquet(target).to_pylist()
    probabilities, features = expected()
    for name, values in (("probabilities", probabilities), ("features", features)):
        assert rows[7][name] is None
        found = np.array([rows[number][name] for number in GOOD], dtype=np.float32)
        np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_formats_without_lists_refuse_them(tmp_path, ending):
    words = ("--format", "label-studio") if ending == "json" else ()
    with pytest.raises(OutputError, match=r"no place for the lists of numbers in features: write"):
        labelled(tmp_path / f"rows.{ending}", "--features", *words)
    assert list(tmp_path.iterdir()) == []


def test_features_of_a_model_without_them_are_refused(tmp_path):
    write_model(tmp_path / "plain.onnx", features=False)
    words = ("photos", "--model", tmp_path / "plain.onnx", "--features")
    with pytest.raises(AlexNetError, match="gives no features: export it again"):
        label(task(*words, "-o", tmp_path / "rows.jsonl"))
    assert [path.name for path in tmp_path.iterdir()] == ["plain.onnx"]


def test_timms_columns_are_those_of_its_inference_script(tmp_path):
    ours = read_jsonl(labelled(tmp_path / "ours.jsonl"))
    one = read_jsonl(labelled(tmp_path / "one.jsonl", "--columns", "timm", "--top-k", "1"))
    assert list(one[0]) == ["filename", "index", "label", "prob", "error"]
    two = read_jsonl(labelled(tmp_path / "two.jsonl", "--columns", "timm", "--top-k", "2"))
    names = [f"{name}_{k}" for name in ("index", "label", "prob") for k in range(2)]
    assert list(two[0]) == ["filename", *names, "error"]
    for row, first, both in zip(ours, one, two, strict=True):
        assert first["filename"] == both["filename"] == row["path"]
        assert (first["index"], first["label"], first["prob"]) == (
            *(row["index"], row["label"], row["score"]),
        )
        assert (both["label_1"], both["prob_1"]) == (row["label_2"], row["score_2"])
        assert first["error"] == row["error_message"]


def test_a_folder_keeps_parts_that_stand_for_themselves(tmp_path):
    whole = labelled(tmp_path / "whole.csv", "--batch", "4").read_text().splitlines()
    folder = tmp_path / "parts"
    labelled(f"{folder}/", "--part-photos", "3", "--batch", "4")  # rounded up to a batch of 4
    assert sorted(path.name for path in folder.iterdir()) == [
        *("part-00000.csv", "part-00001.csv", "part-00002.csv", "run.json"),
    ]
    header, *rows = whole
    for number, begin in enumerate((0, 4, 8)):
        text = (folder / f"part-0000{number}.csv").read_text()
        assert text.splitlines() == [header, *rows[begin : begin + 4]]


def test_run_json_says_what_was_labelled_with_what(tmp_path):
    labelled(f"{tmp_path}/run/", "--format", "jsonl", "--names")
    state = json.loads((tmp_path / "run" / "run.json").read_text())
    info = open_backend("model.onnx").info
    assert state["state"] == "finished"
    assert (state["model"], state["model_sha256"]) == ("model.onnx", info.sha256)
    assert (state["backend"], state["views"], state["names"]) == ("onnxruntime", "centre", True)
    assert state["inputs"]["arguments"] == ["photos"]
    assert state["entries"] == 10
    assert state["done"] == {"parts": 1, "photos": 10, "failed": 1, "next": [10, 0]}
    assert {"alexnet", "python", "numpy"} < set(state["sessions"][0]["versions"])


def test_label_studio_gets_a_task_for_each_photo(tmp_path):
    rows = read_jsonl(labelled(tmp_path / "rows.jsonl"))
    words = ("--format", "label-studio", "--part-photos", "4", "--batch", "4")
    tasks = json.loads(labelled(tmp_path / "tasks.json", *words).read_text("utf-8"))
    assert [task["data"]["path"] for task in tasks] == [row["path"] for row in rows]
    assert tasks[0]["data"]["image"] == "/data/local-files/?d=photos/00000.bmp"
    (prediction,) = tasks[0]["predictions"]
    assert prediction["score"] == rows[0]["score"]
    assert prediction["result"] == [
        {
            "from_name": "label",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": [rows[0]["label"]]},
        }
    ]
    assert tasks[7]["predictions"] == []
    assert tasks[7]["data"]["error_code"] == "corrupt_photo"


def test_label_studio_in_parts_is_a_list_in_each(tmp_path):
    words = ("--format", "label-studio", "--part-photos", "4", "--batch", "4")
    labelled(f"{tmp_path}/tasks/", *words)
    parts = sorted((tmp_path / "tasks").glob("part-*.json"))
    assert [len(json.loads(part.read_text("utf-8"))) for part in parts] == [4, 4, 2]


def test_fiftyone_gets_paths_and_labels_by_the_same_ids(tmp_path):
    rows = read_jsonl(labelled(tmp_path / "rows.jsonl"))
    words = ("--format", "fiftyone", "--part-photos", "4", "--batch", "4")
    folder = labelled(tmp_path / "fiftyone", *words)
    data = json.loads((folder / "data.json").read_text("utf-8"))
    labels = json.loads((folder / "labels.json").read_text("utf-8"))["labels"]
    assert list(data.values()) == [os.path.abspath(row["path"]) for row in rows]  # noqa: PTH100
    assert list(data) == list(labels)
    assert list(labels.values()) == [
        None if row["label"] is None else {"label": row["label"], "confidence": row["score"]}
        for row in rows
    ]
    with pytest.raises(OutputError, match="is there already"):
        labelled(folder, *words)


def test_photos_in_shards_are_named_by_shard_and_key(tmp_path):
    photos = {f"k{n}.bmp": open(f"photos/{n:05}.bmp", "rb").read() for n in GOOD}  # noqa: SIM115, PTH123
    for number in range(2):
        write_tar(tmp_path / f"s-{number}.tar", photos)
    inputs = Inputs(arguments=(f"{tmp_path}/s-{{0..1}}.tar",))
    target = tmp_path / "rows.jsonl"
    outcome = label(task("x", "--model", "model.onnx", "-o", target, inputs=inputs))
    assert (outcome.labelled, outcome.failed) == (18, 0)
    rows = read_jsonl(target)
    assert [row["path"] for row in rows] == [
        f"{tmp_path}/s-{number}.tar/{key}" for number in range(2) for key in photos
    ]
    alone = read_jsonl(labelled(tmp_path / "alone.jsonl"))
    for row, number in zip(rows[:9], GOOD, strict=True):
        assert row["score"] == pytest.approx(alone[number]["score"], rel=1e-4)


@pytest.mark.parametrize("words", [(), ("--format", "label-studio")])
def test_stdout_gets_what_a_file_would(tmp_path, capfdbinary, words):
    labelled("-", *words)
    written = capfdbinary.readouterr().out
    target = tmp_path / ("rows.json" if words else "rows.csv")
    assert written == labelled(target, *words).read_bytes()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["photos", "--null"], "--null is about the list on stdin"),
        (["-", "-"], "There is one stdin"),
        (["p", "-o", ".", "--format", "fiftyone"], ". is no name for a new folder"),
        (["photos", "--resume"], "What went to stdout can't be resumed"),
        (["photos", "--format", "parquet"], "parquet can't be written to stdout"),
        (["p", "-o", "x", "--format", "fiftyone", "--columns", "timm"], "leave out --columns"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words, sentence):
    with pytest.raises(click.UsageError, match=re.escape(sentence)):
        task(*words)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("photos/", "is a folder with other files in it"),
        ("model.onnx/rows.csv", "model.onnx is no folder"),
        ("model.onnx/", "model.onnx/* is a file, where a folder is to be written"),
    ],
)
def test_a_place_that_cannot_be_written_is_a_sentence(target, sentence):
    with pytest.raises((OutputError, click.UsageError), match=sentence):
        labelled(target)


def test_the_command_reads_a_list_and_says_what_failed(tmp_path):
    (tmp_path / "list").write_bytes(b"photos/00001.bmp\0photos/00007.bmp\0nowhere.bmp\0")
    code, error = run(
        *("-", "-0", "--model", "model.onnx", "-o", tmp_path / "rows.jsonl"),
        stdin=(tmp_path / "list").read_bytes(),
    )
    assert code == 1
    assert "1 labelled, 2 failed (see error_message) in" in error
    rows = read_jsonl(tmp_path / "rows.jsonl")
    assert [row["error_code"] for row in rows] == [None, "corrupt_photo", "missing_file"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
