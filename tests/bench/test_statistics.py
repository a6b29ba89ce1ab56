"""Percentiles, spread and ratios, against numbers worked by hand."""

import numpy as np
import pytest

from bench.statistics import percentile, ratio, summarise, supports, unpaired_ratio


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


def test_a_ratio_is_of_medians():
    assert ratio([20.0, 40.0, 10.0], [10.0, 10.0, 5.0]).value == 2
    assert unpaired_ratio([20.0, 40.0, 10.0], [10.0, 5.0]).value == pytest.approx(20 / 7.5)


def test_a_slow_moment_that_hits_both_moves_no_ratio():
    found = ratio([2.0, 200.0, 2.0], [1.0, 100.0, 1.0])
    assert (found.value, found.low, found.high) == (2, 2, 2)


def test_an_interval_of_equal_values_has_no_width():
    found = unpaired_ratio([6.0] * 30, [4.0] * 40)
    assert (found.value, found.low, found.high) == (1.5, 1.5, 1.5)


def test_an_interval_is_the_bootstraps_of_scipy_where_values_do_not_hang_together():
    bootstrap = pytest.importorskip("scipy.stats", reason="the oracle").bootstrap
    random = np.random.default_rng(1)
    one, other = 20 + random.gamma(2, 2, size=300), 10 + random.gamma(2, 1, size=300)

    def of_medians(a, b, axis):
        return np.median(a, axis=axis) / np.median(b, axis=axis)

    theirs = bootstrap(
        (one, other), of_medians, method="percentile", n_resamples=4000, random_state=2
    ).confidence_interval
    ours = unpaired_ratio(one.tolist(), other.tolist())
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.25 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.25 * width)
    assert ours.low < ours.value < ours.high


def test_times_that_hang_together_make_an_interval_wider():
    # The same values, once in runs of ten slow and ten fast calls, once well mixed.
    noise = np.random.default_rng(3).normal(0, 0.1, size=200)
    values = np.where(np.arange(200) // 10 % 2, 12.0, 10.0) + noise
    mixed = np.random.default_rng(4).permutation(values)
    steady = [10.0] * 200
    runs, singles = unpaired_ratio(values, steady), unpaired_ratio(mixed, steady)
    assert runs.value == singles.value
    assert runs.high - runs.low > singles.high - singles.low


def test_the_same_samples_give_the_same_interval():
    sample = np.random.default_rng(5).normal(10, 1, size=50).tolist()
    assert ratio(sample, sample[::-1]) == ratio(sample, sample[::-1])


def test_samples_of_different_rounds_are_not_compared():
    with pytest.raises(ValueError, match="2 rounds can't be paired with 1"):
        ratio([1.0, 2.0], [1.0])
