"""The small model that comes with the package."""

import tarfile

import pytest

from alexnet.backends import open_backend
from alexnet.checkpoint import load_checkpoint, shipped_model
from alexnet.predictor import Predictor
from tests.photos import shared_data


@pytest.fixture(scope="module")
def model():
    return load_checkpoint(shipped_model())


def test_it_is_small_enough_to_ship():
    assert shipped_model().stat().st_size <= 12_000_000


def test_it_knows_its_classes_by_wnid_and_name(model):
    assert len(model.labels) == 50
    assert all(label.wnid.startswith("n0") and label.name for label in model.labels)
    assert {"goldfish, Carassius auratus"} <= {label.name for label in model.labels}


def test_it_says_what_it_was_trained_on_how_and_how_good_it_is(model):
    origin = model.provenance
    assert origin["data"]["source"] == "tiny-imagenet-50"
    assert origin["data"]["training_photos"] == 25_000
    assert origin["command"].startswith("alexnet-train fit --preset mini")
    assert " /" not in origin["command"], "a path of the machine it was trained on"
    assert origin["validation"]["photos"] == 2_500
    assert origin["validation"]["ten"]["val_top1_error"] <= 0.5


@pytest.mark.slow
@pytest.mark.shared
def test_it_is_right_on_half_of_the_validation_photos_with_ten_views():
    archive = shared_data("tiny-imagenet-50") / "val.tar.gz"
    truth, photos = [], []
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile():
                truth.append(member.name.split("/")[1])
                photos.append(tar.extractfile(member).read())
    assert len(photos) == 2_500
    predictions = Predictor(open_backend()).predict(photos, top_k=1)
    right = sum(p.scores[0].label == t for p, t in zip(predictions, truth, strict=True))
    assert right / len(photos) >= 0.5
