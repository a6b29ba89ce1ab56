"""A run that begins with layers of a trained network, and how it goes on."""

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from alexnet.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from alexnet.config import preset
from alexnet.fresh import fresh_checkpoint
from alexnet.labels import Label
from alexnet.network import AlexNet
from alexnet.settings import to_dict
from tests.models import narrow, tiny
from tests.train.conftest import LIVELY, THIN, newest, run
from train.cli import main
from train.dataset import Dataset
from train.fit import FitOptions, fit
from train.init_from import InitError, InitFrom, check_same, read_kept, take
from train.recipes import recipe, run_config
from train.streams import INIT, random_stream
from train.trainer import Trainer

SHORT = [word.removeprefix("--set=") for word in (*THIN[1:], *LIVELY)] + ["recipe.batch=16"]
CONVS = [f"conv{number}" for number in range(1, 6)]


def config_of(*settings, seed=0, epochs=1):
    settings = [*SHORT, f"recipe.epochs={epochs}", *settings]
    return run_config("mini", recipe("mini"), classes=3, seed=seed, settings=settings)


def train(colors, out, *settings, seed=0, epochs=1, **options):
    """A run in this process: three steps an epoch."""
    config = config_of(*settings, seed=seed, epochs=epochs)
    return fit(config, Dataset(colors), out, options=FitOptions(**options))


def drawn(*settings, seed):
    """The weights that a run with this seed begins with when it begins with nobody's."""
    network = AlexNet(config_of(*settings).config)
    return network.initialise(random_stream(seed, INIT)).state_dict()


def weights(out):
    return {
        name.removeprefix("weights."): weight
        for name, weight in newest(out).items()
        if name.startswith("weights.")
    }


def layer(name):
    return name.split(".")[0]


STILL = ("recipe.lr=0", "recipe.bias_lr=0")  # what a run begins with, it ends with


@pytest.fixture(scope="module")
def source(colors, tmp_path_factory):
    """A finished run, with the seed 1."""
    out = tmp_path_factory.mktemp("source") / "run"
    train(colors, out, seed=1)
    return out


@pytest.fixture(scope="module")
def begun(source, colors, tmp_path_factory):
    """A run with the seed 2 that began with the source's convolutions, after its first step."""
    out = tmp_path_factory.mktemp("begun") / "run"
    init = InitFrom(path=source / "model.safetensors", keep="conv1-conv5")
    train(colors, out, seed=2, init_from=init, max_steps=1)
    return out


def beginning(colors, path, keep, *settings):
    """The weights before the first step, with the seed 2."""
    dataset, config = Dataset(colors), config_of(*settings, seed=2)
    trainer = Trainer(config, dataset)
    init = InitFrom(path=path, keep=keep)
    assert take(trainer, read_kept(init, config.config, dataset.labels))
    return trainer.network.state_dict()


@pytest.mark.parametrize(
    ("keep", "layers"),
    [
        ("conv1-conv5", set(CONVS)),
        ("conv1-conv5,fc6", {*CONVS, "fc6"}),
        ("conv1-fc7", {*CONVS, "fc6", "fc7"}),
        ("fc8", {"fc8"}),
    ],
)
def test_the_layers_to_keep_are_the_source_s_and_all_others_the_seed_s(
    source, colors, keep, layers
):
    found = beginning(colors, source / "model.safetensors", keep)
    theirs, fresh = weights(source), drawn(seed=2)
    for name, weight in found.items():
        assert torch.equal(weight, (theirs if layer(name) in layers else fresh)[name]), name
        assert not torch.equal(theirs[name], fresh[name]), name


def test_a_checkpoint_of_a_run_will_do(source, colors):
    (path,) = (source / "checkpoints").iterdir()
    found = beginning(colors, path, "conv1-conv5")
    assert torch.equal(found["conv3.weight"], weights(source)["conv3.weight"])


def test_a_checkpoint_that_was_taken_from_its_run_is_a_sentence(source, colors, tmp_path):
    (path,) = (source / "checkpoints").iterdir()
    (tmp_path / "checkpoints").mkdir()
    alone = shutil.copy(path, tmp_path / "checkpoints" / path.name)
    with pytest.raises(CheckpointError, match=r"config.json can't be read .* leave it where its"):
        beginning(colors, alone, "conv1")


