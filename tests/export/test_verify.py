"""alexnet-export verify: equal models pass, different ones are told apart and named."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from alexnet.backends import choose, open_backend
from alexnet.checkpoint import save_checkpoint
from alexnet.config import mini
from alexnet.errors import AlexNetError
from alexnet.labels import Label
from export.cli import main
from export.graph import write_onnx
from export.real_photos import real_photos
from export.verify import compare, open_pair
from tests.models import tiny
from tests.photos import imagenet_samples, sklearn_photos
from train.untrained import untrained


@pytest.fixture(scope="module")
def checkpoint():
    return untrained(mini(), seed=0, scaled=True)


@pytest.fixture(scope="module")
def folder(checkpoint, tmp_path_factory):
    """One network in four files, and one whose weights are a little off."""
    folder = tmp_path_factory.mktemp("verify")
    save_checkpoint(checkpoint, folder / "model.safetensors")
    write_onnx(checkpoint, folder / "model.onnx", features=True)
    write_onnx(checkpoint, folder / "centre.onnx", views="centre")
    weights = {name: weight.half().float() for name, weight in checkpoint.weights.items()}
    save_checkpoint(replace(checkpoint, weights=weights), folder / "rounded.safetensors")
    return folder


def verify(*arguments):
    return CliRunner().invoke(main, ["verify", *map(str, arguments)], prog_name="alexnet-export")


def test_a_graph_agrees_with_its_checkpoint(folder):
    done = verify(folder / "model.safetensors", folder / "model.onnx")
    assert done.exit_code == 0, done.output
    assert "same best class" in done.stdout
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["within_tolerance"] is True
    assert 0 < result["max_difference"] <= 1e-5
    assert 0 <= result["mean_difference"] <= result["max_difference"]
    assert result["top1_agreement"] == result["top5_agreement"] == 1
    assert result["max_feature_difference"] <= 1e-5
    assert result["best_probability"] > 5 / 50
    assert result["photos"] == 24
    runtime = choose(folder / "model.onnx").name
    assert [model["backend"] for model in result["models"]] == ["torch", runtime]
    assert all(len(model["sha256"]) == 64 for model in result["models"])


def test_rounded_weights_are_past_the_tolerance_and_the_photo_is_named(folder):
    pair = folder / "model.onnx", folder / "rounded.safetensors"
    done = verify(*pair, "--count", 8)
    assert done.exit_code == 1
    assert "probabilities differ by" in done.stderr
    assert "china.jpg[" in done.stderr or "flower.jpg[" in done.stderr
    assert "Traceback" not in done.output
    result = json.loads(done.stdout.splitlines()[-1])  # the table and the line come all the same
    assert result["within_tolerance"] is False
    assert result["worst_photo"] in done.stderr
    wide = verify(*pair, "--tolerance", 0.1, "--count", 4)
    assert wide.exit_code == 0


@pytest.mark.parametrize("order", [1, -1])
def test_a_checkpoint_takes_the_views_of_the_graph(folder, order):
    pair = [folder / "model.safetensors", folder / "centre.onnx"][::order]
    done = verify(*pair, "--count", 4)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["views"] == "centre"
    assert [model["path"] for model in result["models"]] == [str(path) for path in pair]
    assert result["max_feature_difference"] is None


def test_two_checkpoints_can_be_compared(folder):
    done = verify(folder / "model.safetensors", folder / "model.safetensors", "--count", 4)
    assert done.exit_code == 0
    assert "0.00e+00" in done.stdout


def test_graphs_of_different_views_are_refused(folder):
    done = verify(folder / "model.onnx", folder / "centre.onnx")
    assert done.exit_code == 1
    assert "'ten'" in done.stderr
    assert "'centre'" in done.stderr


def test_models_of_different_inputs_or_classes_are_refused(checkpoint, folder, tmp_path):
    changed = replace(mini(), input=replace(mini().input, filter="box"))
    save_checkpoint(replace(checkpoint, config=changed), tmp_path / "input.safetensors")
    done = verify(folder / "model.onnx", tmp_path / "input.safetensors")
    assert done.exit_code == 1
    assert "filter is bilinear and box" in done.stderr
    labels = (Label("other", "other"), *checkpoint.labels[1:])
    save_checkpoint(replace(checkpoint, labels=labels), tmp_path / "labels.safetensors")
    done = verify(folder / "model.onnx", tmp_path / "labels.safetensors")
    assert done.exit_code == 1
    assert "different classes" in done.stderr


def test_a_difference_is_measured_as_it_is(checkpoint, folder, tmp_path):
    """Against a model whose fc8 prefers class 7: the numbers are worked out from the answers."""
    weights = dict(checkpoint.weights)
    weights["fc8.bias"] = weights["fc8.bias"] + 8 * (torch.arange(50) == 7)
    save_checkpoint(replace(checkpoint, weights=weights), tmp_path / "seven.safetensors")
    a, b = open_pair(folder / "model.onnx", tmp_path / "seven.safetensors")
    photos = real_photos(None, a.info.config.input, count=10)
    found = compare(a, b, photos)
    pixels = np.stack([photo for _, photo in photos])
    p, q = a.run(pixels).astype(np.float64), b.run(pixels)
    apart = np.abs(p - q)
    assert found.max_difference == pytest.approx(apart.max(), rel=1e-4)
    assert found.mean_difference == pytest.approx(apart.mean(), rel=1e-4)
    assert found.worst_photo == photos[apart.max(axis=1).argmax()][0]
    assert found.top1_agreement == np.mean(p.argmax(1) == q.argmax(1)) < 1
    five = [{*np.argsort(-row)[:5].tolist()} for row in (*p, *q)]
    same = [x == y for x, y in zip(five[:10], five[10:], strict=True)]
    assert found.top5_agreement == np.mean(same)
    assert not found.within(1e-5)


def test_features_that_differ_do_not_hide_behind_equal_probabilities(checkpoint, folder, tmp_path):
    weights = dict(checkpoint.weights)
    for name in ("fc7.weight", "fc7.bias"):
        weights[name] = weights[name] * 1.01
    weights["fc8.weight"] = weights["fc8.weight"] / 1.01
    save_checkpoint(replace(checkpoint, weights=weights), tmp_path / "louder.safetensors")
    done = verify(folder / "model.onnx", tmp_path / "louder.safetensors", "--count", 4)
    assert done.exit_code == 1
    assert "features differ by" in done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["max_difference"] <= 1e-5
    assert result["max_feature_difference"] == pytest.approx(0.01, rel=0.02)


def strict(line):
    """JSON as the standard has it."""

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(line, parse_constant=refuse)


def dead(bias):
    """fc7 is `bias` on every photo, and fc8 does not listen."""
    checkpoint = untrained(tiny(), seed=0, scaled=True)
    weights = dict(checkpoint.weights)
    weights["fc7.weight"] = torch.zeros_like(weights["fc7.weight"])
    weights["fc7.bias"] = torch.full_like(weights["fc7.bias"], bias)
    weights["fc8.weight"] = torch.zeros_like(weights["fc8.weight"])
    return replace(checkpoint, weights=weights)


def test_features_that_all_are_zero_agree(tmp_path):
    save_checkpoint(dead(0), tmp_path / "a.safetensors")
    write_onnx(dead(0), tmp_path / "a.onnx", features=True)
    done = verify(tmp_path / "a.safetensors", tmp_path / "a.onnx", "--count", 2, "--layers")
    assert done.exit_code == 0, done.output
    assert "0.00e+00" in done.stdout
    result = strict(done.stdout.splitlines()[-1])
    assert (result["max_feature_difference"], result["within_tolerance"]) == (0, True)
    assert "nan" not in done.stdout


def test_features_of_zeros_beside_others_differ_without_a_number_for_it(tmp_path):
    save_checkpoint(dead(0), tmp_path / "a.safetensors")
    save_checkpoint(dead(1), tmp_path / "b.safetensors")
    pair = (tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    json_file = tmp_path / "out.json"
    done = verify(*pair, "--count", 2, "--layers", "--json", json_file)
    assert done.exit_code == 1
    assert "The first model's features are all 0 on these photos" in done.stderr
    assert json_file.read_text() == done.stdout.splitlines()[-1] + "\n"
    result = strict(json_file.read_text())
    assert result["max_difference"] == 0
    assert result["max_feature_difference"] is None
    assert result["within_tolerance"] is False
    assert result["first_different_layer"] == "fc7"
    (fc7,) = [row for row in result["layers"] if row["layer"] == "fc7"]
    assert (fc7["largest"], fc7["max_difference"], fc7["relative"]) == (0, 1, None)
    other = verify(*pair[::-1], "--count", 2)
    assert strict(other.stdout.splitlines()[-1])["max_feature_difference"] == 1


def test_fewer_photos_than_were_asked_for_are_told(tmp_path):
    """scikit-learn's two photographs give 62 pieces."""
    path = tmp_path / "m.onnx"
    write_onnx(untrained(tiny(), seed=0), path, views="centre")
    done = verify(path, path, "--count", 63)
    assert strict(done.stdout.splitlines()[-1])["photos"] == 62
    assert "Comparing on 62 photos, not 63: there are no more pieces of" in done.stderr
    assert "Comparing" not in verify(path, path, "--count", 3).stderr


