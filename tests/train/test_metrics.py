import numpy as np
import pytest

from alexnet.errors import AlexNetError
from train.evaluate import evaluate
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


@pytest.mark.parametrize("k", [1, 5])
def test_an_untied_winner_earns_1_and_an_untied_loser_0_though_others_are_tied(k):
    # Class 0 is ahead, classes 1 to 6 are tied, class 7 is last.
    answer = np.array([[0.3] + [0.11] * 6 + [0.04]] * 2)
    assert top_k_correct(answer, np.array([0, 7]), k, ties="shared").tolist() == [1.0, 0.0]


def test_without_sharing_the_lower_index_comes_first():
    answer = np.array([[0.4, 0.2, 0.2, 0.2]] * 4)
    assert top_k_correct(answer, np.arange(4), 2).tolist() == [1, 1, 0, 0]


def test_top_5_counts_the_five_most_probable():
    answer = np.array([[0.3, 0.25, 0.2, 0.12, 0.08, 0.05]] * 6)
    assert top_k_correct(answer, np.arange(6), 1).tolist() == [1, 0, 0, 0, 0, 0]
    assert top_k_correct(answer, np.arange(6), 5).tolist() == [1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("ties", ["index", "shared"])
def test_an_answer_that_is_no_number_earns_no_credit_but_an_error(ties):
    answer = np.array([[0.5, 0.5], [np.nan, np.nan]])
    with pytest.raises(AlexNetError, match="weights have diverged"):
        top_k_correct(answer, np.array([0, 0]), 1, ties=ties)


def test_a_probability_of_0_gives_a_large_finite_loss():
    assert 80 < cross_entropy(np.array([[1.0, 0.0]]), np.array([1])).item() < 90


class Answered:
    """Photos of class 0, and whether it comes first, fifth or sixth in their answers."""

    ANSWERS = np.array(
        [
            [0.3, 0.25, 0.2, 0.12, 0.08, 0.05],
            [0.08, 0.3, 0.25, 0.2, 0.12, 0.05],
            [0.05, 0.3, 0.25, 0.2, 0.12, 0.08],
        ]
    )

    def __init__(self, photos, *, not_first, sixth):
        self.rows = np.zeros(photos, np.int64)
        self.rows[:not_first] = 1
        self.rows[:sixth] = 2
        self.labels = np.zeros(photos, np.int64)

    def __len__(self):
        return len(self.rows)

    def photos(self, indices):
        return self.rows[indices]


@pytest.mark.parametrize("ties", ["index", "shared"])
@pytest.mark.parametrize(
    ("photos", "not_first", "sixth", "top1_error", "top5_error"),
    [
        (50_000, 20_332, 9_105, 0.406640, 0.182100),
        (150_000, 56_209, 25_498, 0.374727, 0.169987),
    ],
)
def test_the_published_errors_are_those_of_whole_numbers_of_photos(
    photos, not_first, sixth, top1_error, top5_error, ties
):
    split = Answered(photos, not_first=not_first, sixth=sixth)
    found = evaluate(lambda rows: split.ANSWERS[rows], split, batch=20_000, ties=ties).summary()
    assert (found["top1_error"], found["top5_error"]) == (top1_error, top5_error)