def test_the_network_may_have_layers_that_the_source_has_not(source, colors):
    """As six_conv has conv6."""
    convs = to_dict(config_of().network)["convs"]
    conv6 = {"maps": 8, "kernel": 3, "pad": [1, 1], "reads": "all", "init_std": 0.1}
    settings = f"network.convs={json.dumps([*convs, conv6])}"
    found = beginning(colors, source / "model.safetensors", "conv1-conv5", settings)
    assert found["conv6.weight"].shape == (8, 8, 3, 3)
    assert torch.equal(found["conv5.weight"], weights(source)["conv5.weight"])


def test_config_and_model_say_what_was_kept_and_of_which_file(source, begun):
    data = (source / "model.safetensors").read_bytes()
    expected = {
        "file": "model.safetensors",
        "sha256": hashlib.sha256(data).hexdigest(),
        "preset": "mini",
        "keep": "conv1-conv5",
        "layers": CONVS,
    }
    assert json.loads((begun / "config.json").read_text())["init_from"] == expected
    assert load_checkpoint(begun / "model.safetensors").provenance["init_from"] == expected
    assert "init_from" not in load_checkpoint(source / "model.safetensors").provenance


def test_mean_image_and_colours_are_those_of_the_photos_to_be_learnt(other, colors, tmp_path):
    """The network to begin with has another mean image, and none of the colours."""
    dataset, init = Dataset(colors), InitFrom(path=other, keep="conv1-conv5")
    train(colors, tmp_path / "run", seed=2, init_from=init, max_steps=1)
    model = load_checkpoint(tmp_path / "run" / "model.safetensors")
    assert model.mean.tolist() == dataset.mean.tolist() != load_checkpoint(other).mean.tolist()
    assert model.color_pca.stds.tolist() == dataset.color_pca.stds.tolist()


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A network of the same shape for ten other classes, with a mean image of its own."""
    path = tmp_path_factory.mktemp("other") / "model.safetensors"
    save_checkpoint(fresh_checkpoint(config_of().config, seed=7, labels=labels(10)), path)
    return path


def labels(count):
    return [Label(f"n{number}", f"thing {number}") for number in range(count)]


# Going on


def test_a_run_goes_on_without_the_file_to_the_same_weights(source, begun, colors, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    init = InitFrom(path=source / "model.safetensors", keep="conv1-conv5")
    train(colors, whole, seed=2, init_from=init)
    shutil.copytree(begun, parts)
    train(colors, parts, seed=2, resume=True)
    expected, found = weights(whole), weights(parts)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert load_checkpoint(parts / "model.safetensors").provenance["init_from"]["layers"] == CONVS


def test_a_run_that_is_killed_before_its_first_step_ends_has_the_layers_too(
    source, colors, tmp_path, monkeypatch
):
    def killed(self):
        raise KeyboardInterrupt

    path = tmp_path / "source.safetensors"
    shutil.copy(source / "model.safetensors", path)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "steps", killed)
        with pytest.raises(KeyboardInterrupt):
            train(colors, tmp_path / "run", *STILL, seed=2, init_from=InitFrom(path=path))
    path.unlink()
    train(colors, tmp_path / "run", *STILL, seed=2, resume=True, max_steps=1)
    assert torch.equal(weights(tmp_path / "run")["fc7.weight"], weights(source)["fc7.weight"])


def test_the_file_may_be_named_again_and_need_not_be_there(source, begun, tmp_path):
    said = json.loads((begun / "config.json").read_text())["init_from"]
    for path in (source / "model.safetensors", tmp_path / "gone.safetensors"):
        check_same(InitFrom(path=path, keep="conv1-conv5"), said, begun)


@pytest.mark.parametrize("changed", ["layers", "file"])
def test_a_run_that_began_with_something_else_is_not_gone_on_with(
    source, begun, other, colors, changed
):
    init = InitFrom(path=source / "model.safetensors", keep="conv1")
    if changed == "file":
        init = InitFrom(path=other, keep="conv1-conv5")
    with pytest.raises(InitError) as caught:
        train(colors, begun, seed=2, init_from=init, resume=True)
    said = f"{begun} was started from conv1-conv5 of model.safetensors ("
    assert str(caught.value).startswith(said)


def test_a_run_that_began_with_nobody_s_layers_is_not_given_any_later(source, colors, tmp_path):
    shutil.copytree(source, tmp_path / "run")
    init = InitFrom(path=source / "model.safetensors")
    with pytest.raises(InitError, match=r"was started without --init-from: resume it without\.$"):
        train(colors, tmp_path / "run", seed=1, init_from=init, resume=True)


# What does not fit


@pytest.fixture(scope="module")
def paper_file(tmp_path_factory):
    """The paper's network with narrow fully connected layers, untrained."""
    path = tmp_path_factory.mktemp("paper") / "paper.safetensors"
    save_checkpoint(fresh_checkpoint(narrow("paper")), path)
    return path


