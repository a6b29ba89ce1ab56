"""Data sets, commands and processes that several tests train with."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file
from torch.distributed import TCPStore

from tests.commands import here

# A thin mini: the same shape with few maps, so that an epoch takes a second.
THIN = (
    "--preset=mini",
    *(f"--set=network.convs.{index}.maps=8" for index in range(5)),
    "--set=network.fc6.units=16",
    "--set=network.fc7.units=16",
)
# He's deviations for so few maps. With mini's own, whose layers see more, nothing is learnt.
LIVELY = (
    "--set=network.convs.1.init_std=0.14",
    "--set=network.convs.2.init_std=0.17",
    "--set=network.convs.3.init_std=0.24",
    "--set=network.convs.4.init_std=0.24",
    "--set=network.fc6.init_std=0.08",
    "--set=network.fc7.init_std=0.35",
    "--set=network.fc8_init_std=0.35",
)
# After so many seconds processes are taken to wait for each other for ever.
PATIENCE = 600


def command(*arguments, processes=None, restarts=0):
    """`alexnet-train ...` as a list of words, under torchrun if `processes` are given."""
    programs, start = Path(sys.executable).parent, []
    if processes:  # standalone: at a port of its own, so that two may run at a time
        start = [str(programs / "torchrun"), "--standalone", f"--nproc-per-node={processes}"]
        start += [f"--max-restarts={restarts}", "--no-python"]
    return [*start, str(programs / "alexnet-train"), *map(str, arguments)]


def surroundings():
    """The environment of processes that share two cores."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def run(*arguments, check=True, processes=None):
    """The command `alexnet-train ...`: in this process, or in processes under torchrun."""
    if processes:
        done = subprocess.run(
            command(*arguments, processes=processes),
            capture_output=True,
            text=True,
            env=surroundings(),
            timeout=PATIENCE,
        )
    else:
        done = here("train.cli", *arguments)
    assert not check or done.returncode == 0, done.stderr
    return done


def lines(path):
    """The lines of a .jsonl file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def newest(out):
    """The tensors of a run's newest checkpoint: weights and velocities."""
    return load_file(sorted((out / "checkpoints").glob("epoch-*"))[-1])


def on_ranks(size, work, *, answers=None):
    """What `work()` returns in each of `size` processes that form a group, by rank.

    Only so many `answers` are waited for; a process that ends without one leaves None.
    """
    # As under torchrun the store of keys outlives them all: who is late for a second group would
    # find that of the first process gone, or still there from the first group.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = multiprocessing.get_context("spawn")
    waiting = context.Queue()
    processes = [
        context.Process(target=_rank, args=(rank, size, store.port, waiting, work))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    found = {}
    try:
        for _ in range(answers or size):
            rank, answer = waiting.get(timeout=PATIENCE)
            found[rank] = answer
    finally:
        for process in processes:
            process.join(timeout=10)
            process.kill()
    return [found.get(rank) for rank in range(size)]


def _rank(rank, size, port, waiting, work):
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "OMP_NUM_THREADS": 1}
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    where["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    os.environ.update({name: str(value) for name, value in (place | where).items()})
    waiting.put((rank, work()))


@pytest.fixture(scope="session")
def colors(tmp_path_factory):
    """Three classes that differ in colour: 48 training and 12 validation photos of 64 pixels."""
    folder = tmp_path_factory.mktemp("colors")
    random = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 4)):
        for channel, name in enumerate(("red", "green", "blue")):
            place = folder / "source" / split / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 120, (64, 64, 3), dtype=np.uint8)
                pixels[..., channel] += 110
                Image.fromarray(pixels).save(place / f"{number}.png")
    run("prepare", folder / "source", folder / "data", "--size", 64)
    return folder / "data"


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """scikit-learn's 1,797 handwritten digits, as photos of 64 pixels."""
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    folder = tmp_path_factory.mktemp("digits") / "data"
    run("prepare", "digits", folder, "--size", 64)
    return folder
