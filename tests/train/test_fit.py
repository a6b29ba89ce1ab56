import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from PIL import Image

from alexnet.checkpoint import load_checkpoint
from tests.train.conftest import THIN, lines, run
from train.dataset import Dataset
from train.fit import FitOptions
from train.fit import fit as fit_here
from train.recipes import recipe, run_config
from train.trainer import Trainer

SHORT = (*THIN, "--set=recipe.batch=16")  # three steps an epoch


def fit(data, out, *options, check=True):
    return run("fit", *SHORT, "--data", data, "--out", out, *options, check=check)


def weights(out):
    return load_checkpoint(out / "model.safetensors").weights


def metrics(out):
    return lines(out / "metrics.jsonl")


def checkpoints(out):
    """The files that a run may go on from, the oldest first."""
    return sorted(path.name for path in (out / "checkpoints").iterdir())


def assert_same_weights(first, second):
    assert all(torch.equal(weights(first)[name], weights(second)[name]) for name in weights(first))


@pytest.fixture(scope="module")
def left_alone(colors, tmp_path_factory):
    """A run of four epochs that nobody disturbed."""
    out = tmp_path_factory.mktemp("runs") / "left_alone"
    fit(colors, out, "--epochs", 4)
    return out


def test_a_run_writes_its_config_its_metrics_and_a_checkpoint(left_alone, colors):
    lines = metrics(left_alone)
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert all(0 <= line["val_top1_error"] <= 1 for line in lines)
    checkpoint = load_checkpoint(left_alone / "model.safetensors")
    assert [label.wnid for label in checkpoint.labels] == ["blue", "green", "red"]
    assert checkpoint.config.network.classes == 3
    assert checkpoint.mean.tolist() == Dataset(colors).mean.tolist()
    assert checkpoint.provenance["epochs"] == 4
    assert checkpoint.provenance["data"]["training_photos"] == 48
    assert json.loads((left_alone / "config.json").read_text())["run"]["recipe"]["batch"] == 16


def test_the_checkpoint_says_how_good_it_is_with_one_view_and_with_ten(left_alone, colors):
    said = load_checkpoint(left_alone / "model.safetensors").provenance["validation"]
    assert said["photos"] == 12
    for views in ("centre", "ten"):
        done = run("evaluate", left_alone / "model.safetensors", "--data", colors, "--views", views)
        found = json.loads(done.stdout.strip().splitlines()[-1])
        assert said[views]["val_loss"] == pytest.approx(found["loss"], abs=1e-5)
        assert said[views]["val_top1_error"] == pytest.approx(found["top1_error"], abs=1e-6)


