import json

import numpy as np
import pytest

from alexnet.checkpoint import load_checkpoint
from tests.train.conftest import run
from tests.train.folders import make
from train.dataset import Dataset
from train.evaluate import evaluate


@pytest.fixture(scope="module")
def model(colors, tmp_path_factory):
    """mini after one epoch on the three colours."""
    out = tmp_path_factory.mktemp("run")
    run("fit", "--preset=mini", "--data", colors, "--out", out, "--epochs=1")
    return out / "model.safetensors"


def test_errors_and_loss_are_those_of_the_averaged_probabilities():
    class Answers:
        labels = np.array([0, 1, 1, 2])

        def __len__(self):
            return 4

        def photos(self, indices):
            return np.asarray(indices)

    table = np.array(
        [[0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1]], dtype=np.float32
    )
    result = evaluate(lambda rows: table[rows], Answers(), batch=3)
    assert result.photos == 4
    assert result.top1_error == pytest.approx(0.5)
    assert result.top5_error == 0
    assert result.loss == pytest.approx(-np.log([0.6, 0.3, 0.7, 0.1]).mean(), abs=1e-6)


def test_the_command_prints_a_row_per_class_and_one_json_line(model, colors, tmp_path):
    done = run("evaluate", model, "--data", colors, "--json", tmp_path / "result.json")
    lines = done.stdout.strip().splitlines()
    summary = json.loads(lines[-1])
    assert summary["photos"] == 12
    assert summary["views"] == "ten"
    for name in ("blue", "green", "red", "all"):
        assert any(line.startswith(f"| {name} ") for line in lines)
    written = json.loads((tmp_path / "result.json").read_text())
    assert [row["photos"] for row in written["classes"]] == [4, 4, 4]
    mean = np.mean([row["top1_error"] for row in written["classes"]])
    assert mean == pytest.approx(summary["top1_error"], abs=1e-6)


@pytest.mark.parametrize("views", ["centre", "ten"])
def test_the_command_agrees_with_the_deployed_function(model, colors, views):
    import torch

    done = run("evaluate", model, "--data", colors, "--views", views)
    split = Dataset(colors).split("val")
    photos = torch.from_numpy(split.photos(range(len(split))))
    with torch.inference_mode():
        probabilities = load_checkpoint(model).classifier(views)(photos).numpy()
    own = probabilities[np.arange(12), split.labels]
    summary = json.loads(done.stdout.strip().splitlines()[-1])
    assert summary["loss"] == pytest.approx(-np.log(own).mean(), abs=1e-5)
    assert summary["top1_error"] == pytest.approx(
        (probabilities.argmax(1) != split.labels).mean(), abs=1e-6
    )


def test_data_of_other_classes_are_refused(model, digits):
    done = run("evaluate", model, "--data", digits, check=False)
    assert done.returncode == 1
    assert "The network knows 3 classes and the data set has 10" in done.stderr


@pytest.mark.parametrize(("field", "value"), [("fit", "warp"), ("filter", "box")])
def test_data_prepared_in_another_way_are_refused(model, colors, tmp_path, field, value):
    data = tmp_path / "data"
    make(colors.parent / "source", data, size=64, **{field: value})
    used = {"fit": "crop", "filter": "bilinear"}[field]
    done = run("evaluate", model, "--data", data, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert (
        f"{model} takes photos prepared with --{field} {used}, and {data} was prepared with "
        f"--{field} {value}: prepare them again."
    ) in done.stderr


def test_photos_of_another_size_are_refused(model, colors, tmp_path):
    make(colors.parent / "source", tmp_path / "data", size=72)
    done = run("evaluate", model, "--data", tmp_path / "data", check=False)
    assert done.returncode == 1
    assert "takes photos prepared with --size 64" in done.stderr


def test_a_missing_checkpoint_is_one_sentence(colors, tmp_path):
    done = run("evaluate", tmp_path / "none.safetensors", "--data", colors, check=False)
    assert done.returncode == 1
    assert "none.safetensors" in done.stderr
    assert len(done.stderr.splitlines()) == 1
