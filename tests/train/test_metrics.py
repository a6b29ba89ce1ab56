import math

import numpy as np
import pytest

from train.metrics import cross_entropy, top_k_correct


def test_a_uniform_answer_shares_its_credit_under_the_rule_of_2012():
    uniform, label = np.full((1, 1000), 0.001), np.array([417])
    assert top_k_correct(uniform, label, 1, ties="shared").item() == pytest.approx(0.001)
    assert top_k_correct(uniform, label, 5, ties="shared").item() == pytest.approx(0.005)
    assert cross_entropy(uniform, label).item() == pytest.approx(6.907755, abs=1e-6)


def test_tied_classes_share_the_places_that_are_left():
    # One class is ahead, three share places 2 to 4: two places left for three at k = 3.
    answer = np.array([[0.4, 0.2, 0.2, 0.2]])
    assert top_k_correct(answer, np.array([2]), 3, ties="shared").item() == pytest.approx(2 / 3)
    assert top_k_correct(answer, np.array([2]), 1, ties="shared").item() == 0


def test_without_sharing_the_lower_index_comes_first():
    answer = np.array([[0.4, 0.2, 0.2, 0.2]] * 4)
    assert top_k_correct(answer, np.arange(4), 2).tolist() == [1, 1, 0, 0]


def test_top_5_counts_the_five_most_probable():
    answer = np.array([[0.3, 0.25, 0.2, 0.12, 0.08, 0.05]] * 6)
    assert top_k_correct(answer, np.arange(6), 1).tolist() == [1, 0, 0, 0, 0, 0]
    assert top_k_correct(answer, np.arange(6), 5).tolist() == [1, 1, 1, 1, 1, 0]


def test_the_loss_of_two_views_is_that_of_their_mean_probability():
    average = np.array([[0.9, 0.1], [0.2, 0.8]]).mean(0, keepdims=True)
    assert average[0] == pytest.approx([0.55, 0.45])
    assert cross_entropy(average, np.array([0])).item() == pytest.approx(-math.log(0.55))


def test_a_probability_of_0_gives_a_large_finite_loss():
    assert 80 < cross_entropy(np.array([[1.0, 0.0]]), np.array([1])).item() < 90
