"""Checkpoints: what goes in comes out, and every kind of bad file gets a sentence."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from alexnet.checkpoint import (
    CheckpointError,
    load_checkpoint,
    read_tensors,
    save_checkpoint,
    write_tensors,
)
from alexnet.color import ColorPCA
from alexnet.config import mini
from train.untrained import untrained


@pytest.fixture(scope="module")
def checkpoint():
    components = np.linalg.qr(np.arange(9.0).reshape(3, 3) + np.eye(3))[0]
    return replace(
        untrained(mini(), seed=0),
        color_pca=ColorPCA(stds=np.array([1.0, 2.5, 7.0]), components=components),
        provenance={"command": "alexnet-train fit", "top1_error": 0.5, "café": ["ü"]},
    )


@pytest.fixture
def path(checkpoint, tmp_path):
    save_checkpoint(checkpoint, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_everything_comes_back_as_it_was(checkpoint, path):
    loaded = load_checkpoint(path)
    assert loaded.config == checkpoint.config
    assert loaded.labels == checkpoint.labels
    assert loaded.provenance == checkpoint.provenance
    assert loaded.weights.keys() == checkpoint.weights.keys()
    for name, weight in loaded.weights.items():
        assert torch.equal(weight, checkpoint.weights[name])
    assert np.array_equal(loaded.mean, checkpoint.mean)
    assert np.array_equal(loaded.color_pca.stds, checkpoint.color_pca.stds)
    assert np.array_equal(loaded.color_pca.components, checkpoint.color_pca.components)


def test_weights_stored_as_half_precision_come_back_as_single(checkpoint, path):
    whole = path.stat().st_size
    save_checkpoint(checkpoint, path, dtype=torch.float16)
    assert path.stat().st_size < 0.55 * whole
    for name, weight in load_checkpoint(path).weights.items():
        assert weight.dtype == torch.float32
        torch.testing.assert_close(weight, checkpoint.weights[name], rtol=1e-3, atol=1e-7)


def test_the_same_content_gives_the_same_bytes_in_every_process(path, tmp_path):
    # The library's own order of the metadata differs between processes.
    code = (
        "import sys; from alexnet.checkpoint import load_checkpoint, save_checkpoint;"
        "save_checkpoint(load_checkpoint(sys.argv[1]), sys.argv[2])"
    )
    for number in range(3):
        again = tmp_path / f"{number}.safetensors"
        subprocess.run([sys.executable, "-c", code, path, again], check=True)
        assert again.read_bytes() == path.read_bytes()


def test_tensors_come_back_with_their_metadata(tmp_path):
    path = tmp_path / "some.safetensors"
    write_tensors(path, {"x": torch.arange(3)}, {"epoch": "7"})
    tensors, metadata = read_tensors(path)
    assert torch.equal(tensors["x"], torch.arange(3))
    assert metadata == {"epoch": "7"}
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(CheckpointError, match="not a whole"):
        read_tensors(path)


def test_others_may_read_the_file(path):
    assert path.stat().st_mode & 0o077 == 0o044


def test_a_failed_save_leaves_the_old_file(checkpoint, path):
    old = path.read_bytes()
    with pytest.raises(TypeError):
        save_checkpoint(replace(checkpoint, provenance={"not JSON": object()}), path)
    assert path.read_bytes() == old
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"There is no checkpoint .*nothing\.safetensors"):
        load_checkpoint(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("part", [0, 4, 100, 0.5, 0.999])
def test_a_truncated_file_is_not_a_whole_one(path, part):
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data)) if part < 1 else part])
    with pytest.raises(CheckpointError, match=r"not a whole .safetensors file"):
        load_checkpoint(path)


def test_another_kind_of_file_is_not_a_checkpoint(tmp_path):
    path = tmp_path / "photo.safetensors"
    path.write_bytes(b"\xff\xd8\xff\xe0 a photo, say" * 20)
    with pytest.raises(CheckpointError, match="not a whole"):
        load_checkpoint(path)


def rewrite(path, *, tensors=None, **metadata):
    """The same file with some of its metadata or tensors changed."""
    with safetensors.safe_open(path, framework="pt") as file:
        old = file.metadata()
        kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    kept |= tensors or {}
    kept = {name: tensor for name, tensor in kept.items() if tensor is not None}
    safetensors.torch.save_file(kept, path, metadata=old | metadata)


def test_a_safetensors_file_of_another_program_is_foreign(tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(3)}, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="of another program"):
        load_checkpoint(path)
    safetensors.torch.save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="of another program"):
        load_checkpoint(path)


@pytest.mark.parametrize("version", ["2", "99", "one"])
def test_a_newer_version_asks_for_a_newer_alexnet(path, version):
    rewrite(path, version=version)
    with pytest.raises(CheckpointError, match=f"version {version}.*install a newer alexnet"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("config", "{", "damaged metadata"),
        ("config", json.dumps({"preset": "mini"}), "damaged metadata.*input"),
        ("labels", "[1]", "damaged metadata: Class 0"),
        ("labels", "[]", "names 0 classes for 50 outputs"),
        ("provenance", "", "damaged metadata"),
        ("provenance", "[1]", "damaged metadata: its provenance is not a JSON object"),
    ],
)
def test_damaged_metadata_says_what_is_damaged(path, field, value, sentence):
    rewrite(path, **{field: value})
    with pytest.raises(CheckpointError, match=sentence):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"fc7.bias": None}, "lacks the weights 'fc7.bias'"),
        ({"conv1.weight": torch.zeros(2, 3, 5, 5)}, "'conv1.weight' has shape .2, 3, 5, 5."),
        ({"conv9.weight": torch.zeros(1)}, "holds 'conv9.weight'"),
    ],
)
def test_weights_that_do_not_fit_the_config_are_named(path, tensors, sentence):
    rewrite(path, tensors=tensors)
    with pytest.raises(CheckpointError, match=sentence):
        load_checkpoint(path)


def test_a_missing_mean_image_is_said_when_the_model_is_made(path):
    rewrite(path, tensors={"mean_image": None})
    with pytest.raises(ValueError, match="needs a mean image"):
        load_checkpoint(path).classifier()
