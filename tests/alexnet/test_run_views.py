"""Backends that tell their views apart."""

import numpy as np
import pytest

from alexnet.backends import BackendError, open_backend
from alexnet.backends.base import ViewsBackend
from alexnet.predictor import Predictor
from tests.photos import encode, pattern


@pytest.fixture(scope="module")
def backend(model_path):
    backend = open_backend(model_path)
    yield backend
    backend.close()


def test_views_are_probabilities_whose_mean_is_the_answer(backend):
    photos = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    views = backend.run_views(photos)
    assert views.shape == (10, 3, 50)
    np.testing.assert_allclose(views.sum(2), 1, atol=1e-5)
    np.testing.assert_allclose(views.mean(0), backend.run(photos), atol=1e-6)


def test_no_photos_have_no_views(backend):
    assert backend.run_views(np.zeros((0, 64, 64, 3), np.uint8)).shape == (10, 0, 50)


def test_photos_of_another_size_are_refused(backend):
    with pytest.raises(BackendError, match="must have the shape"):
        backend.run_views(np.zeros((1, 65, 64, 3), np.uint8))


def test_a_closed_model_has_no_views(model_path):
    closed = open_backend(model_path)
    closed.close()
    with pytest.raises(BackendError, match="is closed"):
        closed.run_views(np.zeros((1, 64, 64, 3), np.uint8))


def test_a_prediction_has_views_where_asked_for(backend):
    predictor = Predictor(backend)
    photos = [predictor.load(encode(pattern(seed=seed))) for seed in (0, 1)]
    asked = predictor.run(photos, views=True)
    plain = predictor.run(photos)
    for one, other in zip(asked, plain, strict=True):
        assert one.views.shape == (10, 50)
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)
        assert other.views is None
    assert isinstance(backend, ViewsBackend)
