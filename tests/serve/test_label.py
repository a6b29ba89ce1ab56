"""`alexnet-label` on real files."""

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alexnet import __version__
from alexnet.backends import open_backend
from alexnet.predictor import Predictor
from serve.inputs import InputError, Inputs, entries
from tests.commands import here, on_terminal
from tests.photos import bomb, encode, imagenet_samples, pattern, sklearn_photos

COLUMNS = [
    *("path", "status", "error_code", "error_message", "index", "label", "score"),
    *("label_1", "score_1", "label_2", "score_2", "label_3", "score_3"),
    *("label_4", "score_4", "label_5", "score_5"),
    *("width", "height", "model", "model_sha256", "backend", "views"),
]
ENV = {**os.environ, "OMP_NUM_THREADS": "1"}
# What stderr begins with once the model is opened.
CHOICE = "Backend torch: mini.safetensors is a checkpoint.\n"
# Two quoting traps each, and a byte that is no UTF-8.
UGLY = ['a, "b".jpg', "new\nline.jpg", "carriage\rreturn.jpg", "'=1+1;.jpg", "ÄÖ 木.jpg"]
NOT_UTF8 = b"caf\xe9.jpg"


def start(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "serve", *map(os.fspath, arguments)],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": ENV, **options},
    )


def run(*arguments, **options):
    """Exit code, output and errors of a whole run; with `options` in a process of its own."""
    if not options:
        done = here("serve.label", *arguments)
        return done.returncode, done.stdout.encode("utf-8", "surrogateescape"), done.stderr
    process = start(*arguments, **options)
    out, error = process.communicate(timeout=300)
    return process.returncode, out, error.decode()


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def write_photos(folder, count, *, first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        photo = encode(pattern(80 + number, 72, seed=number), "JPEG")
        (folder / f"{number:04}.jpg").write_bytes(photo)
    return folder


@pytest.fixture(scope="module")
def predictor(model_path):
    return Predictor(open_backend(model_path, threads=1))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, model_path):
    """A folder of good, bad and oddly named photos, labelled as CSV and as JSON lines."""
    folder = tmp_path_factory.mktemp("mixed")
    photos = write_photos(folder / "photos", 4)
    good = (photos / "0000.jpg").read_bytes()
    (photos / "0001-cut.jpg").write_bytes(good[: len(good) // 2])
    (photos / "0001-empty.png").write_bytes(b"")
    (photos / "0001-text.gif").write_text("not a photo at all")
    (photos / "0002-huge.png").write_bytes(bomb(9_000, 9_000))
    for number, name in enumerate(UGLY):
        (photos / name).write_bytes(encode(pattern(seed=20 + number), "PNG"))
    Path(os.fsdecode(os.fsencode(photos) + b"/" + NOT_UTF8)).write_bytes(good)
    code, out, error = run("photos", "--model", model_path, "-o", "out/labels.csv", cwd=folder)
    assert code == 1, error
    assert out == b""
    second = run("photos", "--model", model_path, "-o", "labels.jsonl", cwd=folder)
    assert second[0] == 1, second
    return folder, error


def test_rows_have_the_documented_columns(mixed):
    rows = read_csv(mixed[0] / "out" / "labels.csv")
    assert all(list(row) == COLUMNS for row in rows)


def test_rows_come_in_the_order_of_the_paths(mixed):
    names = sorted(os.fsencode(name) for name in names_in(mixed[0] / "photos"))
    expected = [f"photos/{name.decode('utf-8', 'backslashreplace')}" for name in names]
    assert [row["path"] for row in read_csv(mixed[0] / "out" / "labels.csv")] == expected


def test_a_photo_that_cannot_be_read_keeps_its_row(mixed):
    rows = {row["path"]: row for row in read_csv(mixed[0] / "out" / "labels.csv")}
    for name, code in (
        ("0001-cut.jpg", "corrupt_photo"),
        ("0001-empty.png", "empty_file"),
        ("0001-text.gif", "not_a_photo"),
        ("0002-huge.png", "too_many_pixels"),
    ):
        row = rows[f"photos/{name}"]
        assert (row["status"], row["error_code"]) == ("error", code)
        assert row["error_message"].endswith(".")
        assert row["model_sha256"]
        empty = [name for name in COLUMNS[4:19] if row[name] != ""]
        assert not empty, row


def test_each_answer_is_that_of_the_photo_alone(mixed, predictor):
    rows = [r for r in read_csv(mixed[0] / "out" / "labels.csv") if r["status"] == "ok"]
    assert len(rows) == 4 + len(UGLY) + 1
    for row in rows:
        path = row["path"].replace("\\xe9", "\udce9")
        alone = predictor.predict_one(mixed[0] / path)
        best = alone.scores[0]
        assert (row["index"], row["label"]) == (str(best.index), best.label)
        assert (row["width"], row["height"]) == (str(alone.width), str(alone.height))
        for k, score in enumerate(alone.scores, 1):
            assert row[f"label_{k}"] == score.label
            assert float(row[f"score_{k}"]) == pytest.approx(score.probability, abs=2e-6)
        assert (row["label"], row["score"]) == (row["label_1"], row["score_1"])


def test_the_row_names_the_model_that_answered(mixed, predictor):
    info = predictor.backend.info
    for row in read_csv(mixed[0] / "out" / "labels.csv"):
        assert row["model"] == "mini.safetensors"
        assert (row["model_sha256"], row["backend"], row["views"]) == (info.sha256, "torch", "ten")


def test_file_names_survive_commas_quotes_and_line_ends(mixed):
    paths = [row["path"] for row in read_csv(mixed[0] / "out" / "labels.csv")]
    assert {f"photos/{name}" for name in UGLY} < set(paths)
    assert "photos/caf\\xe9.jpg" in paths  # the documented escape


def test_json_lines_say_the_same_as_csv(mixed):
    with (mixed[0] / "labels.jsonl").open(encoding="utf-8", newline="\n") as file:
        rows = [json.loads(line) for line in file]
    assert isinstance(rows[0]["score"], float)
    assert isinstance(rows[0]["index"], int)
    as_text = [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows]
    assert as_text == read_csv(mixed[0] / "out" / "labels.csv")


def test_scores_have_six_significant_digits(mixed):
    for row in read_csv(mixed[0] / "out" / "labels.csv"):
        if row["status"] == "ok":
            assert repr(float(f"{float(row['score_5']):.6g}")) == row["score_5"]


def test_the_summary_counts_both_kinds_on_stderr(mixed):
    assert mixed[1].startswith(CHOICE)
    assert mixed[1].removeprefix(CHOICE).startswith("10 labelled, 4 failed (see error_message) in ")
    assert "photos/s) -> out/labels.csv" in mixed[1]


def test_files_folders_and_globs_are_labelled_in_the_order_given(tmp_path, model_path):
    write_photos(tmp_path / "folder", 2)
    write_photos(tmp_path / "glob" / "deep", 2, first=2)
    write_photos(tmp_path, 1, first=9)
    code, out, error = run(
        *("glob/**/*.jpg", "0009.jpg", "folder", "--model", model_path, "--top-k", "2", "--names"),
        *("--views", "centre", "--decoders", "1", "--batch", "2", "--fast", "--threads", "1"),
        cwd=tmp_path,
    )
    assert code == 0, error
    rows = list(csv.DictReader(out.decode().splitlines()))
    assert [row["path"] for row in rows] == [
        *("glob/deep/0002.jpg", "glob/deep/0003.jpg", "0009.jpg"),
        *("folder/0000.jpg", "folder/0001.jpg"),
    ]
    assert "label_2" in rows[0]
    assert "label_3" not in rows[0]
    backend = open_backend(model_path, views="centre")
    best = Predictor(backend).predict_one(tmp_path / "0009.jpg").scores[0]
    assert rows[2]["label"] == best.name
    assert {row["views"] for row in rows} == {"centre"}


def test_a_new_file_takes_the_old_ones_place_as_a_whole(tmp_path, model_path):
    target = tmp_path / "labels.csv"
    target.write_text("old\n")
    code, _, error = run(*sklearn_photos(), "--model", model_path, "-o", target)
    assert code == 0, error
    assert [row["width"] for row in read_csv(target)] == ["640", "640"]
    assert names_in(tmp_path) == ["labels.csv"]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A folder that takes minutes to label: many names of one file."""
    folder = write_photos(tmp_path_factory.mktemp("many") / "photos", 1)
    for number in range(1, 20_000):
        os.link(folder / "0000.jpg", folder / f"{number:05}.jpg")
    return folder


def begun(process, folder):
    """Wait until a part is being written."""
    deadline = time.monotonic() + 120
    while not any(folder.glob("labels.csv.parts/.part-00000.csv.*.part")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "no part was begun"
        time.sleep(0.02)


def test_a_killed_run_leaves_the_old_file(tmp_path, many, model_path):
    target = tmp_path / "labels.csv"
    target.write_text("old\n")
    process = start(many, "--model", model_path, "--views", "centre", "-o", target)
    begun(process, tmp_path)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert target.read_text() == "old\n"


def test_a_terminated_run_leaves_nothing(tmp_path, many, model_path):
    process = start(many, "--model", model_path, "--views", "centre", "-o", tmp_path / "labels.csv")
    begun(process, tmp_path)
    process.terminate()
    error = process.communicate(timeout=60)[1].decode()
    assert (process.returncode, error) == (130, f"{CHOICE}alexnet-label: interrupted.\n")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("work", ["Listing photos", "Loading the model", "Labelling"])
def test_a_terminal_shows_what_is_being_done(shown, work):
    assert work in shown


@pytest.fixture(scope="module")
def shown(tmp_path_factory, model_path):
    """What a run draws on a terminal."""
    folder = tmp_path_factory.mktemp("terminal")
    write_photos(folder / "photos", 2)
    return on_terminal("serve", "photos", "--model", model_path, "-o", "labels.csv", cwd=folder)


def test_the_version_is_told():
    assert run("--version") == (0, f"alexnet-label, version {__version__}\n".encode(), "")


def test_a_full_disk_is_a_sentence_and_changes_nothing(tmp_path, model_path):
    write_photos(tmp_path / "photos", 40)
    target = tmp_path / "out" / "labels.csv"
    target.parent.mkdir()
    target.write_text("old\n")
    code, _, error = run(
        *("photos", "--model", model_path, "--views", "centre", "-o", target),
        cwd=tmp_path,
        # No file may grow past 3 kB: the kernel refuses the write as a full disk does.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)),
    )
    assert code == 1
    assert error == (
        f"{CHOICE}alexnet-label: {target} could not be written: File too large. "
        "Nothing was changed there.\n"
    )
    assert target.read_text() == "old\n"
    assert names_in(target.parent) == ["labels.csv"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_a_sentence(tmp_path, model_path):
    photos = write_photos(tmp_path / "photos", 1)
    with Path("/dev/full").open("wb") as full:
        code, _, error = run(photos, "--model", model_path, stdout=full)
    assert code == 1
    sentence = "alexnet-label: The output could not be written: No space left on device.\n"
    assert error == CHOICE + sentence


def test_a_reader_that_has_had_enough_ends_the_run_quietly(many, model_path):
    process = start(many, "--model", model_path, "--views", "centre")
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read().decode() == CHOICE
    assert process.wait(timeout=60) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere/"], "There is no file or folder nowhere/."),
        (["photos/*.png"], "No file matches photos/*.png."),
        (["empty"], "There are no photos in empty: folders and tars are searched for ."),
        ([""], "An input is empty"),
        (["photos", "-o", "labels.xlsx"], "labels.xlsx does not say its format: end it in .csv"),
        (["photos", "--top-k", "0"], "'--top-k'"),
        ([], "Missing argument 'PHOTOS...'"),
    ],
)
def test_wrong_use_is_a_sentence_and_exit_code_2(tmp_path, arguments, sentence):
    write_photos(tmp_path / "photos", 1)
    (tmp_path / "empty").mkdir()
    code, out, error = run(*arguments, cwd=tmp_path)
    assert (code, out) == (2, b"")
    assert sentence in " ".join(error.split())
    assert names_in(tmp_path) == ["empty", "photos"]


def test_a_model_or_output_that_cannot_be_used_is_a_sentence(tmp_path, model_path):
    write_photos(tmp_path / "photos", 1)
    (tmp_path / "cut.safetensors").write_bytes(model_path.read_bytes()[:1000])
    classes = len(open_backend(model_path).info.labels)
    for arguments, sentence in (
        (["--model", "cut.safetensors"], "cut.safetensors is not a whole .safetensors file"),
        (["--model", model_path, "--top-k", "5000"], f"The model has {classes} classes: --top-k"),
        (["--model", model_path, "-o", "photos/"], "photos is a folder with other files in it"),
    ):
        code, out, error = run("photos", *arguments, cwd=tmp_path)
        assert (code, out) == (1, b""), error
        assert sentence in error


# Which photos are meant


def listed(*arguments):
    return list(entries(Inputs(arguments=arguments)))


def test_a_folder_is_searched_at_every_depth_in_the_order_of_the_whole_paths(tmp_path):
    names = ["b.JPG", "a/z.png", "a/deeper/1.webp", "a-b.jpg", "a.tiff", "Z.gif", "a/deeper-1.bmp"]
    for name in (*names, "notes.txt", ".hidden.jpg", ".git/x.jpg", "a/._z.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [os.path.relpath(path, tmp_path) for path in listed(str(tmp_path))]
    assert found == sorted(names)


def test_a_file_or_a_globs_match_is_taken_whatever_its_suffix(tmp_path):
    for name in ("one.dat", "[x].jpg", "x.jpg"):
        (tmp_path / name).touch()
    one = f"{tmp_path}/one.dat"
    assert listed(one, f"{tmp_path}/*.dat") == [one, one]
    # A name that exists is that file, even where it reads as a pattern.
    assert listed(f"{tmp_path}/[x].jpg") == [f"{tmp_path}/[x].jpg"]


def test_links_are_followed_once_round_and_broken_ones_keep_their_place(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.jpg").touch()
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "lost.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    found = [os.path.relpath(path, tmp_path) for path in listed(str(tmp_path))]
    assert found == ["link/a.jpg", "lost.jpg", "real/a.jpg", "self.jpg"]


def test_what_is_no_file_is_refused_before_anything_is_labelled(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        listed(str(tmp_path / "pipe.jpg"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path):
    write_photos(tmp_path / "ok", 1)
    (tmp_path / "locked").mkdir(mode=0)
    with pytest.raises(InputError, match="locked can't be read: Permission denied"):
        listed(str(tmp_path))


@pytest.mark.slow
@pytest.mark.shared
def test_every_sample_photo_is_labelled(tmp_path, model_path):
    photos = imagenet_samples()
    target = tmp_path / "labels.csv"
    code, _, error = run(photos[0].parent, "--model", model_path, "-o", target)
    assert code == 0, error
    rows = read_csv(target)
    assert [row["path"] for row in rows] == [str(photo) for photo in photos]
    assert all(row["status"] == "ok" and 0 < float(row["score"]) <= 1 for row in rows)
