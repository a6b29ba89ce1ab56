"""A run's folder: what was saved comes back, and broken files get a sentence."""

import json

import pytest
import torch

from alexnet.config import mini
from train.dataset import Dataset
from train.recipe import RunConfig
from train.recipes import recipe
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


def state(epoch, step=0):
    return TrainingState(
        weights={"fc8.bias": torch.arange(3.0)},
        velocities={"fc8.bias": torch.ones(3, dtype=torch.float64)},
        progress={"done_cuts": epoch, "best": float("inf")},
        epoch=epoch,
        step=step,
        sums={"photos": 7 * step, "loss": 1 / 3},
    )


def test_a_saved_state_comes_back(folder, config, data):
    folder.save_state(state(2, 5))
    found = folder.resume(config, data)
    assert (found.epoch, found.step) == (2, 5)
    assert found.progress == {"done_cuts": 2, "best": float("inf")}
    assert found.sums == {"photos": 35, "loss": 1 / 3}
    assert torch.equal(found.weights["fc8.bias"], torch.arange(3.0))
    assert torch.equal(found.velocities["fc8.bias"], torch.ones(3, dtype=torch.float64))


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


def test_lines_of_later_steps_are_dropped(folder, config, data):
    for epoch, step in ((2, 1), (3, 1), (3, 2), (3, 3)):
        folder.add_step({"epoch": epoch, "step": step, "loss": 0.5})
    folder.save_state(state(2, 2))
    folder.resume(config, data)
    steps = [json.loads(line) for line in (folder.path / "steps.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["step"]) for line in steps] == [(2, 1), (3, 1), (3, 2)]


@pytest.mark.parametrize("part", [0, 0.5])
def test_a_truncated_checkpoint_is_passed_over_with_a_line(folder, config, data, part, capsys):
    path = folder.save_state(state(2, 5))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    assert folder.resume(config, data).step == 0
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert f"{path} can't be read" in said
    assert "start the run again" not in said  # it goes on


def test_checkpoints_that_are_all_truncated_are_a_sentence(folder, config, data):
    folder.save_state(state(2, 5))
    for path in folder.checkpoints():
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(RunError, match=r"step-000000\.safetensors can't be read"):
        folder.resume(config, data)


def names(folder):
    return [path.name for path in folder.checkpoints()]


def test_checkpoints_are_named_by_epoch_and_step_the_newest_first(folder):
    for epoch, step in ((2, 90), (2, 1000), (10, 0)):
        folder.save_state(state(epoch, step))
    assert names(folder) == [
        "epoch-0010-step-000000.safetensors",
        "epoch-0002-step-001000.safetensors",
        "epoch-0002-step-000090.safetensors",
    ]


def test_a_step_number_of_many_digits_is_still_the_newest(folder):
    for step in (999_999, 1_000_000, 1_000_001):
        folder.save_state(state(2, step))
    assert names(folder)[0] == "epoch-0002-step-1000001.safetensors"
    assert names(folder)[-1] == "epoch-0002-step-999999.safetensors"


def test_the_checkpoint_just_written_stays_though_a_broken_one_seems_newer(config, data, folder):
    broken = folder.save_state(state(3))
    broken.write_bytes(b"")
    careful = RunFolder(folder.path, keep=1)
    careful.resume(config, data)
    careful.save_state(state(2, 5))
    assert careful.resume(config, data).step == 5


def test_what_a_killed_run_left_half_written_is_removed(folder, config, data):
    # SIGKILL in the middle of a write leaves the temporary file, as large as a checkpoint.
    part = folder.path / "checkpoints" / ".epoch-0002-step-000005.safetensors.x1y2.part"
    part.write_bytes(b"half a checkpoint")
    folder.resume(config, data)
    assert not part.exists()


def test_the_folder_says_what_the_run_was_made_with(folder):
    facts = json.loads((folder.path / "config.json").read_text())
    assert {"alexnet", "python", "torch"} == facts["versions"].keys()
