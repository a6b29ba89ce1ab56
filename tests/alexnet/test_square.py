"""The square that a photo is fitted to, and what the fast path changes of it."""

import numpy as np
import pytest
from PIL import Image

from alexnet.config import InputConfig
from alexnet.photo import load_photo
from tests.photos import (
    difference,
    encode,
    fitted,
    pattern,
    sklearn_photos,
)

SMALL = InputConfig(size=64, crop=56)
FULL = InputConfig()


@pytest.mark.parametrize(
    ("height", "width", "resized", "left", "top"),
    [  # worked by hand; resized is (height, width)
        (375, 500, (256, 341), 42, 0),
        (500, 375, (341, 256), 0, 42),
        (600, 400, (384, 256), 0, 64),
        (301, 300, (256, 256), 0, 0),
        (100, 77, (332, 256), 0, 38),
    ],
)
def test_the_shorter_side_becomes_256_and_the_central_square_is_cut(
    height, width, resized, left, top
):
    image = pattern(width, height)
    whole = np.asarray(image.resize(resized[::-1], Image.Resampling.BILINEAR))
    wanted = whole[top : top + 256, left : left + 256]
    np.testing.assert_array_equal(load_photo(image, FULL).pixels, wanted)


def test_a_photo_that_has_the_size_already_is_not_changed():
    image = pattern(256, 256)
    np.testing.assert_array_equal(load_photo(encode(image), FULL).pixels, np.asarray(image))
    for filter in ("bilinear", "bicubic", "lanczos", "box"):
        config = InputConfig(filter=filter)
        np.testing.assert_array_equal(load_photo(image, config).pixels, np.asarray(image))


def test_a_photo_whose_shorter_side_has_the_size_is_only_cut():
    image = pattern(300, 256)
    np.testing.assert_array_equal(load_photo(image, FULL).pixels, np.asarray(image)[:, 22:278])


def test_warp_gives_both_sides_the_size_whatever_the_shape():
    image = pattern(300, 100)
    wanted = np.asarray(image.resize((256, 256), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(load_photo(image, InputConfig(fit="warp")).pixels, wanted)


@pytest.mark.parametrize("filter", ["bilinear", "bicubic", "lanczos", "box"])
def test_the_filter_of_the_config_is_used(filter):
    method = Image.Resampling[filter.upper()]
    photo = load_photo(sklearn_photos()[0], InputConfig(filter=filter))
    wanted = fitted(Image.open(sklearn_photos()[0]), 256, method)
    np.testing.assert_array_equal(photo.pixels, wanted)


@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1), (1, 1), (2, 40_000), (3, 200)])
def test_extremely_elongated_photos_give_their_middle(size):
    image = Image.new("RGB", size, (255, 0, 0))
    image.paste((0, 0, 255), tuple(side * 2 // 5 for side in size) + size)
    middle = image.crop((0, 0, *size)).getpixel(tuple(side // 2 for side in size))
    photo = load_photo(encode(image), FULL)
    assert (photo.width, photo.height) == size
    assert photo.pixels[128, 128].tolist() == list(middle)


@pytest.mark.parametrize("filter", ["bilinear", "bicubic", "lanczos", "box"])
@pytest.mark.parametrize("size", [(50, 901), (1200, 70), (3, 55), (400, 6800)])
def test_resizing_only_the_middle_of_an_elongated_photo_changes_no_pixel_by_more_than_one(
    size, filter
):
    image = pattern(*size)
    pixels = load_photo(image, InputConfig(size=64, crop=56, filter=filter)).pixels
    wanted = fitted(image, 64, Image.Resampling[filter.upper()])
    assert np.abs(pixels.astype(int) - wanted).max() <= 1


# The fast path


def test_the_fast_path_is_the_same_to_the_bit_below_four_times_the_size():
    for path in sklearn_photos():  # 640 x 427, less than 1024
        plain_pixels = load_photo(path, FULL).pixels
        np.testing.assert_array_equal(load_photo(path, FULL, fast=True).pixels, plain_pixels)


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_the_fast_path_changes_large_photos_by_less_than_a_level_on_average(format):
    large = Image.open(sklearn_photos()[0]).resize((2560, 1708), Image.Resampling.BICUBIC)
    data = encode(large, format)
    slow, fast = load_photo(data, FULL), load_photo(data, FULL, fast=True)
    assert 0 < difference(slow.pixels, fast.pixels) < 1
    assert (fast.width, fast.height) == (slow.width, slow.height) == (2560, 1708)
