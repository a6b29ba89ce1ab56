"""The colour PCA against hand-worked cases and numpy's covariance."""

import json

import numpy as np
import pytest

from alexnet.color import (
    ColorPCA,
    color_pca_from_dict,
    color_pca_from_moments,
    color_pca_to_dict,
)
from alexnet.errors import AlexNetError


def pca_of(pixels):
    pixels = np.asarray(pixels, dtype=np.int64)
    return color_pca_from_moments(len(pixels), pixels.sum(axis=0), pixels.T @ pixels)


def test_pixels_along_one_axis_vary_along_that_axis_alone():
    # Green is 10 or 30: mean 20, deviation 10. Red and blue never change.
    pca = pca_of([(7, 10, 5), (7, 30, 5)])
    assert pca.stds.tolist() == [0, 0, 10]
    assert np.abs(pca.components[:, 2]).tolist() == [0, 1, 0]


def test_grey_pixels_vary_along_the_grey_axis():
    # (0,0,0) and (60,60,60): each channel deviates by 30, so the grey axis by 30 * sqrt(3).
    pca = pca_of([(0, 0, 0), (60, 60, 60)])
    assert pca.stds == pytest.approx([0, 0, 30 * np.sqrt(3)], abs=1e-6)
    assert pca.components[:, 2] == pytest.approx([1 / np.sqrt(3)] * 3)


def test_the_strengths_are_standard_deviations_and_not_variances():
    # What must hold of the 2012 numbers, too: P diag(s^2) P^T is the covariance.
    pixels = np.random.default_rng(0).integers(0, 256, (500, 3))
    pixels[:, 2] = (pixels[:, 0] + pixels[:, 1]) // 2
    pca = pca_of(pixels)
    covariance = pca.components @ np.diag(pca.stds**2) @ pca.components.T
    assert covariance == pytest.approx(np.cov(pixels.T, bias=True), abs=1e-9)


def test_components_are_orthonormal_columns_in_ascending_order_with_a_fixed_sign():
    pca = pca_of(np.random.default_rng(1).integers(0, 256, (100, 3)))
    assert pca.components.T @ pca.components == pytest.approx(np.eye(3))
    assert sorted(pca.stds) == pca.stds.tolist()
    largest = np.abs(pca.components).argmax(axis=0)
    assert (pca.components[largest, range(3)] > 0).all()


def test_moments_of_a_whole_imagenet_lose_nothing():
    # 1.3 million photos of 256 pixels: half of the pixels are 100 and half are 102.
    half = 1_300_000 * 256**2 // 2
    sums = [half * 202] * 3
    products = [[half * (100**2 + 102**2)] * 3] * 3
    pca = color_pca_from_moments(2 * half, sums, products)
    assert pca.stds == pytest.approx([0, 0, np.sqrt(3)], abs=1e-7)


def test_a_colour_pca_comes_back_from_json_to_the_bit():
    pca = pca_of(np.random.default_rng(2).integers(0, 256, (50, 3)))
    again = color_pca_from_dict(json.loads(json.dumps(color_pca_to_dict(pca))))
    assert (again.stds == pca.stds).all()
    assert (again.components == pca.components).all()


@pytest.mark.parametrize(
    "data",
    [
        [],
        {"stds": [1, 2, 3]},
        {"stds": [1, 2], "components": np.eye(3).tolist()},
        {"stds": [1, 2, 3], "components": [[1, 0, 0]]},
        {"stds": [1, 2, 3], "components": [[1, 0], [0], [1]]},
        {"stds": [1, 2, "x"], "components": np.eye(3).tolist()},
        {"stds": [1, 2, float("nan")], "components": np.eye(3).tolist()},
    ],
)
def test_what_is_no_colour_pca_is_refused_with_a_sentence(data):
    with pytest.raises(AlexNetError, match="colour PCA"):
        color_pca_from_dict(data)


def test_a_colour_pca_of_the_wrong_shape_is_refused():
    with pytest.raises(AlexNetError, match="3 standard deviations"):
        ColorPCA(np.zeros(2), np.eye(3))