def test_an_answer_that_is_not_a_number_never_agrees(checkpoint, folder, tmp_path):
    weights = dict(checkpoint.weights)
    weights["fc8.bias"] = torch.full((50,), float("nan"))
    save_checkpoint(replace(checkpoint, weights=weights), tmp_path / "nan.safetensors")
    done = verify(
        folder / "model.onnx", tmp_path / "nan.safetensors", "--tolerance", 1, "--count", 4
    )
    assert done.exit_code == 1
    assert "differ by nan" in done.stderr
    # JSON has no NaN.
    assert (
        json.loads(done.stdout.splitlines()[-1], parse_constant=pytest.fail)["max_difference"]
        is None
    )


def test_the_json_line_is_written_to_a_file_as_well(folder, tmp_path):
    target = tmp_path / "deep" / "verify.json"
    pair = folder / "model.onnx", folder / "model.safetensors"
    done = verify(*pair, "--count", 2, "--json", target)
    assert done.exit_code == 0, done.output
    assert target.read_text() == done.stdout.splitlines()[-1] + "\n"
    assert json.loads(target.read_text())["photos"] == 2


# Photos


def test_without_a_folder_there_are_different_pieces_of_two_photographs():
    photos = real_photos(None, mini().input, count=24)
    assert len({name for name, _ in photos}) == 24
    assert len({pixels.tobytes() for _, pixels in photos}) == 24
    assert {name.partition("[")[0] for name, _ in photos} == {"china.jpg", "flower.jpg"}
    assert all(pixels.shape == (64, 64, 3) for _, pixels in photos)


