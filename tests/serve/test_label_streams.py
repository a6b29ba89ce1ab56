"""Where `alexnet-label -o` writes: devices, pipes and links are written to, never replaced.

And what is refused leaves nothing behind.
"""

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from serve.label import main
from tests.serve.label_runs import read_csv, read_jsonl, write_model, write_photos

NAMES = [f"photos/{number:05}.bmp" for number in range(3)]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "model.onnx")
    write_photos(tmp_path / "photos", 3)
    return tmp_path


def labelled(capfdbinary, *words):
    """Exit code, stdout and stderr of the command in this process, with the real descriptors."""
    words = ["photos", "--model", "model.onnx", "--threads", "1", *map(str, words)]
    with pytest.raises(SystemExit) as ended:
        main(words, prog_name="alexnet-label")
    out, error = capfdbinary.readouterr()
    return ended.value.code, out, " ".join(error.decode().split())


def paths(text):
    return [line.split(",")[0] for line in text.decode().splitlines()[1:]]


def left(folder):
    return sorted(path.name for path in folder.iterdir())


# Devices and pipes


@pytest.mark.parametrize("output", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_stdout_under_each_of_its_names_gets_the_rows(here, capfdbinary, output):
    (here / "link").symlink_to("/dev/stdout")
    before = os.lstat(output) if output not in ("-",) else None
    code, out, error = labelled(capfdbinary, "-o", output)
    assert code == 0, error
    assert paths(out) == NAMES
    assert f"-> {'stdout' if output == '-' else output}" in error
    if before:
        assert stat.S_IFMT(os.lstat(output).st_mode) == stat.S_IFMT(before.st_mode)
    assert left(here) == ["link", "model.onnx", "photos"]


def test_a_redirected_stdout_is_gone_on_with_and_not_replaced(here, capfd):
    with (here / "log").open("wb") as file:
        file.write(b"before\n")
        file.flush()
        kept = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            with pytest.raises(SystemExit):
                main(["photos", "--model", "model.onnx", "-o", "/dev/stdout"])
        finally:
            os.dup2(kept, 1)
            os.close(kept)
    first, header, *rows = (here / "log").read_text().splitlines()
    assert (first, header[:5], len(rows)) == ("before", "path,", 3)


def test_a_device_stays_one(capfdbinary):
    code, out, error = labelled(capfdbinary, "-o", "/dev/null", "--format", "jsonl")
    assert (code, out) == (0, b""), error
    assert Path("/dev/null").is_char_device()
    assert not list(Path("/dev").glob("null.*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_device_that_is_full_is_a_sentence(capfdbinary):
    code, _, error = labelled(capfdbinary, "-o", "/dev/full")
    assert code == 1
    assert "The output could not be written: No space left on device." in error
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize(("name", "through"), [("pipe.jsonl", False), ("link.jsonl", True)])
def test_a_named_pipe_gets_the_rows_in_the_format_of_its_name(here, capfdbinary, name, through):
    os.mkfifo("pipe.jsonl")
    if through:
        (here / "link.jsonl").symlink_to("pipe.jsonl")
    found = []
    reader = threading.Thread(target=lambda: found.append((here / "pipe.jsonl").read_bytes()))
    reader.start()
    code, _, error = labelled(capfdbinary, "-o", name)
    reader.join(30)
    assert code == 0, error
    assert [json.loads(line)["path"] for line in found[0].splitlines()] == NAMES
    assert (here / "pipe.jsonl").is_fifo()
    assert not (here / "pipe.jsonl.parts").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--format", "parquet"], "parquet can't be written to a device or a pipe: name a file."),
        (["--format", "fiftyone"], "fiftyone can't be written to a device or a pipe"),
        (["--resume"], "What went to a device or a pipe can't be resumed: name a file."),
        (["--part-photos", "5"], "Rows on a device or a pipe are not written in parts: leave out"),
        (["--ray=local"], "--ray writes its rows in parts, not to a device or a pipe: name a file"),
    ],
)
def test_what_needs_a_file_is_refused_for_a_device(capfdbinary, words, sentence):
    code, _, error = labelled(capfdbinary, "-o", "/dev/null", *words)
    assert code == 2
    assert sentence in error
    assert Path("/dev/null").is_char_device()


# Links


@pytest.mark.parametrize("there", [True, False])
def test_through_a_link_its_target_is_written_and_the_link_stays(here, capfdbinary, there):
    (here / "disk").mkdir()
    if there:
        (here / "disk" / "real.csv").write_text("old")
        (here / "disk" / "real.csv").chmod(0o640)
    (here / "labels.csv").symlink_to("disk/real.csv")
    code, _, error = labelled(capfdbinary, "-o", "labels.csv")
    assert code == 0, error
    assert os.readlink("labels.csv") == "disk/real.csv"  # noqa: PTH115
    assert [row["path"] for row in read_csv(here / "disk" / "real.csv")] == NAMES
    if there:
        assert stat.S_IMODE((here / "disk" / "real.csv").stat().st_mode) == 0o640
    assert left(here) == ["disk", "labels.csv", "model.onnx", "photos"]
    assert left(here / "disk") == ["real.csv"]


def test_a_folder_through_a_link_keeps_its_parts_there(here, capfdbinary):
    (here / "labels").symlink_to("disk")
    code, _, error = labelled(capfdbinary, "-o", "labels/", "--format", "jsonl")
    assert code == 0, error
    assert (here / "labels").is_symlink()
    assert left(here / "disk") == ["part-00000.jsonl", "run.json"]
    assert [row["path"] for row in read_jsonl(here / "disk" / "part-00000.jsonl")] == NAMES


def test_links_in_a_circle_are_wrong_use(here, capfdbinary):
    (here / "a.csv").symlink_to("b.csv")
    (here / "b.csv").symlink_to("a.csv")
    code, _, error = labelled(capfdbinary, "-o", "a.csv")
    assert code == 2
    assert "Too many levels of symbolic links" in error
    assert left(here) == ["a.csv", "b.csv", "model.onnx", "photos"]


# Refusals leave nothing behind


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["-o", "photos.csv", "--format", "csv", "--model", "none.onnx"], 1),
        (["-o", "new/deep/labels.csv", "--model", "none.onnx"], 1),
        (["-o", "new/deep/labels/", "--model", "none.onnx"], 1),
        (["-o", "new/labels.csv", "--top-k", "100000"], 1),
        (["-o", "new/labels.csv", "nowhere"], 2),
        (["-o", "model.onnx/labels.csv"], 2),
        (["-o", "full", "--format", "fiftyone"], 1),
        (["-o", "full/", "--format", "csv"], 1),
        (["-o", "labels.csv", "--features"], 1),
    ],
)
def test_a_refusal_leaves_everything_as_it_was(here, capfdbinary, words, code):
    (here / "folder.csv").mkdir()
    (here / "full").mkdir()
    (here / "full" / "notes.txt").touch()
    before = sorted(here.rglob("*"))
    ended, _, error = labelled(capfdbinary, *words)
    assert ended == code, error
    assert sorted(here.rglob("*")) == before


def test_a_file_in_the_place_of_the_parts_is_left_alone(here, capfdbinary):
    (here / "labels.csv.parts").write_text("mine")
    code, _, error = labelled(capfdbinary, "-o", "labels.csv")
    assert code == 1
    assert "labels.csv.parts is in the way" in error
    assert (here / "labels.csv.parts").read_text() == "mine"
