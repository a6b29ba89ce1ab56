"""A labelling that is killed, terminated or refused, and what a second one makes of it."""

import dataclasses
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from serve import parts
from serve.formats import OutputError
from serve.inputs import Inputs
from serve.label import main
from serve.label_options import labelling
from serve.labelling import label
from serve.run_folder import open_run
from serve.target import Target
from serve.task import Labelling
from tests.serve.label_runs import (
    read_csv,
    run,
    small_photo,
    start,
    write_model,
    write_photos,
    write_tar,
)

QUICK = ("--model", "model.onnx", "--threads", "1", "--batch", "16")
MANY, MORE, SOME = 20_000, 8_000, 2_000


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, and folders of very many, more, some and forty photos."""
    folder = tmp_path_factory.mktemp("resume")
    write_model(folder / "model.onnx")
    for name, count in (("many", MANY), ("more", MORE), ("some", SOME), ("few", 40)):
        write_photos(folder / name, count)
    return folder


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    monkeypatch.chdir(place)


def done(folder):
    """What run.json says is done; nothing before it is there."""
    try:
        return json.loads((folder / "run.json").read_text())["done"]
    except FileNotFoundError:
        return {"parts": 0, "photos": 0}


def stopped(number, folder, *words, parts, **options):
    """Send a signal to a run at a random moment after so many parts; returns its end and error."""
    process = start(*words, **options)
    deadline = time.monotonic() + 120
    while done(folder)["parts"] < parts:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "no part was written"
        time.sleep(0.01)
    time.sleep(random.Random(parts).uniform(0.0, 0.2))
    process.send_signal(number)
    error = process.communicate(timeout=60)[1].decode()
    return process.returncode, error


@pytest.mark.slow
def test_a_kept_folder_is_resumed_in_the_middle_of_a_shard(tmp_path):
    for number in range(3):
        photos = {f"{key}.bmp": small_photo((key + 9 * number) % 97) for key in range(1600)}
        write_tar(tmp_path / f"s-{number}.tar", photos)
    (tmp_path / "s-1.tar").write_bytes((tmp_path / "s-1.tar").read_bytes()[:8_000_000])
    words = (f"{tmp_path}/s-{{0..2}}.tar", *QUICK, "--format", "jsonl", "--part-photos", "160")
    folder = tmp_path / "labels"
    ended, error = stopped(signal.SIGKILL, folder, *words, "-o", f"{folder}/", parts=3)
    assert ended == -signal.SIGKILL, error
    assert run(*words, "-o", f"{folder}/", "--resume")[0] == 1
    assert run(*words, "-o", tmp_path / "whole.jsonl")[0] == 1
    parts = sorted(folder.glob("part-*.jsonl"))
    joined = b"".join(part.read_bytes() for part in parts)
    assert joined == (tmp_path / "whole.jsonl").read_bytes()
    codes = [json.loads(line)["error_code"] for line in joined.splitlines()]
    assert codes.count("corrupt_shard") == 1
    assert sorted(path.name for path in folder.iterdir())[-1] == "run.json"


def test_a_terminated_run_keeps_whole_parts_and_says_how_to_go_on(tmp_path):
    target, folder = tmp_path / "labels.csv", tmp_path / "labels.csv.parts"
    words = ("many", *QUICK, "--part-photos", "320", "-o", target)
    code, error = stopped(signal.SIGTERM, folder, *words, parts=2)
    kept = done(folder)["photos"]
    assert code == 130
    assert error.endswith(
        f"{kept:,} photos are kept in {folder}: give the same command with --resume to go on.\n"
        "alexnet-label: interrupted.\n"
    )
    names = [f"part-{number:05}.csv" for number in range(kept // 320)]
    assert sorted(path.name for path in folder.iterdir()) == ["inputs.list", *names, "run.json"]


def test_an_interrupt_between_a_part_and_its_count_keeps_what_was_counted(
    tmp_path, monkeypatch, capfd
):
    save = parts.Run._save

    def interrupted(run):
        if run.progress.parts == 2:
            raise KeyboardInterrupt
        save(run)

    monkeypatch.setattr(parts.Run, "_save", interrupted)
    target, folder = tmp_path / "labels.csv", tmp_path / "labels.csv.parts"
    with pytest.raises(KeyboardInterrupt):
        again("-o", os.fspath(target))
    assert f"160 photos are kept in {folder}" in capfd.readouterr().err
    names = ["inputs.list", "part-00000.csv", "run.json"]
    assert sorted(path.name for path in folder.iterdir()) == names


# Without a kill: a run that a full disk stopped when all parts were there

WORDS = ("some", *QUICK, "--part-photos", "160")


@pytest.fixture(scope="module")
def full_disk(place):
    """What the run said, and the folder with its parts."""
    # No file may grow past 100 kB: parts may, the joined table may not.
    limit = 100_000
    code, error = run(
        *(*WORDS, "-o", "stopped.csv"),
        cwd=place,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert code == 1
    return error, place / "stopped.csv.parts"


@pytest.fixture
def unfinished(place, full_disk):
    """Those parts, for one test."""
    shutil.copytree(full_disk[1], place / "labels.csv.parts")
    yield place / "labels.csv"
    (place / "labels.csv").unlink(missing_ok=True)
    shutil.rmtree(place / "labels.csv.parts", ignore_errors=True)


def again(*words):
    """The same labelling once more, in this process."""
    with main.make_context("alexnet-label", [*WORDS, "-o", "labels.csv", *words]) as context:
        return label(labelling(**context.params))


def test_a_full_disk_keeps_the_parts_before_it(full_disk):
    assert full_disk[0].endswith(
        "alexnet-label: stopped.csv could not be written: File too large. 2,000 photos are kept in "
        "stopped.csv.parts: give the same command with --resume to go on.\n"
    )
    assert len(list(full_disk[1].glob("part-*.csv"))) == 13  # 2,000 photos, 160 in each


def test_nothing_is_done_twice_after_the_last_part(unfinished):
    outcome = again("--resume")
    assert (outcome.labelled + outcome.failed, outcome.before) == (2000, 2000)
    assert [row["path"] for row in read_csv(unfinished)] == [
        f"some/{number:05}.bmp" for number in range(2000)
    ]


def test_an_interrupt_after_the_table_is_in_its_place_promises_no_parts(
    unfinished, monkeypatch, capfd
):
    remove = parts._remove

    def interrupted(path):
        if path.name.startswith("part-"):
            raise KeyboardInterrupt
        remove(path)

    monkeypatch.setattr(parts, "_remove", interrupted)
    with pytest.raises(KeyboardInterrupt):
        again("--resume")
    assert len(read_csv(unfinished)) == 2000
    assert "are kept in" not in capfd.readouterr().err


def test_an_unfinished_run_is_not_overwritten(unfinished):
    with pytest.raises(OutputError, match="holds an unfinished run with 2,000 photos: continue"):
        again()
    assert done(unfinished.with_name("labels.csv.parts"))["photos"] == 2000


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--top-k", "3"], "begun with other settings: top_k (was null, is 3)"),
        (["--fast"], "fast (was false, is true)"),
        (["--batch", "32"], "batch (was 16, is 32)"),
        (["few"], 'inputs.arguments (was ["some"], is ["some", "few"])'),
        (["--delimiter", ";", "--manifest", "t.csv"], 'inputs.manifest (was null, is "t.csv")'),
        (["--model", "other.onnx"], "model (was "),
    ],
)
def test_other_settings_inputs_and_models_are_refused(place, unfinished, words, sentence):
    write_model(place / "other.onnx", seed=1)
    with pytest.raises(OutputError, match=re.escape(sentence)):
        again("--resume", *words)
    assert not unfinished.exists()


def test_every_option_that_shapes_the_rows_is_compared():
    target = Target(path=Path("labels.csv"), format="csv", keeps_parts=False)
    task = Labelling(inputs=Inputs(arguments=("some",)), output=target)
    with_the_model = {"model", "backend", "views", "batch", "part_photos"}
    no_matter = {"output", "stream", "decoders", "readers", "resume", "ray"}
    options = {field.name for field in dataclasses.fields(Labelling)}
    assert options - set(task.facts()) == with_the_model | no_matter


def test_another_working_folder_is_refused(place, unfinished, monkeypatch):
    monkeypatch.chdir(place / "few")
    words = ("--model", "../model.onnx", "-o", "../labels.csv", "--resume")
    with pytest.raises(OutputError, match="working_folder"):
        again(*words)


def test_two_processes_do_not_write_the_same_run(place, unfinished):
    with (
        open_run(Target(path=unfinished, format="csv", keeps_parts=False), resume=True),
        pytest.raises(OutputError, match=r"Another process is writing to labels.csv.parts"),
    ):
        again("--resume")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("part-00004.csv", "part-00004.csv is gone"), ("run.json", "run.json is damaged")],
)
def test_what_somebody_broke_is_a_sentence(unfinished, name, sentence):
    path = unfinished.with_name("labels.csv.parts") / name
    if name == "run.json":
        path.write_text("{}")
    else:
        path.unlink()
    with pytest.raises(OutputError, match=sentence):
        again("--resume")


def test_a_part_that_was_not_counted_is_done_again(unfinished):
    """A run that was killed between a part's appearance and its count."""
    folder = unfinished.with_name("labels.csv.parts")
    state = json.loads((folder / "run.json").read_text())
    state["done"] = {"parts": 12, "photos": 1920, "failed": 60, "next": [1920, 0]}
    (folder / "run.json").write_text(json.dumps(state))
    assert again("--resume").before == 1920
    assert [row["path"] for row in read_csv(unfinished)] == [
        f"some/{number:05}.bmp" for number in range(2000)
    ]


