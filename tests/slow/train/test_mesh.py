"""Processes that are killed, and commands under torchrun: one of the processes speaks."""

import functools
import json
import os
import signal
from datetime import timedelta

import pytest
import torch

from tests.train.conftest import THIN, on_ranks, run
from tests.train.folders import make
from train import rendezvous
from train.dataset import Dataset
from train.mesh import MeshError, open_mesh

# Processes that are killed


def _sum(mesh):
    mesh.sum(torch.zeros(1))


def _gather(mesh):
    mesh.gather("words")


def _first(mesh):
    mesh.tensors_from_first({"w": torch.zeros(10)} if mesh.first else {})


def _columns(mesh):
    torch.distributed.all_to_all_single(torch.empty(8), torch.zeros(8), group=mesh.column_group)


def _gradients(mesh):
    layer = torch.nn.Linear(3, 3)
    model = torch.nn.parallel.DistributedDataParallel(layer, process_group=mesh.data_group)
    model(torch.zeros(2, 3)).sum().backward()


WORK = (_sum, _gather, _first, _gradients, _columns)


def leaving(work):
    """The second process dies, and the first goes on talking to it."""
    try:
        with open_mesh(columns=2 if work is _columns else 1) as mesh:
            work(mesh)
            if mesh.rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            while True:  # what is under way when it dies, or what is begun after
                work(mesh)
    except MeshError as error:
        return str(error)


@pytest.mark.parametrize("work", WORK, ids=[work.__name__ for work in WORK])
def test_a_process_that_is_killed_is_a_sentence_in_the_others(work):
    said = on_ranks(2, functools.partial(leaving, work), answers=1)[0]
    assert said.startswith("Another process was lost (")
    assert said.endswith("--resume, or by itself under `torchrun --max-restarts`.")
    assert "\n" not in said


def never_coming():
    """The second process dies before they meet."""
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    rendezvous.PATIENCE = timedelta(seconds=2)
    try:
        with open_mesh():
            pass
    except MeshError as error:
        return str(error)


def test_processes_that_do_not_come_are_a_sentence():
    said = on_ranks(2, never_coming, answers=1)[0]
    assert said == "The other processes did not come: timed out waiting for the processes [1]."


# Commands


def sentences(done):
    """What alexnet-train itself said; torchrun's own report is long."""
    return [line for line in done.stderr.splitlines() if line.startswith("alexnet-train: ")]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--set=recipe.lrr=1", "--data=DATA"), "There is no setting 'recipe.lrr'"),
        (("--data=NOWHERE",), "alexnet-train prepare"),
    ],
    ids=["a wrong setting", "missing data"],
)
def test_an_error_under_torchrun_is_one_sentence_and_exit_code_1(
    colors, tmp_path, options, sentence
):
    places = {"DATA": str(colors), "NOWHERE": str(tmp_path / "nowhere")}
    words = []
    for option in options:
        name, _, value = option.rpartition("=")
        words.append(f"{name}={places.get(value, value)}")
    done = run("fit", *THIN, *words, "--out", tmp_path / "run", processes=2, check=False)
    assert done.returncode == 1
    assert len(sentences(done)) == 1, done.stderr
    assert sentence in sentences(done)[0]
    assert done.stdout == ""
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def seven(colors, tmp_path_factory):
    """Seven validation photos: more than half of them in one process."""
    folder = tmp_path_factory.mktemp("seven")
    for name, count in (("red", 3), ("green", 3), ("blue", 1)):
        for split in ("train", "val"):
            place = folder / "source" / split / name
            place.mkdir(parents=True)
            for path in sorted((colors.parent / "source" / split / name).iterdir())[:count]:
                (place / path.name).write_bytes(path.read_bytes())
    make(folder / "source", folder / "data", size=64)
    assert Dataset(folder / "data").count("val") == 7
    return folder / "data"


@pytest.fixture(scope="module")
def model(colors, tmp_path_factory):
    """A thin network after an epoch."""
    out = tmp_path_factory.mktemp("model") / "run"
    run("fit", *THIN, "--set=recipe.batch=8", "--data", colors, "--out", out, "--epochs=1")
    return out / "model.safetensors"


@pytest.mark.parametrize("options", [("--views=centre",), ("--views=ten", "--ties=shared")])
def test_two_processes_evaluate_to_the_result_of_one(model, seven, tmp_path, options):
    words = ("evaluate", model, "--data", seven, *options)
    one = run(*words, "--json", tmp_path / "one.json")
    two = run(*words, "--json", tmp_path / "two.json", processes=2)
    assert two.stdout == one.stdout  # and so only one process prints
    assert json.loads(one.stdout.splitlines()[-1])["photos"] == 7
    assert (tmp_path / "two.json").read_bytes() == (tmp_path / "one.json").read_bytes()
