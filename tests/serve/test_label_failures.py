"""alexnet-label where the model, the memory or the backend fails, and not the photo."""

import json
import os
import resource
import subprocess
import sys

import pytest
from click.testing import CliRunner

from alexnet.backends import onnx_runtime
from alexnet.checkpoint import save_checkpoint
from alexnet.config import mini
from alexnet.fresh import fresh_checkpoint
from serve.label import main
from serve.pipeline import Extent
from tests.commands import on_terminal
from tests.photos import bomb, encode, pattern
from tests.serve.label_runs import (
    read_jsonl,
    run,
    small_photo,
    write_model,
    write_photos,
    write_tar,
)

PARTS = ("--part-photos", "4", "--batch", "4", "--threads", "1")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model.onnx")


# A model without numbers


@pytest.fixture(scope="module")
def senseless(tmp_path_factory):
    """A checkpoint with a weight that is no number."""
    path = tmp_path_factory.mktemp("senseless") / "nan.safetensors"
    checkpoint = fresh_checkpoint(mini())
    checkpoint.weights["fc8.bias"].fill_(float("nan"))
    save_checkpoint(checkpoint, path)
    return path


def strict(text):
    """A line of JSON as the standard has it, without NaN."""
    return json.loads(text, parse_constant=pytest.fail)


def test_a_model_without_numbers_labels_nothing(tmp_path, senseless):
    write_photos(tmp_path / "photos", 3)
    target = tmp_path / "labels.jsonl"
    code, error = run("photos", "--model", senseless, "--views", "centre", "-o", target)
    assert code == 1
    assert "0 labelled, 3 failed (see error_message)" in error
    rows = [strict(line) for line in target.read_text("utf-8").splitlines()]
    assert [row["status"] for row in rows] == ["error"] * 3
    assert [row["error_code"] for row in rows] == ["no_numbers"] * 3
    assert all("gives no probabilities" in row["error_message"] for row in rows)
    assert {row["score"] for row in rows} == {None}


# Short memory


@pytest.mark.skipif(os.name != "posix", reason="needs a limit of memory")
def test_a_photo_that_memory_is_too_short_for_ends_the_run_and_keeps_its_parts(tmp_path, model):
    """The photo is as good as any: nothing is written of it, and the next run tries it again."""
    photos = write_photos(tmp_path / "photos", 7)
    huge = photos / "00010.png"
    huge.write_bytes(bomb(50_000, 50_000))  # 2.5 gigapixels, 10 GB
    words = ("photos", "--model", model, "--max-pixels", "3000000000", "--decoders", "2", *PARTS)
    target = tmp_path / "labels.jsonl"
    code, error = run(
        *(*words, "-o", target),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33)),
    )
    assert code == 1
    assert "alexnet-label: There is not enough memory for one more photo: decode fewer" in error
    assert f"4 photos are kept in {target}.parts: give the same command with --resume" in error
    assert "Traceback" not in error
    assert not target.exists()

    huge.write_bytes(encode(pattern(60, 50)))
    code, error = run(*words, "-o", target, "--resume")
    assert code == 0, error
    assert [row["status"] for row in read_jsonl(target)] == ["ok"] * 8


# A backend that fails


def test_a_backend_that_fails_ends_the_run_with_a_sentence_and_its_parts(
    tmp_path, model, monkeypatch
):
    photos = write_photos(tmp_path / "photos", 7)
    for number in range(7, 20):
        (photos / f"{number:05}.bmp").write_bytes(small_photo(number + 1))
    runs = []

    class Failing(onnx_runtime.OnnxRuntimeBackend):
        def run(self, photos):
            runs.append(len(photos))
            if len(runs) > 4:  # one warms it up, three are parts
                raise RuntimeError("CUDA out of memory.\nTried to allocate 2 GiB")
            return super().run(photos)

    monkeypatch.setattr(onnx_runtime, "OnnxRuntimeBackend", Failing)
    words = ["photos", "--model", str(model), "--backend", "onnxruntime", *PARTS]
    result = CliRunner().invoke(main, [*words, "-o", "labels.csv"], prog_name="alexnet-label")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        "alexnet-label: onnxruntime failed with a batch of 4 photos: CUDA out of memory."
    )
    assert "12 photos are kept in labels.csv.parts: give the same command with" in result.stderr

    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, [*words, "-o", "labels.csv", "--resume"]).exit_code == 0


# What is left, where shards hide it


def test_shards_that_are_read_tell_how_many_photos_the_others_hold():
    """Two photos and four shards, the second begun before: 10 of its photos were done."""
    extent = Extent(photos=2, shards=3, start=(3, 10))
    assert extent.add((3, 11)) is None
    assert extent.add((3, 30)) is None
    assert extent.add((4, 1)) == 2 + 3 * 30 - 10  # the shard had 30
    assert extent.add((4, 10)) is None
    assert extent.add((6, 0)) == 2 + 3 * 20 - 10  # this one had 10; a photo follows
    assert extent.add((7, 0)) is None
    assert extent.add((7, 1)) is None


@pytest.fixture
def shards(tmp_path):
    """Five of six photos each."""
    for shard in range(5):
        members = {f"{key}.bmp": small_photo(key) for key in range(6)}
        write_tar(tmp_path / f"s-{shard}.tar", members)


# Ends after the second part, as by Ctrl-C.
INTERRUPTED = """
import sys
from serve.label import main
from serve.parts import Run
count = Run.count
def stop(run, **done):
    count(run, **done)
    if run.progress.parts == 2:
        raise KeyboardInterrupt
Run.count = stop
main(sys.argv[1:], prog_name="alexnet-label")
"""


@pytest.mark.usefixtures("shards")
@pytest.mark.parametrize("output", ["labels.csv", "-"])
def test_a_terminal_shows_how_many_photos_shards_may_hold(tmp_path, model, output):
    drawn = on_terminal("serve", "s-{0..4}.tar", "--model", model, "-o", output, cwd=tmp_path)
    assert "30/30" in drawn
    assert "file 5 of 5" in drawn


@pytest.mark.usefixtures("shards")
def test_a_run_that_resumes_in_a_shard_expects_what_is_left(tmp_path, model):
    words = ("s-{0..4}.tar", "--model", model, *PARTS, "-o", "labels.csv")
    command = [sys.executable, "-c", INTERRUPTED, *map(os.fspath, words)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 130
    state = json.loads((tmp_path / "labels.csv.parts" / "run.json").read_text("utf-8"))
    assert state["done"]["next"] == [1, 2]
    assert "22/22" in on_terminal("serve", *words, "--resume", cwd=tmp_path)  # of 30
