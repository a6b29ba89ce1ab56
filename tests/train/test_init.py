"""alexnet-train init: untrained checkpoints, plain and scaled."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from alexnet.checkpoint import load_checkpoint
from alexnet.config import mini, preset
from alexnet.fresh import MEAN_RGB
from alexnet.labels import ilsvrc2012
from alexnet.network import AlexNet
from alexnet.views import Crops, views_of
from tests.models import narrow, real_pixels, tiny
from tests.train.conftest import run
from train.init import init
from train.untrained import made_up_photos, untrained


def written(tmp_path, *options):
    """The checkpoint that the command writes."""
    path = tmp_path / "model.safetensors"
    done = CliRunner().invoke(init, [*options, "-o", str(path)])
    assert done.exit_code == 0, done.output
    return load_checkpoint(path)


def test_the_command_writes_the_weights_of_its_seed(tmp_path):
    path = tmp_path / "model.safetensors"
    done = run("init", "--preset=mini", "--seed=5", "-o", path)
    assert done.stdout == ""
    assert "untrained" in done.stderr
    found = load_checkpoint(path)
    expected = AlexNet(mini()).initialise(torch.Generator().manual_seed(5)).state_dict()
    assert all(torch.equal(found.weights[name], weight) for name, weight in expected.items())
    assert found.config == mini()


def test_the_file_says_that_it_is_untrained(tmp_path):
    origin = written(tmp_path, "--preset=mini", "--seed=5").provenance
    assert origin["untrained"] is True
    assert (origin["preset"], origin["seed"], origin["scaled"]) == ("mini", 5, False)


def test_mean_images_are_of_ilsvrc_s_colour(tmp_path):
    found = written(tmp_path, "--preset=mini")
    assert found.mean.shape == (64, 64, 3)
    assert (found.mean == np.array([127.30, 119.72, 104.91], np.float32)).all()
    assert untrained(narrow("torchvision"), seed=0).mean is None


def test_a_thousand_classes_are_those_of_ilsvrc2012(tmp_path):
    assert written(tmp_path, "--preset=mini", "--set=network.classes=1000").labels == ilsvrc2012()


def test_other_classes_are_numbered(tmp_path):
    labels = written(tmp_path, "--preset=mini", "--set", "network.classes=3").labels
    assert [label.name for label in labels] == ["class 0", "class 1", "class 2"]


@pytest.mark.parametrize("key", [None, "classes"])
def test_classes_can_come_from_a_file_and_set_their_number(tmp_path, key):
    rows = [{"wnid": f"n{n}", "name": name} for n, name in enumerate(("cat", "dog"))]
    (tmp_path / "labels.json").write_text(json.dumps(rows if key is None else {key: rows}))
    found = written(tmp_path, "--preset=mini", "--labels", str(tmp_path / "labels.json"))
    assert [label.name for label in found.labels] == ["cat", "dog"]
    assert found.config.network.classes == 2


@pytest.mark.parametrize("text", ["{", "[]", "{}", "[1]", '"cat"'])
def test_a_bad_list_of_classes_is_a_sentence(tmp_path, text):
    (tmp_path / "labels.json").write_text(text)
    options = ["--preset=mini", f"--labels={tmp_path}/labels.json", f"-o{tmp_path}/m.safetensors"]
    done = CliRunner().invoke(init, options)
    assert done.exit_code == 1
    assert "class" in done.stderr.lower() or "JSON" in done.stderr
    assert not (tmp_path / "m.safetensors").exists()


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("network.clases=3", "network.clases"),
        ("network.classes=many", "network.classes must be of type int"),
        ("input.crop=8", "does not fit maps"),
    ],
)
def test_a_setting_that_can_t_be_is_a_sentence(tmp_path, setting, sentence):
    done = run("init", "--preset=mini", "--set", setting, "-o", tmp_path / "m", check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_preset_is_a_usage_error(tmp_path):
    assert run("init", "--preset=vgg", "-o", tmp_path / "m", check=False).returncode == 2


# Scaled


def stds(checkpoint, photos):
    """Deviation of each layer's values before its nonlinearity, and what fc8 makes of them."""
    config = checkpoint.config
    network = checkpoint.network()
    found = {}
    maps = Crops(config.input, checkpoint.mean)(
        torch.from_numpy(photos), views_of(config.input, "centre")
    )
    with torch.inference_mode():
        for name, conv in network.convs:
            layer, (before, after) = network.get_submodule(name), conv.pad
            padded = torch.nn.functional.pad(maps, (before, after, before, after))
            found[name] = layer(padded).std().item()
            maps = network.conv_stage(name, conv, maps)
        values, dropout = maps.flatten(1), config.network.dropout
        for name in ("fc6", "fc7"):
            values = network.get_submodule(name)(values)
            found[name] = values.std().item()
            values = values.relu() * (1 - dropout.rate if dropout.scaled == "in_test" else 1)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper", "net145", "torchvision"])
def test_scaled_layers_have_a_trained_network_s_deviations_on_real_photos(name):
    checkpoint = untrained(narrow(name), seed=0, scaled=True)
    found = stds(checkpoint, real_pixels(checkpoint.config, 6))
    convs = checkpoint.config.network.convs
    expected = {f"conv{n}": 9 for n in range(1, len(convs) + 1)} | {"fc6": 5.6, "fc7": 5.6}
    if convs[0].lrn is not None:
        expected |= {"conv1": 67, "conv2": 47}
    assert found.keys() == expected.keys()
    for layer, std in expected.items():
        assert std / 1.8 < found[layer] < std * 1.8, (layer, found)


def test_scaled_answers_are_confident_and_hang_on_the_photo():
    checkpoint = untrained(mini(), seed=0, scaled=True)
    photos = torch.from_numpy(real_pixels(checkpoint.config, 8))
    with torch.inference_mode():
        scaled = checkpoint.classifier("centre")(photos)
        plain = untrained(mini(), seed=0).classifier("centre")(photos)
    assert plain.max() < 5 / 50
    assert scaled.amax(dim=1).mean() > 10 / 50
    assert scaled.amax(dim=1).mean() < 0.9
    assert len(set(scaled.argmax(dim=1).tolist())) >= 3


def test_scaling_is_the_seed_s_too():
    a, b, c = (untrained(tiny(), seed=seed, scaled=True).weights for seed in (1, 1, 2))
    assert all(torch.allclose(a[name], b[name], rtol=1e-4, atol=1e-6) for name in a)
    assert not torch.allclose(a["fc8.bias"], c["fc8.bias"])


def test_made_up_photos_vary_as_photos_do():
    photos = made_up_photos(32, preset("paper").input, seed=0)
    assert photos.shape == (32, 256, 256, 3)
    assert photos.dtype == np.uint8
    assert photos.mean(axis=(0, 1, 2)) == pytest.approx(MEAN_RGB, abs=10)
    assert photos.std(axis=(0, 1, 2)) == pytest.approx((74.0, 72.0, 77.0), rel=0.2)
    # Neighbouring pixels are alike, those far apart are not.
    grey = photos.mean(axis=3) - photos.mean(axis=(1, 2, 3))[:, None, None]
    near = (grey[:, :, 1:] * grey[:, :, :-1]).mean() / grey.var()
    far = (grey[:, :, 100:] * grey[:, :, :-100]).mean() / grey.var()
    assert near > 0.8 > 0.3 > far
