"""What spoils photos, against values worked by hand, Pillow and SciPy."""

import io

import numpy as np
import pytest
from PIL import Image

from alexnet.errors import AlexNetError
from tests.photos import pattern
from train.corruptions import CORRUPTIONS, GREY, corrupted, parse_corruptions


def even(level, side=20):
    return np.full((side, side, 3), level, dtype=np.uint8)


def spoil(photo, name, value, *, index=0):
    """A corruption with a value that its table does not have."""
    return CORRUPTIONS[name].change(photo, value, np.random.default_rng(index))


@pytest.fixture(scope="module")
def photo():
    return np.asarray(pattern(64, 64))


@pytest.mark.parametrize(("share", "pixels"), [(0.2, 16), (0.5, 100), (0.61, 144)])
def test_a_square_of_that_share_of_the_side_is_grey_and_the_rest_as_it_was(share, pixels):
    spoilt = spoil(even(7), "occlusion", share)
    covered = (spoilt == GREY).all(2)
    assert covered.sum() == pixels
    assert (spoilt[~covered] == 7).all()
    rows, columns = covered.any(1).sum(), covered.any(0).sum()
    assert rows == columns == pixels**0.5


def test_the_square_may_be_anywhere_inside():
    corners = set()
    for index in range(300):
        covered = (spoil(even(7), "occlusion", 0.9, index=index) == GREY).all(2)
        corners.add((int(covered.any(1).argmax()), int(covered.any(0).argmax())))
    assert corners == {(top, left) for top in range(3) for left in range(3)}


def test_brightness_adds_a_share_of_255_and_stops_there():
    photo = even(0)
    photo[0, 0], photo[0, 1] = (100, 180, 250), (0, 204, 205)
    spoilt = spoil(photo, "brightness", 0.2)  # 51 levels
    assert spoilt[0, :3].tolist() == [[151, 231, 255], [51, 255, 255], [51, 51, 51]]


def test_contrast_brings_each_colour_nearer_to_its_mean():
    photo = even(0)
    photo[:10] = (200, 100, 40)  # means of 100, 50, 20
    spoilt = spoil(photo, "contrast", 0.4)
    assert spoilt[0, 0].tolist() == [140, 70, 28]
    assert spoilt[-1, -1].tolist() == [60, 30, 12]


def test_noise_has_that_deviation_and_no_mean():
    added = spoil(even(128, 120), "noise", 0.08).astype(float) - 128
    # 43,200 values: the mean of so many differs from 0 by 20.4 / 208 in one deviation.
    assert abs(added.mean()) < 0.4
    assert added.std() == pytest.approx(0.08 * 255, rel=0.02)
    assert (added[..., 0] != added[..., 1]).any()


def test_more_noise_is_the_same_noise_made_larger():
    once, thrice = (spoil(even(128), "noise", value).astype(int) - 128 for value in (0.02, 0.06))
    assert np.abs(thrice - 3 * once).max() <= 2  # each is rounded


def test_blur_spreads_a_point_as_a_normal_distribution():
    photo = even(0, 100)
    photo[50, 40] = 255
    spoilt = spoil(photo, "blur", 0.01)[..., 0]  # a deviation of one pixel
    # 255 / 2 pi = 40.58 in the middle, times exp(-1/2), exp(-1), exp(-2) and exp(-9/2) beside it.
    assert spoilt[50, 40:44].tolist() == [41, 25, 5, 0]
    assert spoilt[51, 41] == 15
    assert spoilt[48:53, 38:43].tolist() == spoilt[48:53, 38:43].T.tolist()


def test_blur_takes_the_edges_to_go_on():
    assert (spoil(even(93), "blur", 0.1) == 93).all()


@pytest.mark.parametrize("share", CORRUPTIONS["blur"].values)
def test_blur_agrees_with_scipy(photo, share):
    ndimage = pytest.importorskip("scipy.ndimage", reason="SciPy comes with scikit-learn")
    sigma = (64 * share, 64 * share, 0)
    wanted = ndimage.gaussian_filter(photo.astype(float), sigma, mode="nearest", truncate=6.0)
    assert np.abs(spoil(photo, "blur", share) - wanted).max() < 0.6


@pytest.mark.parametrize("quality", CORRUPTIONS["jpeg"].values)
def test_jpeg_is_what_pillow_writes_at_that_quality(photo, quality):
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=quality)
    assert (spoil(photo, "jpeg", quality) == np.asarray(Image.open(file))).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_photo_is_always_spoilt_in_the_same_way_and_left_as_it_was(photo, name):
    before = photo.copy()
    one, other = (corrupted(photo, name, severity=3, index=5) for _ in range(2))
    assert (one == other).all()
    assert (photo == before).all()
    assert (one.shape, one.dtype) == (photo.shape, np.uint8)


@pytest.mark.parametrize("name", ["occlusion", "noise"])
def test_chance_differs_from_photo_to_photo(photo, name):
    one, other = (corrupted(photo, name, severity=3, index=index) for index in (5, 6))
    assert (one != other).any()


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("side", [64, 256])
def test_every_severity_spoils_more_than_the_one_before(name, side):
    photo = np.asarray(pattern(side, side))
    far = [
        np.abs(corrupted(photo, name, severity=severity, index=1).astype(int) - photo).mean()
        for severity in range(1, 6)
    ]
    assert far == sorted(far)
    assert len(set(far)) == 5


def test_sizes_grow_with_the_photo():
    covered = {
        side: (corrupted(even(7, side), "occlusion", severity=1, index=0) == GREY).all(2).sum()
        for side in (40, 160)
    }
    assert covered == {40: 8**2, 160: 32**2}


def test_corruptions_are_chosen_by_name():
    assert parse_corruptions("all") == tuple(CORRUPTIONS)
    assert parse_corruptions("jpeg,blur, jpeg") == ("jpeg", "blur")
    with pytest.raises(AlexNetError, match="There is no corruption 'fog': --corrupt takes all, or"):
        parse_corruptions("blur,fog")
