"""Runs that take a while: real digits, two columns, an end while the network is measured."""

import functools
import json
import subprocess
import sys

import torch

from alexnet.checkpoint import load_checkpoint
from tests.train.conftest import THIN, on_ranks, run
from tests.train.test_fit import SHORT, fit
from train.dataset import Dataset
from train.mesh import open_mesh
from train.recipes import recipe, run_config
from train.trainer import Trainer, TrainingError


def test_mini_learns_handwritten_digits_in_three_epochs(digits, tmp_path):
    done = run("fit", "--preset=mini", "--data", digits, "--out", tmp_path / "run", "--epochs=3")
    assert json.loads(done.stdout)["val_top1_error"] < 0.4


def _weights_lost_in_one_column(data):
    settings = [option.removeprefix("--set=") for option in THIN if option.startswith("--set=")]
    config = run_config("mini", recipe("mini"), classes=3, settings=settings)
    with open_mesh(columns=2) as mesh:
        trainer = Trainer(config, Dataset(data), mesh=mesh)
        trainer.done = 3
        if mesh.rank == 1:
            torch.nn.init.constant_(trainer.network.fc8.bias, torch.inf)
        try:
            trainer.check()
        except TrainingError as error:
            return str(error)


def test_weights_that_one_column_has_lost_are_lost_for_all(colors):
    found = on_ranks(2, functools.partial(_weights_lost_in_one_column, colors))
    assert found[0] == found[1]
    assert found[0].startswith(
        "The weights have diverged in epoch 1, step 3, at a learning rate of "
    )


ASKED_IN_THE_END = """
import os, signal
from train.cli import main
from train.trainer import Trainer

validate = Trainer.validate

def asked(trainer, views="centre"):
    if views == "ten":
        os.kill(os.getpid(), signal.SIGTERM)
    return validate(trainer, views)

Trainer.validate = asked
main(prog_name="alexnet-train")
"""


def test_sigterm_while_the_finished_network_is_measured_ends_a_run_that_resume_finishes(
    colors, tmp_path
):
    out = tmp_path / "run"
    options = [*SHORT, "--data", str(colors), "--out", str(out), "--epochs=1"]
    done = subprocess.run(
        [sys.executable, "-c", ASKED_IN_THE_END, "fit", *options], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "stopped": "SIGTERM",
        "checkpoint": str(out / "checkpoints" / "epoch-0001-step-000000.safetensors"),
    }
    assert not (out / "model.safetensors").exists()
    again = json.loads(fit(colors, out, "--epochs=1", "--resume").stdout)
    assert again["ten_views"]["val_loss"] > 0
    assert load_checkpoint(out / "model.safetensors").provenance["epochs"] == 1
