"""Dense answers: photos of any shape, whole, and the network at every place of them, averaged."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet.backends import BackendError, open_backend
from alexnet.checkpoint import save_checkpoint
from alexnet.config import PRESETS, ConvConfig, PoolConfig, mini
from alexnet.errors import AlexNetError
from alexnet.photo import load_photo
from alexnet.predictor import Predictor
from alexnet.views import View, views_of
from tests.alexnet import plain
from tests.models import small, tiny
from tests.photos import encode, pattern, sklearn_photos
from train.untrained import untrained


def with_uneven_mean(checkpoint):
    """A mean image that tells up from down and left from right."""
    if checkpoint.mean is None:
        return checkpoint
    side = checkpoint.config.input.size
    slope = np.linspace(-40, 40, side, dtype=np.float32)
    mean = checkpoint.mean + slope[:, None, None] ** 2 / 40 + 0.5 * slope[None, :, None]
    return replace(checkpoint, mean=mean.astype(np.float32))


def whole_pixels(config, box):
    """A piece of scikit-learn's photograph of China, fitted without cutting."""
    with Image.open(sklearn_photos()[0]) as image:
        return load_photo(image.crop(box), config.input, whole=True).pixels


# The photo


def whole(image, **fields):
    return load_photo(image, replace(mini().input, **fields), whole=True).pixels


