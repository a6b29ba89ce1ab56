"""Processes that share the work, and what they say when they can't."""

import functools
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from alexnet.errors import AlexNetError
from tests.train.conftest import THIN, on_ranks
from train.dataset import Dataset
from train.evaluate import check_same_photos, evaluate
from train.mesh import Mesh, MeshError, open_mesh, parts
from train.recipes import recipe, run_config
from train.trainer import Trainer


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (8, 2, [(0, 4), (4, 8)]),
        (7, 2, [(0, 4), (4, 7)]),
        (8, 3, [(0, 3), (3, 6), (6, 8)]),
        (1, 3, [(0, 1), (1, 1), (1, 1)]),
        (0, 2, [(0, 0), (0, 0)]),
    ],
)
def test_parts_follow_each_other_and_differ_by_one_at_most(count, size, expected):
    assert [(part.start, part.stop) for part in parts(count, size)] == expected


def test_a_column_group_s_ranks_follow_each_other():
    places = [Mesh(data=data, data_size=2, column=c, columns=2) for data in (0, 1) for c in (0, 1)]
    assert [mesh.rank for mesh in places] == [0, 1, 2, 3]
    assert [mesh.first for mesh in places] == [True, False, False, False]
    assert [mesh.part(5) for mesh in places] == [slice(0, 3)] * 2 + [slice(3, 5)] * 2


def test_one_process_alone_needs_no_others():
    values = torch.tensor([1.0, 2.0])
    with open_mesh() as mesh, mesh.agreed():
        mesh.sum(values)
        assert values.tolist() == [1, 2]
        assert mesh.gather("a") == ["a"]
        assert mesh.from_first("a") == "a"
        assert torch.equal(mesh.tensors_from_first({"w": values})["w"], values)


# Two processes


class _Five:
    """Five photos of two classes; a network that is sure of the first."""

    labels = np.array([0, 1, 0, 0, 1])

    def __init__(self, count):
        self.count = count
        self.labels = self.labels[:count]

    def __len__(self):
        return self.count

    def photos(self, rows):
        return np.asarray(rows)


def _meet(port, late):
    """Join the others by the keys that torchrun keeps at `port`, rank 1 so many seconds late."""
    os.environ.update(MASTER_PORT=str(port), TORCHELASTIC_USE_AGENT_STORE="True")
    time.sleep(late * int(os.environ["RANK"]))
    with open_mesh() as mesh:
        return mesh.gather(os.getpid())


def _sure(rows):
    return np.array([[0.9, 0.1]] * len(rows), dtype=np.float32)


def _raising(mesh, failing):
    """What a process does when those of `failing` meet an error for people."""
    try:
        with mesh.agreed():
            if mesh.rank in failing:
                raise AlexNetError(f"Process {mesh.rank} can't.")
    except AlexNetError as error:
        return str(error)
    except SystemExit as end:
        return end.code
    return "went on"


# What is ours to mend, and must not be told as a lost process.
DEFECTS = (
    "The size of tensor a (2) must match the size of tensor b (3)",
    "The connection of conv2 to conv1 has no weights",
    "a map of gloo/transport/tcp is no photo",
    "[/pytorch/third_party/gloo/gloo/allreduce.cc:108] Enforce fail: sizes differ",
    "Connection closed by peer, says a defect of ours",
)


def _let_through(words):
    """What leaves `open_mesh` where this error is raised in it."""
    try:
        with open_mesh():
            raise RuntimeError(words)
    except Exception as error:
        return type(error).__name__, str(error)


def together():
    """In one of two processes: the collectives, agreements, and evaluations."""
    found = {}
    with open_mesh() as mesh:
        values = torch.tensor([1.0, 10.0]) * (mesh.rank + 1)
        mesh.sum(values)
        found["sum"] = values.tolist()
        found["gather"] = mesh.gather(f"rank {mesh.rank}")
        found["from_first"] = mesh.from_first({"rank": mesh.rank})
        tensors = {"a": torch.arange(3, dtype=torch.float64), "b": torch.ones(2, 2)}
        given = mesh.tensors_from_first(tensors if mesh.first else {})
        found["tensors"] = {name: (str(t.dtype), t.tolist()) for name, t in given.items()}
        for failing in ((), (0,), (1,), (0, 1)):
            found[failing] = _raising(mesh, failing)
        for count in (5, 1):
            seen = []

            def judged(rows, seen=seen):
                seen.extend(rows.tolist())
                return _sure(rows)

            result = evaluate(judged, _Five(count), batch=2, mesh=mesh)
            found[f"photos of {count}"] = (seen, result.summary(), result.labels.tolist())
    tasks = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    found["threads"] = [name for name in tasks if "gloo" in name]
    found["defects"] = [_let_through(defect) for defect in DEFECTS]
    return found


@pytest.fixture(scope="module")
def both():
    return on_ranks(2, together)


def test_sums_and_lists_are_over_all_processes(both):
    for found in both:
        assert found["sum"] == [3, 30]
        assert found["gather"] == ["rank 0", "rank 1"]


