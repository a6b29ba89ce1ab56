"""Labelling on a Ray cluster of two nodes: the same rows as in one process, whatever dies."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from serve.inputs import Inputs
from serve.label import main
from serve.labeller import open_local_labeller
from serve.pipeline import Labelled
from serve.ray_labeller import RayError, for_one, in_order
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

ROOT = Path(__file__).parents[2]
COUNT = 3_000
QUICK = ("--model", "model.onnx", "--part-photos", "200")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, a folder of photos and three shards, the second of which is torn."""
    folder = tmp_path_factory.mktemp("ray")
    write_model(folder / "model.onnx")
    write_photos(folder / "photos", COUNT)
    for number in range(3):
        photos = {f"{key}.bmp": small_photo((key + 9 * number) % 97) for key in range(300)}
        write_tar(folder / f"s-{number}.tar", photos)
    torn = folder / "s-1.tar"
    torn.write_bytes(torn.read_bytes()[:1_000_000])
    return folder


@pytest.fixture(autouse=True)
def here(request, place, monkeypatch):
    monkeypatch.chdir(place)


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one CPU each: their address, and the processes that manage them."""
    pytest.importorskip("ray.data", reason="needs Ray")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.serve.ray_cluster"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    try:
        for line in process.stdout:  # Ray may say something first
            if line.startswith(b"{"):
                yield SimpleNamespace(**json.loads(line))
                break
        else:
            pytest.fail("the cluster did not start")
    finally:
        process.stdin.close()
        process.wait(timeout=60)
        process.stdout.close()


def predictors(cluster):
    """Processes that hold a predictor, each with the number of the node that it belongs to."""
    raylets = {pid: number for number, pid in enumerate(cluster.raylets)}
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int(path.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            title = path.joinpath("cmdline").read_bytes()
            if parent in raylets and b"ray::MapWorker" in title:
                found[int(path.name)] = raylets[parent]
    return found


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def parts_done(folder):
    try:
        return json.loads((folder / "run.json").read_text())["done"]["parts"]
    except FileNotFoundError:
        return 0


@pytest.mark.slow
def test_a_killed_predictor_loses_no_row_and_doubles_none(tmp_path, cluster):
    local, target = tmp_path / "local", tmp_path / "ray"
    code, error = run("photos", *QUICK, "-o", f"{local}/")
    assert code == 1, error
    process = start("photos", *QUICK, "-o", f"{target}/", "--ray", cluster.address)
    # Ray begins with the first predictor, and the other comes when it comes.
    wait_for(lambda: parts_done(target) and sorted(predictors(cluster).values()) == [0, 1], process)
    killed = predictors(cluster)
    os.kill(max(killed), signal.SIGKILL)
    error = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 1, error  # three photos of each hundred are torn
    assert sorted(killed.values()) == [0, 1]
    names = [f"part-{number:05}.csv" for number in range(COUNT // 200)]
    assert sorted(path.name for path in target.iterdir()) == [*names, "run.json"]
    for name in names:
        assert (target / name).read_bytes() == (local / name).read_bytes(), name
    summary = json.loads((target / "run.json").read_text())
    assert summary["state"] == "finished"
    assert summary["done"] == json.loads((local / "run.json").read_text())["done"]
    assert summary["sessions"][0]["ray"] == {"predictors": 2, "num_cpus": 1, "num_gpus": 0}


@pytest.mark.slow
def test_shards_killed_and_resumed_give_the_rows_of_a_local_run(tmp_path, cluster):
    parquet = pytest.importorskip("pyarrow.parquet", reason="reads Parquet")
    words = ("s-{0..2}.tar", "photos", *QUICK, "--features", "--probabilities")
    local, target = tmp_path / "local.parquet", tmp_path / "ray.parquet"
    code, error = run(*words, "-o", local)
    assert local.is_file(), error
    words = (*words, "-o", target, "--resume", "--ray", cluster.address)
    process = start(*words)
    # The first shard ends in the second part.
    wait_for(lambda: parts_done(tmp_path / "ray.parquet.parts") >= 2, process)
    process.kill()
    process.communicate(timeout=60)
    before = parts_done(tmp_path / "ray.parquet.parts")
    assert 2 <= before < 18
    code, error = run(*words)
    assert code == 1
    assert f"{before * 200:,} of them by an earlier run" in error
    assert parquet.read_table(target).equals(parquet.read_table(local))


def test_what_fails_on_the_cluster_is_one_sentence(tmp_path, cluster):
    code, error = run(
        "photos", "--model", "gone.onnx", "-o", tmp_path / "a.csv", "--ray", cluster.address
    )
    assert (code, error) == (1, "alexnet-label: There is no model gone.onnx.\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_without_an_address_this_machine_does_the_work_in_silence(tmp_path):
    """In a folder whose own modules are called like ours, by the command that is installed."""
    pytest.importorskip("ray.data", reason="needs Ray")
    for name in ("serve", "train", "bench", "export", "alexnet"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    write_photos(tmp_path / "photos", 6)
    paths = "".join(f"photos/{number:05}.bmp\n" for number in range(6))
    model = Path("model.onnx").absolute()
    words = ("-", "--model", model, "--threads", "1", "-o", tmp_path / "a.csv", "--ray")
    process = subprocess.run(
        [Path(sys.executable).with_name("alexnet-label"), *words],
        input=paths.encode(),
        capture_output=True,
        cwd=tmp_path,
        timeout=300,
        check=False,
    )
    error = process.stderr.decode()
    assert process.returncode == 0, error
    first, last = error.splitlines()
    assert first.startswith("Ray: ")
    assert last.startswith("6 labelled in ")
    assert [row["path"] for row in read_csv(tmp_path / "a.csv")] == paths.split()


def test_a_cluster_that_is_not_there_is_one_sentence(tmp_path):
    pytest.importorskip("ray.data", reason="needs Ray")
    code, error = run("photos", *QUICK, "-o", tmp_path / "a.csv", "--ray", "127.0.0.1:1")
    assert (code, error) == (1, "alexnet-label: No Ray answers at 127.0.0.1:1.\n")


def test_without_ray_a_sentence_names_the_extra(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow", reason="it is looked for first")
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["photos", *QUICK, "-o", str(tmp_path / "a.csv"), "--ray"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert "run `pip install -e '.[ray]'`" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["photos", "--ray"], "--ray writes its rows in parts, not to stdout: name a file."),
        (["--ray", "photos", "-o", "a.csv"], "photos is no address such as auto or HOST:PORT"),
        (["photos", "-o", "a.csv", "--ray", "ray://a:1"], "Ray Data does not run through Ray's"),
        (
            ["photos", "-o", "a.csv", "--device", "cuda:1", "--ray"],
            "Ray chooses the GPUs: give --device cuda, not cuda:1.",
        ),
    ],
)
def test_what_makes_no_sense_with_ray_is_refused(words, sentence):
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.split())


# Rows that come back from a cluster


def labelled(stretch, count):
    return [Labelled({"path": f"{stretch}/{n}"}, False, (stretch, n)) for n in range(count)]


def test_rows_come_back_in_the_order_of_their_stretches():
    done = [(0, labelled(0, 3)), (1, labelled(1, 2))]
    found = [photo.row["path"] for photo in in_order(done, [3, 2])]
    assert found == ["0/0", "0/1", "0/2", "1/0", "1/1"]


@pytest.mark.parametrize(
    "done",
    [
        [(1, 2), (0, 3)],  # another order
        [(0, 3), (0, 3), (1, 2)],  # one twice
        [(0, 3)],  # the last is lost
        [(1, 2)],  # the first is
        [(0, 2), (1, 2)],  # a row of one is
        [(0, 3), (1, 2), (2, 1)],  # one more than was asked for
        [],
    ],
)
def test_rows_that_are_lost_or_in_another_order_end_the_run(done):
    """By an error that holds under `python -O`, too."""
    given = [(number, labelled(number, count)) for number, count in done]
    with pytest.raises(RayError, match=r"Ray gave back .* with --resume"):
        list(in_order(given, [3, 2]))


@pytest.mark.parametrize("threads", [None, 1, 2])
@pytest.mark.parametrize("mode", ["throughput", "latency"])
@pytest.mark.parametrize("batch", [None, 7])
def test_a_cluster_forms_the_batches_of_a_local_run(threads, mode, batch):
    task = Labelling(
        inputs=Inputs(arguments=("photos",)),
        output=None,
        model=Path("model.onnx"),
        threads=threads,
        mode=mode,
        batch=batch,
    )
    with open_local_labeller(task) as here, open_local_labeller(for_one(task)) as there:
        assert here.batch == there.batch
