"""The first step of load_photo: the whole picture, upright and in RGB."""

import numpy as np
import pytest
from PIL import Image

from alexnet.config import InputConfig
from alexnet.decoder import decode_photo
from alexnet.photo import PhotoError, fit_photo, load_photo
from tests.photos import encode, every_kind, pattern, sklearn_photos, with_orientation

SMALL = InputConfig(size=64, crop=56)


@pytest.mark.parametrize("kind", every_kind())
def test_the_two_steps_are_what_load_photo_does(kind):
    data = every_kind()[kind]
    whole, photo = fit_photo(decode_photo(data), SMALL), load_photo(data, SMALL)
    np.testing.assert_array_equal(whole.pixels, photo.pixels)
    assert (whole.width, whole.height) == (photo.width, photo.height)
    assert (whole.format, whole.frames) == (photo.format, photo.frames)


@pytest.mark.parametrize("path", sklearn_photos(), ids=lambda path: path.stem)
def test_a_photograph_keeps_its_size(path):
    decoded = decode_photo(path)
    assert (decoded.width, decoded.height) == decoded.image.size == (640, 427)
    np.testing.assert_array_equal(decoded.image, Image.open(path))


def test_a_turned_picture_is_upright_and_so_are_its_facts():
    stored = pattern(80, 64)
    decoded = decode_photo(with_orientation(stored, 6, "PNG"))
    assert (decoded.width, decoded.height) == decoded.image.size == (64, 80)
    np.testing.assert_array_equal(decoded.image, np.rot90(stored, -1))


def test_every_picture_becomes_rgb():
    assert {decode_photo(data).image.mode for data in every_kind().values()} == {"RGB"}


@pytest.mark.parametrize(("smallest", "size"), [(427, (640, 427)), (213, (320, 214))])
def test_a_jpeg_may_be_shrunk_to_no_less_than_asked_for(smallest, size):
    decoded = decode_photo(sklearn_photos()[0], smallest=smallest)
    assert decoded.image.size == size
    assert (decoded.width, decoded.height) == (640, 427)  # of the original


def test_what_is_no_photo_is_refused():
    for data in (b"", b"no photo", encode(pattern(), "JPEG")[:200]):
        with pytest.raises(PhotoError):
            decode_photo(data)