def test_a_bad_photo_of_a_folder_is_left_out_with_a_line_on_stderr(folder, tmp_path):
    (tmp_path / "deep").mkdir()
    for path in sklearn_photos():
        shutil.copy(path, tmp_path / "deep")
    (tmp_path / "torn.jpg").write_bytes(b"no photo")
    done = verify(folder / "model.safetensors", folder / "model.onnx", "--photos", tmp_path)
    assert done.exit_code == 0, done.output
    assert f"Left out {tmp_path / 'torn.jpg'}: " in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["photos"] == 2


def test_a_place_without_photos_is_a_sentence(folder, tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        done = verify(folder / "model.safetensors", folder / "model.onnx", "--photos", place)
        assert done.exit_code == 1
        assert str(place) in done.stderr
        assert "name" in done.stderr


def test_without_scikit_learn_a_sentence_asks_for_a_folder(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(AlexNetError, match=r"name some.*'\.\[demo\]'"):
        real_photos(None, mini().input, count=1)


@pytest.mark.shared
def test_a_graph_agrees_with_its_checkpoint_on_imagenet_samples(folder):
    photos = imagenet_samples()[0].parent
    done = verify(
        folder / "model.safetensors", folder / "model.onnx", "--photos", photos, "--count", 20
    )
    assert done.exit_code == 0, done.output


def test_closing_is_left_to_the_owner(folder):
    a, b = open_pair(folder / "model.onnx", folder / "model.safetensors")
    assert (a.name, b.name) == (choose(folder / "model.onnx").name, "torch")
    assert open_backend(folder / "model.onnx").info == a.info