def test_a_run_of_an_earlier_version_goes_on_with_its_own_batches(unfinished):
    """Its run.json had no word of what was left out, and no delimiter; batches were of 16."""
    folder = unfinished.with_name("labels.csv.parts")
    state = json.loads((folder / "run.json").read_text())
    state["done"] = {"parts": 12, "photos": 1920, "failed": 60, "next": [1920, 0]}
    del state["tars"], state["folders_left_out"]
    assert "delimiter" not in state["inputs"]
    assert state["batch"] == 16
    (folder / "run.json").write_text(json.dumps(state))
    words = [word for word in WORDS if word not in ("--batch", "16")]
    command = [*words, "-o", "labels.csv", "--resume"]
    with main.make_context("alexnet-label", command) as context:
        outcome = label(replace(labelling(**context.params), threads=1))
    assert outcome.before == 1920
    assert [row["path"] for row in read_csv(unfinished)] == [
        f"some/{number:05}.bmp" for number in range(2000)
    ]


def test_a_run_of_an_earlier_version_within_a_tar_is_refused(tmp_path, monkeypatch):
    """A place in a tar counts photos, and that version did not find all of them."""
    photos = {f"{key}.bmp": small_photo(key) for key in range(20)}
    junk = {f"{folder}/1.jpg": b"x" for folder in ("@eaDir", "#recycle", ".Trash-0")}
    (first, *rest), (before, *behind) = photos.items(), junk.items()
    shard = write_tar(tmp_path / "s.tar", dict([before, first, before, *rest, *behind, before]))
    target = Target(path=tmp_path / "labels.csv", format="csv", keeps_parts=False)
    task = Labelling(
        inputs=Inputs(arguments=(str(shard),)),
        output=target,
        model=Path("model.onnx"),
        batch=4,
        part_photos=4,
        resume=True,
    )
    save = parts.Run._save
    monkeypatch.setattr(parts.Run, "_save", lambda run: interrupt(run) or save(run))
    with pytest.raises(KeyboardInterrupt):
        label(task)
    monkeypatch.setattr(parts.Run, "_save", save)
    state = json.loads((target.folder / "run.json").read_text())
    assert state["done"]["next"] == [0, 8]
    (target.folder / "run.json").write_text(json.dumps(state | {"tars": 1}))
    with pytest.raises(OutputError, match="was begun by another version of alexnet, which found"):
        label(task)
    (target.folder / "run.json").write_text(json.dumps(state))
    outcome = label(task)
    assert (outcome.before, outcome.folders_left_out) == (8, 3)


