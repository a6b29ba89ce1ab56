import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image

from alexnet.checkpoint import load_checkpoint
from tests.train.conftest import run
from train.dataset import Dataset
from train.minibatch import minibatches

# A thin mini: the same shape with few maps, so that an epoch takes a second.
THIN = [
    "--preset=mini",
    *(f"--set=network.convs.{index}.maps=8" for index in range(5)),
    "--set=network.fc6.units=16",
    "--set=network.fc7.units=16",
    "--set=recipe.batch=16",
]


def fit(data, out, *options, check=True):
    return run("fit", *THIN, "--data", data, "--out", out, *options, check=check)


def weights(out):
    return load_checkpoint(out / "model.safetensors").weights


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


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


def test_the_same_seed_gives_the_same_weights(left_alone, colors, tmp_path):
    fit(colors, tmp_path / "again", "--epochs", 4)
    assert_same_weights(left_alone, tmp_path / "again")


def test_another_seed_gives_other_weights(left_alone, colors, tmp_path):
    fit(colors, tmp_path / "other", "--epochs", 4, "--seed", 1)
    first, second = weights(left_alone)["fc8.weight"], weights(tmp_path / "other")["fc8.weight"]
    assert not torch.equal(first, second)


@pytest.mark.parametrize("epochs_later", [0.3, 1.6])
def test_a_run_killed_some_time_after_its_first_epoch_resumes_to_the_same_weights(
    left_alone, colors, tmp_path, epochs_later
):
    seconds = [line["seconds"] for line in metrics(left_alone)]
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "train", "fit", *THIN, "--epochs", "4"]
    command += ["--data", str(colors), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (out / "state.safetensors").exists():
        time.sleep(0.005)
    time.sleep(epochs_later * min(seconds))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (out / "state.safetensors").exists()
    assert not (out / "model.safetensors").exists(), "killed too late to mean anything"
    fit(colors, out, "--epochs", 4, "--resume")
    assert_same_weights(left_alone, out)
    assert [line["epoch"] for line in metrics(out)] == [1, 2, 3, 4]


def test_a_full_disk_ends_the_run_with_a_sentence_and_nothing_half_written(
    left_alone, colors, tmp_path
):
    # A limit on the size of files stands for the full disk: the finished model does not fit.
    out = tmp_path / "run"
    shutil.copytree(left_alone, out)
    (out / "model.safetensors").unlink()
    before = (out / "state.safetensors").read_bytes()
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000));"
        "from train.cli import main; main(sys.argv[1:], prog_name='alexnet-train')"
    )
    options = [*THIN, "--data", colors, "--out", out, "--epochs", "4", "--resume"]
    done = subprocess.run(
        [sys.executable, "-c", code, "fit", *map(str, options)], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert (out / "state.safetensors").read_bytes() == before
    assert not (out / "model.safetensors").exists()
    assert not list(out.glob(".*"))


def test_a_finished_run_is_not_overwritten(left_alone, colors):
    done = fit(colors, left_alone, "--epochs", 4, check=False)
    assert done.returncode == 1
    assert "holds a run already: continue it with --resume" in done.stderr


def test_a_run_is_not_resumed_with_other_settings(left_alone, colors):
    done = fit(colors, left_alone, "--epochs", 4, "--resume", "--set=recipe.lr=0.5", check=False)
    assert done.returncode == 1
    assert "was started with other settings of recipe" in done.stderr


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


def test_a_loss_that_is_no_number_ends_the_run_with_the_rate_named(colors, tmp_path):
    done = fit(colors, tmp_path / "run", "--set=recipe.lr=1e30", check=False)
    assert done.returncode == 1
    assert "The loss became" in done.stderr
    assert "learning rate of 1e+30" in done.stderr
    assert "Traceback" not in done.stderr


def test_weights_that_diverge_in_the_last_step_of_an_epoch_leave_no_state(colors, tmp_path):
    # One step an epoch: its loss is fine, and what it does to the weights is not.
    options = ("--set=recipe.batch=48", "--set=recipe.lr=1e25")
    done = fit(colors, tmp_path / "run", *options, check=False)
    assert done.returncode == 1
    assert "its weights have diverged" in done.stderr
    assert not (tmp_path / "run" / "state.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--set=recipe.lrr=1",), "There is no setting 'recipe.lrr'"),
        (("--set=network.classes=7",), "network.classes is 7 and"),
        (("--set=input.size=72",), "takes photos prepared with --size 72"),
        (("--set=seed=3",), "seed is set with --seed, not with --set"),
        (("--set=input.filter=box",), "takes photos prepared with --filter box"),
        (("--set=input.fit=warp",), "takes photos prepared with --fit warp"),
        (("--set=recipe.batch=0",), "must be at least 1"),
    ],
)
def test_a_wrong_option_is_one_sentence_and_starts_nothing(colors, tmp_path, options, sentence):
    done = fit(colors, tmp_path / "run", *options, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_data_that_are_not_prepared_are_refused(tmp_path):
    done = fit(tmp_path, tmp_path / "run", check=False)
    assert done.returncode == 1
    assert "alexnet-train prepare" in done.stderr


def test_an_epoch_shows_every_photo_once_in_an_order_of_its_own(colors):
    split = Dataset(colors).split("train")

    def order(epoch):
        parts = [part.photos for part in minibatches(split, batch=20, seed=3, epoch=epoch)]
        assert [len(part) for part in parts] == [20, 20, 8]
        return [photo.tobytes() for photo in torch.cat(parts).numpy()]

    first, second = order(1), order(2)
    everything = [photo.tobytes() for photo in split.photos(range(len(split)))]
    assert sorted(first) == sorted(second) == sorted(everything)
    assert first != second
    assert first == order(1)


def test_mini_learns_handwritten_digits_in_three_epochs(digits, tmp_path):
    done = run("fit", "--preset=mini", "--data", digits, "--out", tmp_path / "run", "--epochs=3")
    assert json.loads(done.stdout)["val_top1_error"] < 0.4
