"""Fresh checkpoints: the weights of a seed, in a file like any other."""

import numpy as np
import torch

from alexnet.checkpoint import load_checkpoint, save_checkpoint
from alexnet.fresh import MEAN_RGB, fresh_checkpoint
from alexnet.labels import Label
from tests.models import narrow, tiny


def test_weights_are_those_of_the_seed():
    one, same, other = (fresh_checkpoint(tiny(), seed=seed).weights for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["fc8.weight"], other["fc8.weight"])


def test_labels_set_the_number_of_classes():
    labels = (Label("n1", "cat"), Label("n2", "dog"))
    found = fresh_checkpoint(tiny(), labels=labels)
    assert found.labels == labels
    assert found.config.network.classes == 2


def test_without_labels_classes_are_numbered():
    assert [label.name for label in fresh_checkpoint(tiny()).labels[:2]] == ["class 0", "class 1"]


def test_a_mean_image_is_there_where_the_network_needs_one():
    mean = fresh_checkpoint(tiny()).mean
    assert mean.shape == (48, 48, 3)
    assert (mean == np.float32(MEAN_RGB)).all()
    assert fresh_checkpoint(narrow("torchvision")).mean is None


def test_it_is_saved_and_run_as_a_trained_one(tmp_path):
    save_checkpoint(fresh_checkpoint(tiny()), tmp_path / "fresh.safetensors")
    loaded = load_checkpoint(tmp_path / "fresh.safetensors")
    assert loaded.provenance["untrained"] is True
    assert {"alexnet", "python", "torch"} == loaded.provenance["versions"].keys()
    photos = torch.zeros(2, 48, 48, 3, dtype=torch.uint8)
    with torch.inference_mode():
        assert loaded.classifier("centre")(photos).shape == (2, 10)