def interrupt(run):
    if run.progress.parts == 3:
        raise KeyboardInterrupt


def test_a_file_that_only_begins_like_a_part_is_no_part(unfinished):
    folder = unfinished.with_name("labels.csv.parts")
    (folder / "part-of-my-notes.txt").write_text("")
    assert again("--resume").before == 2000


def test_a_folder_that_the_process_before_removed_is_not_written_to(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="locks the folder")
    target = Target(path=tmp_path / "labels.csv", format="csv", keeps_parts=False)
    lock = fcntl.flock

    def late(handle, how):
        target.folder.rmdir()  # by who held the lock until now
        target.folder.mkdir()  # by a third process, which holds a lock on this one
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with (
        pytest.raises(OutputError, match="has just finished with"),
        open_run(target, resume=True),
    ):
        pass


def test_parts_of_another_program_are_not_touched(tmp_path):
    (tmp_path / "part-00000.csv").write_text("theirs")
    with pytest.raises(OutputError, match=r"a folder with other files in it \(part-00000.csv\)"):
        again("-o", f"{tmp_path}/")
    assert (tmp_path / "part-00000.csv").read_text() == "theirs"


def test_an_interrupt_does_not_wait_for_a_server_that_is_silent(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/photo.jpg"
        process = start(url, *QUICK, "-o", tmp_path / "labels.csv")
        connection, _ = server.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            error = process.communicate(timeout=20)[1].decode()
    assert process.returncode == 130
    assert error.endswith("alexnet-label: interrupted.\n")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_ends_a_run_that_waits_for_its_list(tmp_path):
    process = start("-", *QUICK, stdin=subprocess.PIPE)
    process.stdin.write(b"few/00000.bmp\n")
    process.stdin.flush()
    assert process.stderr.readline().startswith(b"Backend onnxruntime")
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 130
    assert process.stderr.read() == b"alexnet-label: interrupted.\n"
    process.stdin.close()


def test_a_finished_folder_is_left_as_it_is(tmp_path):
    words = ("few", *QUICK, "-o", f"{tmp_path}/labels/")

    def once(*more):
        with main.make_context("alexnet-label", [*words, *more]) as context:
            return label(labelling(**context.params))

    first = once("--resume")  # there is nothing to resume: it begins
    before = {path: path.read_bytes() for path in (tmp_path / "labels").iterdir()}
    second = once("--resume")
    assert (second.labelled, second.before, second.seconds) == (first.labelled, 40, 0.0)
    assert {path: path.read_bytes() for path in (tmp_path / "labels").iterdir()} == before
    with pytest.raises(OutputError, match="holds a finished run: name another folder"):
        once()
    write_model(Path("other.onnx"), seed=1)
    for others in (["some"], ["--top-k", "3"], ["--model", "other.onnx"]):
        with pytest.raises(OutputError, match="was begun with other settings"):
            once("--resume", *others)


def test_a_list_from_stdin_is_kept_for_the_second_run(tmp_path):
    target, folder = tmp_path / "labels.csv", tmp_path / "labels.csv.parts"
    paths = "".join(f"many/{number:05}.bmp\n" for number in range(0, MANY, 7))
    (tmp_path / "list").write_text(paths)
    words = ("-", *QUICK, "--part-photos", "160", "-o", target)
    with (tmp_path / "list").open("rb") as list_:
        ended, error = stopped(signal.SIGKILL, folder, *words, parts=2, stdin=list_)
    assert ended == -signal.SIGKILL, error
    assert run(*words, "--resume", stdin=b"")[0] == 1
    assert [row["path"] for row in read_csv(target)] == paths.split()
