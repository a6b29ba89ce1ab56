"""Views and places answered one by one, for the presets that tests/alexnet leaves out."""

import pytest

from tests.alexnet.test_classifier import check_ten_views
from tests.alexnet.test_dense import check_dense_answers


@pytest.mark.parametrize("name", ["paper", "one_gpu", "six_conv", "caffe"])
def test_ten_views_are_the_mean_of_ten_answers_worked_out_one_by_one(name):
    check_ten_views(name)


@pytest.mark.parametrize("name", ["paper", "one_gpu", "six_conv", "caffe"])
def test_a_dense_answer_is_the_mean_of_answers_worked_out_window_by_window(name):
    check_dense_answers(name)