@pytest.mark.parametrize(
    ("config", "keep", "reason"),
    [
        (narrow("six_conv"), "conv1-conv6", "conv6 of {} can't be kept: that network (paper) has"),
        (
            narrow("paper", units=(65, 48)),
            "conv1-fc6",
            "fc6 of {} can't be kept: its weights are of shape (64, 9216), and here (65, 9216)",
        ),
        (narrow("paper"), "conv6", "--keep conv6: there is no conv6 in this network"),
        (  # conv5's weights are of the same shape in both, and see other maps
            narrow("one_gpu"),
            "conv5",
            "conv5 of {} can't be kept: it is in 2 column(s) there, and in 1 here",
        ),
        (
            narrow("caffe"),
            "conv1-conv5",
            "conv1 of {} can't be kept: its photos enter with input.order=rgb, here with bgr",
        ),
        (
            replace(narrow("paper"), input=replace(preset("paper").input, std_rgb=(60, 60, 60))),
            "conv1",
            "conv1 of {} can't be kept: its photos enter with input.std_rgb=null, here with [60",
        ),
    ],
)
def test_a_layer_that_does_not_fit_is_named_with_the_reason(paper_file, config, keep, reason):
    with pytest.raises(InitError) as caught:
        read_kept(InitFrom(path=paper_file, keep=keep), config, labels(20))
    assert str(caught.value).startswith(reason.format(paper_file))


def test_conv2_onwards_may_be_kept_where_photos_enter_in_another_way(paper_file):
    kept = read_kept(InitFrom(path=paper_file, keep="conv2-fc7"), narrow("caffe"), labels(20))
    assert kept.facts["layers"] == ["conv2", "conv3", "conv4", "conv5", "fc6", "fc7"]


def test_an_output_layer_for_other_classes_is_not_kept(tmp_path):
    path = tmp_path / "model.safetensors"
    save_checkpoint(fresh_checkpoint(tiny(), labels=labels(10)), path)
    assert "fc8.bias" in read_kept(InitFrom(path=path, keep="fc8"), tiny(), labels(10)).weights
    with pytest.raises(InitError, match=r"its outputs are other classes .* Keep conv1-fc7\.$"):
        read_kept(InitFrom(path=path, keep="fc8"), tiny(), [*labels(9), Label("x", "x")])


# The command


@pytest.mark.parametrize(
    ("keep", "sentence"),
    [
        ("2", "--keep names layers, such as conv1-fc7: with --keep-checkpoints 2 so many"),
        ("conv", "--keep: 'conv' names no layers: name one (fc8)"),
    ],
)
def test_what_names_no_layers_is_a_sentence(keep, sentence):
    with pytest.raises(InitError, match=re.escape(sentence)):
        InitFrom(path=Path("model.safetensors"), keep=keep)


def test_layers_of_no_network_are_a_usage_error():
    done = CliRunner().invoke(main, ["fit", "--preset=mini", "--data=d", "--out=o", "--keep=conv1"])
    assert done.exit_code == 2
    assert "--keep says what to take of a trained network: name it, --init-from." in done.output


def test_a_file_that_is_not_there_starts_nothing(colors, tmp_path):
    options = ("--init-from", tmp_path / "none", "--data", colors, "--out", tmp_path / "run")
    done = run("fit", "--preset=mini", *options, check=False)
    assert done.returncode == 1
    assert done.stderr == f"alexnet-train: There is no checkpoint {tmp_path / 'none'}.\n"
    assert not (tmp_path / "run").exists()