@pytest.mark.parametrize(
    ("sides", "fitted"),
    [((300, 200), (96, 64)), ((200, 301), (64, 96)), ((90, 90), (64, 64)), ((7, 3), (149, 64))],
)
def test_the_shorter_side_gets_the_size_and_nothing_is_cut_off(sides, fitted):
    image = pattern(*sides)
    expected = np.asarray(image.resize(fitted, Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(whole(image), expected)


def test_of_a_panorama_the_middle_of_four_squares_is_kept():
    image = pattern(1000, 100)  # 640 x 64, of which 256 are kept
    resized = image.resize((640, 64), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(whole(image), np.asarray(resized.crop((192, 0, 448, 64))))
    assert whole(pattern(400, 100)).shape == (64, 256, 3)


def test_a_very_long_panorama_is_not_resized_as_a_whole():
    column = pattern(3, 3000)  # a thousand squares: resized whole, 64 x 64,000
    found = whole(column)
    assert found.shape == (256, 64, 3)
    resized = column.resize((64, 64_000), Image.Resampling.BILINEAR)
    expected = np.asarray(resized.crop((0, 31_872, 64, 32_128)), dtype=int)
    assert np.abs(found - expected).max() <= 1


def test_a_network_of_warped_photos_gets_them_warped():
    image = pattern(300, 200)
    expected = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(whole(image, fit="warp"), expected)


# The answer


def stretched(mean, height, width):
    """A mean image (S, S, 3) over a photo, between the middles of its pixels and level beyond."""
    for axis, length in ((0, height), (1, width)):
        side = mean.shape[axis]
        places = (np.arange(length) + 0.5) * side / length - 0.5
        mean = np.apply_along_axis(
            lambda line, places=places: np.interp(places, np.arange(len(line)), line), axis, mean
        )
    return mean


def by_hand(checkpoint, photo):
    """Probabilities at every place of a photo and of its mirror, one window after the other."""
    config, name = checkpoint.config.input, checkpoint.config.preset
    weights = {key: weight.double() for key, weight in checkpoint.weights.items()}
    mean = np.array(config.mean_rgb, np.float32)
    if checkpoint.mean is not None:
        rest = (config.size - config.crop) // 2 if config.mean == "centred" else 0
        mean = checkpoint.mean[rest : config.size - rest, rest : config.size - rest]
        mean = stretched(mean.astype(np.float64), *photo.shape[:2])
    std = np.array(config.std_rgb or (1, 1, 1), np.float32)
    answers = []
    for mirrored in (False, True):
        value = photo.astype(np.float64)
        if config.mean == "aligned":
            value = value - mean
        value = value[:, ::-1] if mirrored else value
        if config.mean != "aligned":
            value = value - mean
        value = value / std
        value = value[..., ::-1] if config.order == "bgr" else value
        maps = torch.from_numpy(value.transpose(2, 0, 1).copy())[None]
        maps = plain.last_maps(name, weights, maps)[0]
        side = round((weights["fc6.weight"].shape[1] / len(maps)) ** 0.5)
        for y in range(maps.shape[1] - side + 1):
            for x in range(maps.shape[2] - side + 1):
                window = maps[:, y : y + side, x : x + side].reshape(1, -1)
                answers.append(torch.softmax(plain.full(name, weights, window), 1)[0].numpy())
    return np.array(answers)


def check_dense_answers(name):
    config = tiny() if name == "mini" else small(name)
    checkpoint = with_uneven_mean(untrained(config, seed=2, scaled=True))
    # 1.6 and 0.6 squares: neither side fits the strides.
    for box in ((100, 0, 480, 237), (200, 30, 380, 330)):
        photo = whole_pixels(config, box)
        with torch.inference_mode():
            batch = torch.from_numpy(photo[None])
            exact = checkpoint.deployed("dense").double()(batch).numpy()
            single = checkpoint.deployed("dense")(batch).numpy()
        answers = by_hand(checkpoint, photo)
        assert len(answers) >= 8
        assert answers.std(axis=0).max() > 0.01  # the places do differ
        np.testing.assert_allclose(exact[0], answers.mean(axis=0), atol=1e-9)
        np.testing.assert_allclose(single[0], answers.mean(axis=0), atol=1e-5)


# One of each kind of mean image and normalisation; tests/slow has the others.
@pytest.mark.parametrize("name", ["net145", "torchvision", "mini"])
def test_a_dense_answer_is_the_mean_of_answers_worked_out_window_by_window(name):
    check_dense_answers(name)


@pytest.mark.parametrize("name", PRESETS)
def test_a_photo_of_one_place_is_answered_as_its_centre_view_and_mirror(name):
    config = tiny() if name == "mini" else small(name)
    config = replace(config, input=replace(config.input, size=config.input.crop))
    checkpoint = with_uneven_mean(untrained(config, seed=2, scaled=True))
    with torch.inference_mode():
        photo = torch.from_numpy(whole_pixels(config, (100, 50, 400, 350))[None])
        centre = checkpoint.classifier("centre").double()(photo).numpy()
        ten = checkpoint.classifier("ten").double()
        mirror = ten.forward_views(photo)[7].numpy()
        expected = ten.forward_features(photo)[1].numpy()  # its views are these two, five times
        dense, features = checkpoint.deployed("dense").double().forward_features(photo)
    np.testing.assert_allclose(dense.numpy(), (centre + mirror) / 2, atol=1e-12)
    np.testing.assert_allclose(features.numpy(), expected, rtol=1e-12, atol=1e-12)


def without_padding():
    """A network that pads nothing: its maps of a photo hold those of every second crop."""
    convs = (
        ConvConfig(
            maps=8, kernel=5, reads="all", steps=("relu", "pool"), pool=PoolConfig(), init_std=0.02
        ),
        ConvConfig(maps=8, kernel=3, init_std=0.2),
    )
    base = tiny(size=41, crop=33, mean="channel", mean_rgb=(120.0, 110.0, 100.0))
    return replace(base, network=replace(base.network, convs=convs))


def test_without_padding_a_place_is_a_crop():
    checkpoint = untrained(without_padding(), seed=1, scaled=True)
    photo = torch.from_numpy(whole_pixels(checkpoint.config, (100, 0, 300, 180))[None])
    # Of the 33 pixels of a crop conv1 leaves 29, pool1 14 and conv2 12; of 41 x 45 they leave 16 x
    # 18. So there are 5 x 7 places, and behind the pooling they lie two pixels apart.
    assert photo.shape[1:3] == (41, 45)
    places = [
        View(2 * y, 2 * x, mirrored)
        for mirrored in (False, True)
        for y in range(5)
        for x in range(7)
    ]
    classifier = checkpoint.classifier("centre").double()
    with torch.inference_mode():
        crops = classifier.crops(photo, places)
        expected = torch.softmax(classifier.network(crops), 1)
        found = checkpoint.deployed("dense").double()(photo)
    assert expected.std(0).max() > 0.001
    np.testing.assert_allclose(found[0].numpy(), expected.mean(0).numpy(), atol=1e-12)


# Photos of several shapes


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("dense") / "tiny.safetensors"
    save_checkpoint(untrained(tiny(), seed=0, scaled=True), path)
    return path


@pytest.fixture(scope="module")
def backend(path):
    with closing(open_backend(path, views="dense", threads=1)) as backend:
        yield backend


SHAPES = ((60, 40), (40, 60), (50, 50), (60, 40), (400, 20), (40, 61), (40, 60), (20, 400))


def test_photos_of_all_shapes_are_answered_in_their_order(backend, monkeypatch):
    photos = [encode(pattern(*sides, seed=n), "BMP") for n, sides in enumerate(SHAPES)]
    photos.insert(3, b"no photo")
    predictor = Predictor(backend, batch=5)
    alone = [predictor.predict_one(photo) for photo in photos]
    asked, run = [], backend.run
    monkeypatch.setattr(backend, "run", lambda pixels: asked.append(pixels.shape) or run(pixels))
    found = list(predictor.predict(photos))
    assert [answer.error is not None for answer in found] == [n == 3 for n in range(9)]
    for one, other in zip(alone, found, strict=True):
        assert (one.width, one.height) == (other.width, other.height)
        if one.error is None:
            np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)
    best = [answer.probabilities.tobytes() for answer in found if answer.error is None]
    assert len(set(best)) == 8
    # Five photos, of which one is none and two are alike; then four of which none are.
    assert asked == [
        *((2, 48, 72, 3), (1, 72, 48, 3), (1, 48, 48, 3)),
        *((1, 48, 192, 3), (1, 73, 48, 3), (1, 72, 48, 3), (1, 192, 48, 3)),
    ]


def test_features_are_the_mean_of_those_of_the_windows(backend, path):
    photo = whole_pixels(tiny(), (100, 0, 480, 237))[None]
    probabilities, features = backend.run_features(photo)
    np.testing.assert_array_equal(backend.run(photo), probabilities)
    dense = backend._classifier
    seen = []
    hook = dense.network.fc7.register_forward_hook(lambda _, __, value: seen.append(value.relu()))
    backend.run(photo)
    hook.remove()
    np.testing.assert_allclose(features[0], seen[0].mean(0).numpy(), rtol=1e-5, atol=1e-6)


def test_any_sides_will_do_from_a_crop_on(backend):
    assert backend.run(np.zeros((2, 40, 500, 3), np.uint8)).shape == (2, 10)
    assert backend.run(np.zeros((0, 41, 43, 3), np.uint8)).shape == (0, 10)
    for shape in ((1, 39, 60, 3), (1, 60, 39, 3), (60, 60, 3), (1, 60, 60, 4)):
        with pytest.raises(BackendError, match="sides of at least 40"):
            backend.run(np.zeros(shape, np.uint8))


# What can't be


def test_dense_answers_have_no_views_to_tell_apart(backend):
    with pytest.raises(BackendError, match="no views"):
        backend.run_views(np.zeros((1, 48, 48, 3), np.uint8))
    with pytest.raises(AlexNetError, match="no views"):
        views_of(tiny().input, "dense")


def test_a_network_is_compiled_for_one_shape_and_so_not_for_dense_answers(path):
    with pytest.raises(BackendError, match="photos of one shape"):
        open_backend(path, views="dense", compiled=True)
