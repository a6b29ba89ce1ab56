"""A run's folder: what was saved comes back, and broken files get a sentence."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from alexnet.checkpoint import write_tensors
from alexnet.config import mini
from alexnet.settings import with_settings
from train.dataset import Dataset
from train.recipe import RunConfig, ScheduleConfig
from train.recipes import recipe
from train.run import RunError, RunFolder, TrainingState
from train.schedule import Plateau


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
        progress={"done_cuts": epoch, "best": None},
        epoch=epoch,
        step=step,
        sums={"photos": 7 * step, "loss": 1 / 3},
    )


def test_a_saved_state_comes_back(folder, config, data):
    folder.save_state(state(2, 5))
    found = folder.resume(config, data)
    assert (found.epoch, found.step) == (2, 5)
    assert found.progress == {"done_cuts": 2, "best": None}
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


@pytest.mark.parametrize("rest", [b"\x00\x00\x00", b'{"epoch": 3, "n\xc3', b"7", b"\xff\n\x00"])
def test_what_a_power_cut_leaves_at_the_end_is_dropped(folder, config, data, rest):
    metrics = folder.path / "metrics.jsonl"
    whole = metrics.read_bytes()
    metrics.write_bytes(whole + rest)
    folder.resume(config, data)
    assert metrics.read_bytes() == whole


def test_a_damaged_line_amid_others_is_left_out_with_a_sentence(folder, config, data, capsys):
    metrics = folder.path / "metrics.jsonl"
    first, second = metrics.read_text().splitlines()
    metrics.write_text(f"{first}\n{second[:9]}\n[]\n{second}\n{second[:9]}")
    folder.resume(config, data)
    assert metrics.read_text() == f"{first}\n{second}\n"
    said = capsys.readouterr().err
    assert said == f"{metrics}: damaged lines are left out, 2 of 4.\n"


# What a run may go on with


def other(config, *settings):
    return with_settings(config, settings)


def test_a_run_with_other_settings_is_refused_with_each_and_both_values(folder, config, data):
    now = other(config, "recipe.lr=0.5", "network.fc6.units=7", "recipe.schedule.cut_at=[3]")
    with pytest.raises(RunError) as caught:
        folder.resume(now, data)
    units = config.network.fc6.units
    assert str(caught.value) == (
        f"{folder.path} was started with other settings: network.fc6.units is {units} there and 7 "
        "here, recipe.lr is 0.01 there and 0.5 here, recipe.schedule.cut_at is [58, 68] there and "
        "[3] here. Resume it with those it was started with, or name another folder with --out."
    )


def test_another_recipe_is_refused_with_the_first_of_many_settings(folder, config, data):
    with pytest.raises(RunError, match=r'recipe\.name is "mini" there and "modern" here') as caught:
        folder.resume(replace(config, recipe=recipe("modern")), data)
    assert "more are others. Resume it" in str(caught.value)


@pytest.mark.parametrize("epochs", [100, 3, 2])
def test_a_run_may_get_another_length_where_that_is_asked_for(folder, config, data, epochs):
    now = other(config, f"recipe.epochs={epochs}")
    assert folder.resume(now, data, command="fit --epochs N").epoch == 2
    facts = json.loads((folder.path / "config.json").read_text())
    assert facts["run"]["recipe"]["epochs"] == epochs
    assert facts["command"] == "fit --epochs N"
    assert folder.resume(now, data).epoch == 2  # and from now on it is the run's


def test_another_length_that_nobody_asked_for_is_refused_with_both(folder, config, data):
    with pytest.raises(RunError, match=r"recipe\.epochs 72, and here it is 90: resume it with"):
        folder.resume(other(config, "recipe.epochs=90"), data)


@pytest.mark.parametrize(
    ("step", "epochs", "least"), [(0, 1, 2), (5, 2, 3), (5, 1, 3)], ids=["whole", "part", "less"]
)
def test_a_run_can_t_end_before_where_it_is(folder, config, data, step, epochs, least):
    folder.save_state(state(2, step))
    with pytest.raises(RunError, match=f"has begun its epoch {least}: .* --epochs {least} or more"):
        folder.resume(other(config, f"recipe.epochs={epochs}"), data, command="fit")


FLOWING = {
    "cosine": ("recipe.schedule.cut_at=[]", "recipe.schedule.kind=cosine"),
    "dexp": ("recipe.schedule.cut_at=[]", "recipe.schedule.kind=dexp"),
    "biases": ('recipe.bias_schedule={"kind": "dexp"}',),
}


@pytest.mark.parametrize("settings", FLOWING.values(), ids=FLOWING)
def test_rates_that_run_through_all_epochs_forbid_another_length(config, data, tmp_path, settings):
    folder, flowing = RunFolder(tmp_path / "run"), other(config, *settings)
    folder.start(flowing, data, command="alexnet-train fit")
    folder.save_state(state(2))
    with pytest.raises(RunError, match="the rates of its past would have been others"):
        folder.resume(other(flowing, "recipe.epochs=100"), data, command="fit")
    assert folder.resume(flowing, data).epoch == 2  # and nothing is lost


def test_photos_may_lie_elsewhere_and_have_come_from_elsewhere(folder, config, data, tmp_path):
    moved = shutil.copytree(data.path, tmp_path / "moved")
    facts = json.loads((moved / "dataset.json").read_text())
    (moved / "dataset.json").write_text(json.dumps(facts | {"source": "another folder"}))
    assert folder.resume(config, Dataset(moved)).epoch == 2


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


def test_from_epoch_10000_on_the_newest_is_still_the_newest_and_stays(config, data, folder):
    for epoch in (9_999, 10_000, 10_001, 100_000):
        path = folder.save_state(state(epoch, 3))
        assert folder.resume(config, data).epoch == epoch
        assert path.is_file()
    assert names(folder) == [
        f"epoch-{epoch}-step-000003.safetensors" for epoch in (100_000, 10_001, 10_000)
    ]


def test_files_of_other_names_are_neither_gone_on_from_nor_removed(config, data, folder):
    mine = folder.path / "checkpoints" / "epoch-0002-best.safetensors"
    mine.write_bytes(b"somebody's own")
    for epoch in range(3, 9):
        folder.save_state(state(epoch))
    assert folder.resume(config, data).epoch == 8
    assert mine.read_bytes() == b"somebody's own"


def test_an_infinite_best_error_of_an_old_checkpoint_is_read(folder, config, data):
    # Until 2026 a run without a validation wrote Infinity, which is no JSON.
    tensors = {f"weights.{name}": w for name, w in state(3).weights.items()}
    old = json.dumps(state(3).facts() | {"progress": {"best": float("inf")}})
    name = folder.path / "checkpoints" / "epoch-0003-step-000000.safetensors"
    write_tensors(name, tensors, {"state": old})
    schedule = Plateau(ScheduleConfig(), **folder.resume(config, data).progress)
    schedule.after_epoch(0.9)
    assert schedule.best == 0.9


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