def test_the_first_process_tells_the_others(both):
    tensors = {"a": ("torch.float64", [0, 1, 2]), "b": ("torch.float32", [[1, 1], [1, 1]])}
    for found in both:
        assert found["from_first"] == {"rank": 0}
        assert found["tensors"] == tensors


@pytest.mark.parametrize(
    ("failing", "first", "second"),
    [
        ((), "went on", "went on"),
        ((0,), "Process 0 can't.", 1),
        ((1,), 1, "Process 1 can't."),
        ((0, 1), "Process 0 can't.", 1),
    ],
)
def test_an_error_of_any_process_ends_all_and_one_says_why(both, failing, first, second):
    assert [found[failing] for found in both] == [first, second]


@pytest.mark.parametrize(
    ("count", "shares"), [(5, ([0, 1, 2], [3, 4])), (1, ([0], []))], ids=["uneven", "too few"]
)
def test_photos_are_dealt_out_and_all_get_the_whole_result(both, count, shares):
    # The first class has .9 everywhere: photos of the second are wrong, and cost -ln .1.
    labels = [0, 1, 0, 0, 1][:count]
    wrong = sum(labels)
    loss = (-np.log(0.9) * (count - wrong) - np.log(0.1) * wrong) / count
    for found, share in zip(both, shares, strict=True):
        seen, summary, known = found[f"photos of {count}"]
        assert seen == share
        assert known == labels
        assert summary["photos"] == count
        assert summary["top1_error"] == pytest.approx(wrong / count, abs=1e-6)
        assert summary["loss"] == pytest.approx(loss, abs=1e-6)


def test_no_thread_of_a_group_outlives_it_though_the_mesh_is_still_held(both):
    # One that lets go of a tensor while Python ends aborts the process: exit code -6.
    assert [found["threads"] for found in both] == [[], []]


def test_a_defect_is_not_taken_for_a_lost_process(both):
    for found in both:
        assert found["defects"] == [("RuntimeError", words) for words in DEFECTS]


# Sentences before processes meet


@pytest.mark.parametrize(
    ("size", "columns", "sentence"),
    [
        (1, 2, "2 columns need 2 processes, or a multiple of that, and there is 1: start them"),
        (3, 2, "2 columns need 2 processes, or a multiple of that, and there are 3: start them"),
    ],
)
def test_columns_need_processes_of_their_own(monkeypatch, size, columns, sentence):
    monkeypatch.setenv("WORLD_SIZE", str(size))
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(MeshError, match=sentence), open_mesh(columns=columns):
        pass


@pytest.mark.parametrize("given", [{}, {"RANK": "0"}])
def test_a_number_of_processes_without_a_place_to_meet_is_a_sentence(monkeypatch, given):
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"WORLD_SIZE": "2", **given}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(MeshError, match="MASTER_ADDR, MASTER_PORT not: start"), open_mesh():
        pass


def test_a_wrong_number_of_processes_is_said_once(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(SystemExit), open_mesh(columns=2):
        pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_a_sentence():
    with pytest.raises(MeshError, match="no CUDA device here"), open_mesh(device="cuda"):
        pass


# Commands under torchrun


def _begin_with(folders):
    """What a process says that is to train on its own copy of the photos."""
    with open_mesh() as mesh:
        dataset = Dataset(folders[mesh.rank])
        settings = [option.removeprefix("--set=") for option in THIN[1:]]
        config = run_config("mini", recipe("mini"), classes=3, settings=settings)
        try:
            check_same_photos(dataset, mesh)
            Trainer(config, dataset, mesh=mesh)
        except AlexNetError as error:
            return str(error)
        except SystemExit as end:
            return f"exit code {end.code}"
    return "begun"


@pytest.mark.slow
def test_what_fails_on_one_machine_ends_the_run_on_all(colors, tmp_path):
    shutil.copytree(colors, tmp_path / "data")
    mean = tmp_path / "data" / "mean.npy"
    mean.write_bytes(mean.read_bytes()[:-4])
    found = on_ranks(2, functools.partial(_begin_with, (colors, tmp_path / "data")))
    assert found[0] == "exit code 1"
    assert found[1].startswith(f"{mean} can't be read")


@pytest.mark.slow
def test_other_photos_on_another_machine_are_a_sentence(colors, tmp_path):
    shutil.copytree(colors, tmp_path / "data")
    facts = tmp_path / "data" / "dataset.json"
    text = facts.read_text()
    sha256 = json.loads(text)["photos_sha256"]
    facts.write_text(text.replace(sha256, sha256[::-1]))
    found = on_ranks(2, functools.partial(_begin_with, (colors, tmp_path / "data")))
    assert found[0].startswith(f"{colors} does not hold the same photos on every machine")
    assert found[1] == "exit code 1"


@pytest.mark.slow
def test_processes_that_are_started_again_do_not_wait_for_those_that_died():
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    found = []
    for late in (0, 1):  # the first process finds what the dead ones left before the second comes
        mine, others = on_ranks(2, functools.partial(_meet, store.port, late))
        assert mine == others
        found.append(mine)
    assert not set(found[0]) & set(found[1])
