"""The deployed function: ten views by hand (F.11), and the distances of features (F.15)."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from alexnet.classifier import Classifier
from alexnet.config import ConvConfig, FullConfig, InputConfig, mini
from alexnet.network import AlexNet
from tests.alexnet import plain
from tests.models import real_pixels, small
from train.untrained import untrained


def by_hand(checkpoint, photo):
    """Probabilities of ten crops of one photo, each cut, normalised and answered by itself."""
    config = checkpoint.config.input
    side, far = config.crop, config.size - config.crop
    middle = far // 2
    mean = None if checkpoint.mean is None else checkpoint.mean.astype(np.float64)
    weights = {name: weight.double() for name, weight in checkpoint.weights.items()}
    crops = []
    for mirrored in (False, True):
        for y, x in ((0, 0), (0, far), (middle, middle), (far, 0), (far, far)):
            crop = photo[y : y + side, x : x + side].astype(np.float64)
            if config.mean == "aligned":
                crop = crop - mean[y : y + side, x : x + side]
            crop = crop[:, ::-1] if mirrored else crop
            if config.mean == "centred":
                crop = crop - mean[middle : middle + side, middle : middle + side]
            if config.mean == "channel":
                # Single precision constants, as they are used.
                crop = crop - np.array(config.mean_rgb, np.float32)
                crop = crop / np.array(config.std_rgb, np.float32)
            crop = crop[..., ::-1] if config.order == "bgr" else crop
            crops.append(torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1))))
    logits = plain.forward(checkpoint.config.preset, weights, torch.stack(crops)).numpy()
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def with_uneven_mean(checkpoint):
    """Real mean images are not constant: one that has a slope tells offsets and mirrors apart."""
    if checkpoint.mean is None:
        return checkpoint
    side = checkpoint.config.input.size
    slope = np.linspace(-40, 40, side, dtype=np.float32)
    mean = checkpoint.mean + slope[:, None, None] + 0.5 * slope[None, :, None]
    return replace(checkpoint, mean=mean.astype(np.float32))


@pytest.mark.parametrize("name", ["paper", "net145", "caffe", "torchvision"])
def test_ten_views_are_the_mean_of_ten_answers_worked_out_one_by_one(name):
    checkpoint = with_uneven_mean(untrained(small(name), seed=2, scaled=True))
    photos = real_pixels(checkpoint.config, 2)
    batch = torch.from_numpy(photos)
    with torch.inference_mode():
        single = checkpoint.classifier("ten")(batch).numpy()
        classifier = checkpoint.classifier("ten").double()
        found, views = classifier(batch).numpy(), classifier.forward_views(batch).numpy()
        centre = checkpoint.classifier("centre").double()(batch).numpy()
    for number, photo in enumerate(photos):
        answers = by_hand(checkpoint, photo)
        assert answers.std(axis=0).max() > 0.01  # the views do differ
        np.testing.assert_allclose(views[:, number], answers, atol=1e-9)
        np.testing.assert_allclose(found[number], answers.mean(axis=0), atol=1e-9)
        np.testing.assert_allclose(centre[number], answers[2], atol=1e-9)
        np.testing.assert_allclose(single[number], answers.mean(axis=0), atol=1e-5)


def brighter_side():
    """A network by hand that sees which half is brighter: (.9, .1) if the left, else (.2, .8).

    Photos and crops are 8 pixels wide, so that the views differ in nothing but their mirroring.
    """
    conv = ConvConfig(maps=2, kernel=8, reads="all")
    one = FullConfig(units=2, init_std=None)
    base = mini()
    network = replace(base.network, columns=1, convs=(conv,), fc6=one, fc7=one, classes=2)
    network = replace(network, dropout=replace(network.dropout, scaled="in_training"))
    config = replace(base, input=InputConfig(size=8, crop=8), network=network)
    module = AlexNet(config)
    half = torch.ones(3, 8, 8)
    half[:, :, 4:] = -1
    with torch.no_grad():
        module.conv1.weight.copy_(torch.stack((half, -half)) / (3 * 8 * 4 * 100))
        module.conv1.bias.zero_()
        for layer in (module.fc6, module.fc7):
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
        module.fc8.weight.copy_(torch.tensor([[0.9, 0.2], [0.1, 0.8]]).log())
        module.fc8.bias.zero_()
    return config, module


def two_halves(left, right):
    photo = np.full((1, 8, 8, 3), left, np.uint8)
    photo[:, :, 4:] = right
    return torch.from_numpy(photo)


def test_probabilities_are_averaged_and_neither_losses_nor_logits():
    config, network = brighter_side()
    mean = np.zeros((8, 8, 3), np.float32)
    classifier = Classifier(config, network, mean, views="ten")
    photo = two_halves(200, 100)
    with torch.inference_mode():
        views = classifier.forward_views(photo)[:, 0]
        answer = classifier(photo)[0]
    assert views[0].tolist() == pytest.approx([0.9, 0.1], abs=1e-6)
    assert views[5].tolist() == pytest.approx([0.2, 0.8], abs=1e-6)
    assert answer.tolist() == pytest.approx([0.55, 0.45], abs=1e-6)
    loss = -math.log(answer[0])
    assert loss == pytest.approx(0.597837, abs=1e-6)
    assert loss != pytest.approx(0.857400, abs=1e-3)  # the mean of losses
    assert loss != pytest.approx(0.510826, abs=1e-3)  # from averaged logits


def test_ten_views_that_are_all_alike_answer_as_one():
    config, network = brighter_side()
    mean = np.zeros((8, 8, 3), np.float32)
    photo = two_halves(100, 100)
    photo[:, :, 1] = photo[:, :, 6] = 240  # mirrors onto itself
    with torch.inference_mode():
        ten = Classifier(config, network, mean, views="ten")(photo)
        one = Classifier(config, network, mean, views="centre")(photo)
    torch.testing.assert_close(ten, one)


@pytest.fixture(scope="module")
def features():
    """Features of eight pieces of photographs, and of the third one asked for by itself."""
    checkpoint = untrained(mini(), seed=0, scaled=True)
    photos = torch.from_numpy(real_pixels(checkpoint.config, 8))
    classifier = checkpoint.classifier("ten")
    with torch.inference_mode():
        index = classifier.forward_features(photos)[1].numpy().astype(np.float64)
        query = classifier.forward_features(photos[2:3])[1].numpy().astype(np.float64)[0]
    return index, query


def test_features_are_one_row_a_photo_and_never_negative(features):
    index, _ = features
    assert index.shape == (8, mini().network.fc7.units)
    assert (index >= 0).all()
    assert (index.std(axis=0) > 0).mean() > 0.5


def test_a_photo_in_the_index_is_its_own_nearest_neighbour(features):
    index, query = features
    distances = np.linalg.norm(index - index[2], axis=1)
    assert distances[2] == 0
    assert (np.delete(distances, 2) > 0).all()
    again = np.linalg.norm(index - query, axis=1)
    assert again.argmin() == 2
    assert again[2] < 1e-4 * np.sort(again)[1]


def test_neighbours_are_ranked_alike_by_squares_and_by_halved_features(features):
    index, query = features
    ranking = np.argsort(np.linalg.norm(index - query, axis=1))
    squares = ((index - query) ** 2).sum(axis=1)
    halves = np.linalg.norm(index / 2 - query / 2, axis=1)
    assert np.argsort(squares).tolist() == ranking.tolist()
    assert np.argsort(halves).tolist() == ranking.tolist()
    assert len(set(ranking.tolist())) == 8
