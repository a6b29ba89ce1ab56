"""The deployed function: ten views by hand (F.11), and the distances of features (F.15)."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet.backends import open_backend
from alexnet.checkpoint import save_checkpoint
from alexnet.classifier import Classifier
from alexnet.config import ConvConfig, FullConfig, InputConfig, mini
from alexnet.network import AlexNet
from alexnet.photo import load_photo
from alexnet.predictor import Predictor
from tests.alexnet import plain
from tests.models import PIECES, real_pixels, small, tiny
from tests.photos import sklearn_photos
from train.metrics import cross_entropy
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


def check_ten_views(name):
    config = tiny() if name == "mini" else small(name)
    checkpoint = with_uneven_mean(untrained(config, seed=2, scaled=True))
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


# One of each kind of mean image and normalisation; tests/slow has the others.
@pytest.mark.parametrize("name", ["net145", "torchvision", "mini"])
def test_ten_views_are_the_mean_of_ten_answers_worked_out_one_by_one(name):
    check_ten_views(name)


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
    loss = cross_entropy(answer[None].numpy(), np.array([0])).item()
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
def checkpoint():
    """mini with weights scaled to a trained network's values."""
    return untrained(mini(), seed=0, scaled=True)


@pytest.fixture(scope="module")
def predictor(checkpoint, tmp_path_factory):
    """The same network as a file, and the deployed function run on it photo by photo."""
    path = tmp_path_factory.mktemp("model") / "mini.safetensors"
    save_checkpoint(checkpoint, path)
    with closing(open_backend(path)) as backend:
        yield Predictor(backend, batch=1)


@pytest.fixture(scope="module")
def index(predictor):
    """The features of eight pieces of real photographs (8, units)."""
    return features_of(predictor, pieces())


def pieces():
    """Eight pieces of scikit-learn's two photographs."""
    found = []
    for path in sklearn_photos():
        with Image.open(path) as image:
            found += [image.crop(box) for box in PIECES]
    return found


def features_of(predictor, photos):
    return np.stack([answer.features for answer in predictor.predict(photos, features=True)])


def ranking(index, query):
    """Places of `index`, nearest first, by squared distances summed one by one in float64."""
    squares = [
        sum((float(a) - float(b)) ** 2 for a, b in zip(row, query, strict=True)) for row in index
    ]
    assert len(set(squares)) == len(squares)
    return sorted(range(len(index)), key=squares.__getitem__)


def test_features_are_one_row_a_photo_and_never_negative(index):
    assert index.shape == (8, mini().network.fc7.units)
    assert (index >= 0).all()
    assert (index.std(axis=0) > 0).mean() > 0.5


def test_a_photo_in_the_index_is_its_own_nearest_neighbour_at_distance_0(predictor, index):
    for number, query in enumerate(features_of(predictor, reversed(pieces()))):
        distances = np.linalg.norm(index - query, axis=1)
        assert distances[7 - number] == 0
        assert np.count_nonzero(distances) == 7


def test_distances_of_single_precision_features_rank_as_exact_squares_do(index):
    for query in index:
        found = np.argsort(np.linalg.norm(index - query, axis=1))
        assert found.tolist() == ranking(index, query)


def test_what_the_output_layer_reads_is_half_the_features_and_ranks_photos_alike(checkpoint, index):
    read, classifier = [], checkpoint.classifier("ten")
    classifier.network.fc8.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    with torch.inference_mode():
        for photo in pieces():
            pixels = load_photo(photo, classifier.config.input).pixels
            classifier(torch.from_numpy(pixels[None]))
    halves = torch.stack(read).mean(1).numpy()  # of the ten views
    np.testing.assert_allclose(halves, index / 2, rtol=1e-5, atol=1e-6)
    for number in range(8):
        assert ranking(halves, halves[number]) == ranking(index, index[number])
