"""`alexnet-bench label` runs the real labeller, and believes only whole tables."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from alexnet.errors import AlexNetError
from bench.cli import main
from bench.label import check_rows, link_photos, speed, why_invalid
from tests.photos import encode, pattern


def run(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "bench", "label", *map(os.fspath, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def photos(tmp_path):
    """Two photos, and one that can't be read."""
    folder = tmp_path / "given"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.png").write_bytes(encode(pattern(seed=number)))
    (folder / "broken.jpg").write_bytes(b"no photo")
    return folder


@pytest.mark.slow
def test_whole_runs_are_measured_and_start_up_apart(photos, model_path, tmp_path):
    file = tmp_path / "label.json"
    options = ("--count", "20", "--rounds", "1", "--with", "--views centre", "--json", file)
    code, out, error = run(model_path, "--photos", photos, *options)
    assert code == 0, error
    result = json.loads(file.read_text())
    (row,) = result["results"]
    assert row["name"] == f"{model_path} on auto --views centre"
    assert row["startup_s"] > 0
    assert row["infer_samples_per_sec_with_startup"] == pytest.approx(20 / row["seconds"], rel=1e-3)
    assert row["peak_mib"] > 50
    assert (result["count"], result["different_photos"]) == (20, 2)
    assert result["verdict"] == "INVALID"
    assert result["reasons"][0] == "A comparison needs 3 rounds: give --rounds."
    assert "broken.jpg" in error
    assert "Labelling 20 photos" in out


def test_a_run_that_fails_is_the_labellers_own_sentence(tmp_path):
    code, out, error = run(tmp_path / "gone.onnx", "--count", "2", "--rounds", "1")
    assert (code, out) == (1, "")
    assert error.startswith(f"alexnet-bench: alexnet-label ({tmp_path / 'gone.onnx'} on auto) ")
    assert "There is no " in error
    assert "Traceback" not in error


def test_few_photos_come_again_and_many_are_spread(photos, tmp_path):
    names = link_photos(tmp_path / "five", photos, count=5)
    linked = sorted((tmp_path / "five").iterdir())
    assert names == [str(photos / "0.png"), str(photos / "1.png")]
    assert [path.resolve().name for path in linked] == ["0.png", "1.png", "0.png", "1.png", "0.png"]


def test_without_photos_the_samples_are_taken(tmp_path):
    names = link_photos(tmp_path / "three", None, count=3)
    seen = [path for path in (tmp_path / "three").iterdir() if not path.name.startswith(".")]
    assert len(seen) == 3
    assert {path.read_bytes() for path in seen} == {path.read_bytes() for path in seen[:3]}
    assert names
    assert all(path.stat().st_size > 10_000 for path in seen)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["{0},ok,cat,", "{1},ok,dog,"], None),
        (["{0},ok,cat,"], "x: 1 rows for 2 photos, or in another order."),
        (["{1},ok,cat,", "{0},ok,cat,"], "x: 2 rows for 2 photos, or in another order."),
        (["{0},ok,cat,", "{0},ok,cat,"], "x: 2 rows for 2 photos, or in another order."),
        (["{0},ok,cat,", "{1},error,,Cut."], "x: 1 of 2 photos were not labelled: Cut."),
    ],
)
def test_every_photo_must_have_its_row(tmp_path, lines, sentence):
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = [folder / "a.png", folder / "b.png"]
    for path in paths:
        path.write_bytes(encode(pattern()))
    table = tmp_path / "rows.csv"
    rows = [line.format(*paths) for line in lines]
    table.write_text("\n".join(["path,status,label,error_message", *rows]) + "\n")
    if sentence is None:
        check_rows(table, folder, count=2, name="x")
        return
    with pytest.raises(AlexNetError) as caught:
        check_rows(table, folder, count=2, name="x")
    assert str(caught.value) == sentence


def test_the_rate_is_that_of_the_photos_after_the_first():
    # Ten photos: nine more than one. 9 s more, 18 s more and 9 s more are 1, 2 and 1 s each.
    columns = speed([11.0, 20.0, 12.0], [2.0, 2.0, 3.0], count=10)
    assert columns["samples_ms"] == [1000, 2000, 1000]
    assert columns["infer_samples_per_sec"] == 1
    assert columns["latency_ms"]["p50"] == 1000
    assert (columns["seconds"], columns["startup_s"], columns["rounds"]) == (12, 2, 3)
    assert columns["infer_samples_per_sec_with_startup"] == pytest.approx(10 / 12)


def test_a_start_that_took_longer_than_the_whole_gives_no_rate():
    columns = speed([5.0, 6.0, 7.0], [4.0, 6.5, 4.0], count=10)
    assert columns["infer_samples_per_sec"] is columns["latency_ms"] is None
    (reason,) = why_invalid([{"name": "a", **columns}])
    assert reason.startswith("a: more than half of a run is start-up")


def test_uneven_rounds_and_a_long_start_are_told():
    def reasons(whole, first):
        return why_invalid([{"name": "a", **speed(whole, first, count=11)}])

    assert reasons([12.0, 12.1, 12.2], [2.0, 2.0, 2.0]) == []
    (reason,) = reasons([12.0, 12.0, 12.0], [7.0, 7.0, 7.0])
    assert reason.startswith("a: more than half of a run is start-up")
    # 8, 10 and 14 s for ten photos: quartiles 9 and 12 around 10.
    (reason,) = reasons([10.0, 12.0, 16.0], [2.0, 2.0, 2.0])
    assert reason.startswith("a: rounds spread by 30% of their median")


@pytest.mark.parametrize("arguments", [("--count", "1"), ("--backend", "caffe")])
def test_wrong_use_is_exit_code_2(arguments):
    assert CliRunner().invoke(main, ["label", *arguments]).exit_code == 2
