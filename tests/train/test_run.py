"""A run's folder: what was saved comes back, and broken files get a sentence."""

import json

import pytest
import torch

from alexnet.config import mini
from train.dataset import Dataset
from train.recipe import RunConfig, recipe
from train.run import RunError, RunFolder, TrainingState


@pytest.fixture
def config():
    base = mini()
    return RunConfig(preset="mini", input=base.input, network=base.network, recipe=recipe("mini"))


@pytest.fixture
def data(colors):
    return Dataset(colors)


@pytest.fixture
def folder(config, data, tmp_path):
    """A run after its second epoch."""
    folder = RunFolder(tmp_path / "run")
    folder.start(config, data, command="alexnet-train fit")
    for epoch in (1, 2):
        folder.add_metrics({"epoch": epoch, "val_loss": 1 / 3})
    folder.save_state(state(2))
    return folder


def state(epoch):
    weights = {"fc8.bias": torch.arange(3.0)}
    velocities = {"fc8.bias": torch.ones(3)}
    return TrainingState(weights, velocities, {"epoch": epoch, "best": float("inf")}, epoch)


def test_a_saved_state_comes_back(folder, config, data):
    found = folder.resume(config, data)
    assert (found.epoch, found.progress) == (2, state(2).progress)
    assert torch.equal(found.weights["fc8.bias"], torch.arange(3.0))
    assert torch.equal(found.velocities["fc8.bias"], torch.ones(3))


def test_metrics_of_epochs_that_were_not_saved_are_dropped(folder, config, data):
    folder.add_metrics({"epoch": 3, "val_loss": 0.1})
    folder.resume(config, data)
    assert folder.last_metrics() == {"epoch": 2, "val_loss": 1 / 3}


@pytest.mark.parametrize("rest", ['{"epoch": 3, "val', "{", '{"epoch": 2, "val_loss": 0.'])
def test_a_half_written_last_line_is_dropped(folder, config, data, rest):
    metrics = folder.path / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + rest)
    assert folder.last_metrics()["epoch"] == 2
    folder.resume(config, data)
    folder.add_metrics({"epoch": 3, "val_loss": 0.1})
    lines = metrics.read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "{}", '{"run": {}, "data": {}, "command": ""}', "\udcff"]
)
def test_a_broken_config_is_a_sentence(folder, config, data, text):
    path = folder.path / "config.json"
    path.unlink()
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(RunError, match=r"config\.json can't be read \(.*start the run again"):
        folder.resume(config, data)


@pytest.mark.parametrize("part", [0, 0.5])
def test_a_truncated_state_is_a_sentence(folder, config, data, part):
    path = folder.path / "state.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(RunError, match=r"state\.safetensors can't be read"):
        folder.resume(config, data)


def test_the_folder_says_what_the_run_was_made_with(folder):
    facts = json.loads((folder.path / "config.json").read_text())
    assert {"alexnet", "python", "torch"} == facts["versions"].keys()
