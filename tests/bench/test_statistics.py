"""Percentiles, spread and ratios, against numbers worked by hand."""

import numpy as np
import pytest

from bench.statistics import percentile, ratio, summarise, supports


def test_a_percentile_lies_between_two_values_by_their_distance():
    ordered = [10.0, 20.0, 40.0, 80.0]
    assert percentile(ordered, 0) == 10
    assert percentile(ordered, 100) == 80
    assert percentile(ordered, 50) == 30  # halfway from 20 to 40
    assert percentile(ordered, 25) == 17.5  # place 0.75: three quarters of the way from 10 to 20
    assert percentile(ordered, 90) == pytest.approx(68)  # place 2.7: 40 + 0.7 * 40
    assert percentile([7.0], 99) == 7


def test_percentiles_are_numpys():
    sample = np.random.default_rng(0).gamma(2.0, size=1234)
    ordered = sorted(sample.tolist())
    for percent in (1, 25, 50, 90, 99, 99.9):
        assert percentile(ordered, percent) == pytest.approx(np.percentile(sample, percent))


@pytest.mark.parametrize(
    ("percent", "needed"), [(50.0, 2), (90.0, 10), (95.0, 20), (99.0, 100), (99.9, 1000)]
)
def test_a_percentile_needs_a_value_beyond_it(percent, needed):
    assert supports(needed, percent)
    assert not supports(needed - 1, percent)


def test_a_summary_holds_the_percentiles_that_its_sample_supports():
    few, many = summarise([1.0] * 19), summarise([1.0] * 1000)
    assert (few.p90, few.p95, few.p99, few.p99_9) == (1, None, None, None)
    assert (many.p90, many.p95, many.p99, many.p99_9) == (1, 1, 1, 1)


def test_a_summary_of_five_values():
    summary = summarise([4.0, 8.0, 2.0, 6.0, 10.0])
    assert (summary.count, summary.min, summary.max) == (5, 2, 10)
    assert (summary.mean, summary.p25, summary.p50, summary.p75) == (6, 4, 6, 8)
    # Squares of -4, -2, 0, 2, 4 sum to 40; over n - 1 = 4 that is 10; its root over the mean of 6.
    assert summary.variation == pytest.approx(10**0.5 / 6)
    assert summary.spread == pytest.approx((8 - 4) / 6)
    assert summary.p90 is None


def test_one_value_has_no_variation():
    assert summarise([3.0]).variation == 0


def test_a_ratio_is_of_medians_and_its_quartiles_are_of_rounds():
    # Round by round 2, 4, 1: medians are 20 and 10, quartiles of (1, 2, 4) are 1.5 and 3.
    found = ratio([20.0, 40.0, 10.0], [10.0, 10.0, 10.0])
    assert (found.value, found.low, found.high) == (2, 1.5, 3)


def test_a_slow_moment_that_hits_both_moves_no_ratio():
    found = ratio([2.0, 200.0, 2.0], [1.0, 100.0, 1.0])
    assert (found.value, found.low, found.high) == (2, 2, 2)


def test_samples_of_different_rounds_are_not_compared():
    with pytest.raises(ValueError, match="shorter"):
        ratio([1.0, 2.0], [1.0])