def test_weights_stored_as_half_precision_take_half_the_room(left_alone, colors, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(left_alone, out)
    fit(colors, out, "--epochs", 4, "--resume", "--store", "float16")
    sizes = [(place / "model.safetensors").stat().st_size for place in (out, left_alone)]
    rest = Dataset(colors).mean.nbytes  # the mean image stays as it is
    assert sizes[0] - rest < 0.7 * (sizes[1] - rest)


@pytest.fixture(scope="module")
def stopped(colors, tmp_path_factory):
    """The same, ended after the first step of its second epoch."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    fit(colors, out, "--epochs", 4, "--max-steps", 4, "--log-every", 1, "--tensorboard")
    return out


@pytest.fixture(scope="module")
def resumed(stopped, colors, tmp_path_factory):
    """The same, continued to the end."""
    out = tmp_path_factory.mktemp("resumed") / "run"
    shutil.copytree(stopped, out)
    fit(colors, out, "--epochs", 4, "--resume", "--log-every", 1, "--tensorboard")
    return out


def test_a_run_that_ends_in_an_epoch_has_a_model_and_a_line_of_that_part(stopped):
    assert [(line["epoch"], line.get("steps")) for line in metrics(stopped)] == [(1, None), (2, 1)]
    provenance = load_checkpoint(stopped / "model.safetensors").provenance
    assert (provenance["epochs"], provenance["steps_beyond"]) == (1, 1)
    assert checkpoints(stopped) == [
        "epoch-0001-step-000000.safetensors",
        "epoch-0001-step-000001.safetensors",
    ]


def test_a_run_goes_on_in_the_middle_of_an_epoch_to_the_same_weights(left_alone, resumed):
    assert_same_weights(left_alone, resumed)
    assert [(line["epoch"], line.get("steps")) for line in metrics(resumed)] == [
        (epoch, None) for epoch in (1, 2, 3, 4)
    ]
    for name in ("train_loss", "train_error", "val_loss", "val_top1_error", "lr"):
        assert [line[name] for line in metrics(resumed)] == [
            line[name] for line in metrics(left_alone)
        ]


def test_the_newest_three_checkpoints_are_kept(left_alone):
    assert checkpoints(left_alone) == [f"epoch-000{n}-step-000000.safetensors" for n in (2, 3, 4)]


def test_so_many_checkpoints_are_kept_as_were_asked_for(colors, tmp_path):
    fit(colors, tmp_path / "run", "--epochs", 2, "--checkpoint-every", 1, "--keep-checkpoints", 2)
    assert checkpoints(tmp_path / "run") == [
        "epoch-0001-step-000002.safetensors",
        "epoch-0002-step-000000.safetensors",
    ]


def test_a_checkpoint_that_was_cut_short_is_passed_over(stopped, left_alone, colors, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    newest = out / "checkpoints" / checkpoints(out)[-1]
    newest.write_bytes(newest.read_bytes()[:5000])
    said = fit(colors, out, "--epochs", 4, "--resume").stderr.splitlines()
    assert str(newest) in said[0]
    assert "can't be read" in said[0]
    assert said[1] == f"{out}: continuing after epoch 1."
    assert_same_weights(left_alone, out)


def test_steps_are_written_one_by_one(resumed):
    steps = lines(resumed / "steps.jsonl")
    assert [(step["epoch"], step["step"]) for step in steps] == [
        (epoch, step) for epoch in (1, 2, 3, 4) for step in (1, 2, 3)
    ]
    assert all(step["photos"] == 16 for step in steps)
    for number, line in enumerate(metrics(resumed)):
        losses = [step["loss"] for step in steps[3 * number : 3 * number + 3]]
        assert line["train_loss"] == pytest.approx(sum(losses) / 3, rel=1e-9)


def test_tensorboard_reads_the_figures_of_steps_and_epochs(resumed):
    pytest.importorskip("tensorboard", reason="the figures are read by tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(resumed / "tensorboard")).Reload()
    found = {
        tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]
    }
    steps, epochs = lines(resumed / "steps.jsonl"), metrics(resumed)
    for number, step in enumerate(steps, 1):
        assert found["training/loss"][number] == pytest.approx(step["loss"], rel=1e-6)
    assert list(found["training/loss"]) == list(range(1, 13))
    for tag in ("training/train_loss", "validation/val_loss", "validation/val_top1_error"):
        for line in epochs:
            value = line[tag.split("/")[1]]
            assert found[tag][3 * line["epoch"]] == pytest.approx(value, rel=1e-6)


def test_tensorboard_that_is_not_installed_is_a_sentence(colors, tmp_path):
    code = "import sys; sys.modules['tensorboard'] = None; from train.cli import main; main()"
    options = [*SHORT, "--tensorboard", "--data", str(colors), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", code, "fit", *options], capture_output=True, text=True
    )
    assert done.returncode == 1
    sentence = "tensorboard, which is not installed: run `pip install -e '.[tensorboard]'`"
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_another_seed_gives_other_weights(left_alone, colors, tmp_path):
    fit(colors, tmp_path / "other", "--epochs", 4, "--seed", 1)
    first, second = weights(left_alone)["fc8.weight"], weights(tmp_path / "other")["fc8.weight"]
    assert not torch.equal(first, second)


def on_a_full_disk(data, out):
    """The rest of a run where files of more than 9 kB don't fit, as on a full disk."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000));"
        "from train.cli import main; main(sys.argv[1:], prog_name='alexnet-train')"
    )
    options = [*SHORT, "--data", data, "--out", out, "--epochs", "4", "--resume"]
    done = subprocess.run(
        [sys.executable, "-c", code, "fit", *map(str, options)], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_full_disk_leaves_the_last_good_checkpoint(stopped, colors, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    before = files(out / "checkpoints")
    on_a_full_disk(colors, out)
    assert len(metrics(out)) == 1  # the second epoch was to be saved before it was measured
    assert files(out / "checkpoints") == before


def test_a_full_disk_leaves_no_half_a_model(left_alone, colors, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(left_alone, out)
    (out / "model.safetensors").unlink()
    before = files(out)
    on_a_full_disk(colors, out)
    assert files(out) == before


def test_a_finished_run_is_not_overwritten(left_alone, colors):
    done = fit(colors, left_alone, "--epochs", 4, check=False)
    assert done.returncode == 1
    assert "holds a run already: continue it with --resume" in done.stderr


def test_a_run_is_not_resumed_with_other_settings(left_alone, colors):
    done = fit(colors, left_alone, "--epochs", 4, "--resume", "--set=recipe.lr=0.5", check=False)
    assert done.returncode == 1
    assert "other settings: recipe.lr is 0.01 there and 0.5 here. Resume it with" in done.stderr


def test_a_run_is_not_resumed_with_other_photos(left_alone, colors, tmp_path):
    other = tmp_path / "data"
    source = tmp_path / "source"
    for index, name in enumerate(("blue", "green", "red")):
        (source / name).mkdir(parents=True)
        for number in range(20):
            Image.new("RGB", (64, 64), (number, index, 0)).save(source / name / f"{number}.png")
    run("prepare", source, other, "--size", 64)
    done = fit(other, left_alone, "--epochs", 4, "--resume", check=False)
    assert done.returncode == 1
    assert "holds other photos: resume it with the data it was started with" in done.stderr


def test_a_loss_that_is_no_number_ends_the_run_and_names_step_and_rate(colors, tmp_path):
    done = fit(colors, tmp_path / "run", "--set=recipe.lr=1e30", check=False)
    assert done.returncode == 1
    assert "The loss became" in done.stderr
    assert "in epoch 1, step 2, at a learning rate of 1e+30" in done.stderr
    assert "No checkpoint was written." in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_loss_that_is_no_number_names_the_last_good_checkpoint(colors, tmp_path):
    # So much decay turns weights around and makes them nine times as large in every step.
    out = tmp_path / "run"
    done = fit(colors, out, "--set=recipe.weight_decay=1000", "--set=recipe.lr=0.01", check=False)
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert "The loss became" in said
    assert said.endswith(f"The last good checkpoint is {out}/checkpoints/{checkpoints(out)[-1]}.")


def _run_here(data, out, *settings, **options):
    """A run of three steps an epoch in this process."""
    thin = [option.removeprefix("--set=") for option in SHORT if option.startswith("--set=")]
    config = run_config("mini", recipe("mini"), classes=3, settings=[*thin, *settings])
    return fit_here(config, Dataset(data), out, options=FitOptions(**options))


def test_sigterm_during_a_validation_is_heard_when_it_is_over(colors, tmp_path, monkeypatch):
    validate = Trainer.validate

    def asked(trainer, *views):
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(trainer, *views)

    monkeypatch.setattr(Trainer, "validate", asked)
    before = signal.getsignal(signal.SIGTERM)
    try:
        found = _run_here(colors, tmp_path / "run", "recipe.epochs=2")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert found["stopped"] == "SIGTERM"
    assert found["checkpoint"].endswith("epoch-0001-step-000000.safetensors")


def test_an_epoch_s_line_has_the_rate_of_its_first_step_also_after_a_resume(colors, tmp_path):
    # Half a cosine over two epochs: 1 in the first step, 1/2 in the first of the second epoch.
    flowing = ("recipe.epochs=2", "recipe.schedule.kind=cosine", "recipe.schedule.cut_at=[]")
    _run_here(colors, tmp_path / "run", *flowing, max_steps=4)
    _run_here(colors, tmp_path / "run", *flowing, resume=True)
    rates = [line["lr"] for line in metrics(tmp_path / "run")]
    assert rates == pytest.approx([0.01, 0.005])


def test_a_run_that_is_made_longer_ends_in_the_weights_of_a_long_one(colors, tmp_path):
    _run_here(colors, tmp_path / "long", "recipe.epochs=3")
    _run_here(colors, tmp_path / "run", "recipe.epochs=2")
    words = {"resume": True, "epochs_asked": True, "command": "fit --epochs 3 --resume"}
    found = _run_here(colors, tmp_path / "run", "recipe.epochs=3", **words)
    assert found["epoch"] == 3
    assert_same_weights(tmp_path / "long", tmp_path / "run")
    provenance = load_checkpoint(tmp_path / "run" / "model.safetensors").provenance
    assert (provenance["epochs"], provenance["recipe"]["epochs"]) == (3, 3)
    assert provenance["command"] == "fit --epochs 3 --resume"


def test_a_run_that_is_made_shorter_ends_where_it_is(colors, tmp_path):
    _run_here(colors, tmp_path / "run", "recipe.epochs=5", max_steps=3)
    words = {"resume": True, "epochs_asked": True}
    assert _run_here(colors, tmp_path / "run", "recipe.epochs=1", **words)["epoch"] == 1
    assert [line["epoch"] for line in metrics(tmp_path / "run")] == [1]


def test_a_run_that_had_its_steps_is_measured_again(colors, tmp_path):
    out, options = tmp_path / "run", ("--epochs=2", "--max-steps=2", "--set=recipe.batch=16")
    fit(colors, out, *options)
    first = metrics(out)
    fit(colors, out, *options, "--resume")
    assert [line["steps"] for line in first] == [2]
    (again,) = metrics(out)
    assert (again["steps"], again["val_loss"]) == (2, first[0]["val_loss"])
    assert load_checkpoint(out / "model.safetensors").provenance["validation"]["centre"]


def test_weights_that_diverge_in_the_last_step_of_an_epoch_leave_no_checkpoint(colors, tmp_path):
    # One step an epoch: its loss is fine, and what it does to the weights is not.
    options = ("--set=recipe.batch=48", "--set=recipe.lr=1e25")
    done = fit(colors, tmp_path / "run", *options, check=False)
    assert done.returncode == 1
    assert (
        "The weights have diverged in epoch 1, step 1, at a learning rate of 1e+25" in done.stderr
    )
    assert not (tmp_path / "run" / "checkpoints").exists()


WRONG = {
    "--set=recipe.lrr=1": "There is no setting 'recipe.lrr'",
    "--set=network.classes=7": "network.classes is 7 and",
    "--set=input.size=72": "takes photos prepared with --size 72",
    "--set=seed=3": "seed is set with --seed, not with --set",
    "--set=input.filter=box": "takes photos prepared with --filter box",
    "--set=input.fit=warp": "takes photos prepared with --fit warp",
    "--set=recipe.batch=0": "must be at least 1",
}


@pytest.fixture(scope="module")
def refusals(colors, tmp_path_factory):
    """Exit code and stderr of `fit` with each wrong option, all in one process, and its folder."""
    out = tmp_path_factory.mktemp("wrong") / "run"
    code = (
        "import contextlib, io, json, sys; from train.cli import main\n"
        "for wrong in json.loads(sys.argv[1]):\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as said:\n"
        "        try: main([*sys.argv[2:], wrong], prog_name='alexnet-train')\n"
        "        except SystemExit as end: code = end.code\n"
        "    print(json.dumps([code, said.getvalue()]))\n"
    )
    words = [*SHORT, "--data", str(colors), "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(list(WRONG)), "fit", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip(WRONG, answers, strict=True)), out


@pytest.mark.parametrize(("option", "sentence"), WRONG.items())
def test_a_wrong_option_is_one_sentence_and_starts_nothing(refusals, option, sentence):
    answers, out = refusals
    code, said = answers[option]
    assert code == 1
    assert sentence in said
    assert len(said.splitlines()) == 1
    assert not out.exists()


def test_data_that_are_not_prepared_are_refused(tmp_path):
    done = fit(tmp_path, tmp_path / "run", check=False)
    assert done.returncode == 1
    assert "alexnet-train prepare" in done.stderr
