"""From timed calls to numbers: percentiles that the sample supports, spread, ratios."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Of a bootstrap; with so many, the ends of an interval hardly depend on the seed.
_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A sample of durations, all in the sample's unit."""

    count: int
    mean: float
    variation: float
    """Coefficient of variation: standard deviation (n - 1) over mean; 0 for one value."""
    min: float
    p25: float
    p50: float
    p75: float
    p90: float | None
    """None where the sample is too small to hold a value beyond the percentile; so the next."""
    p95: float | None
    p99: float | None
    p99_9: float | None
    max: float

    @property
    def spread(self) -> float:
        """Interquartile range over median: how far apart ordinary calls lie, without outliers."""
        return (self.p75 - self.p25) / self.p50


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times as fast as the baseline: above 1 is faster."""

    value: float
    """Baseline's median over the variant's median."""
    low: float
    """Lower end of its 95 % confidence interval."""
    high: float
    """Upper end."""


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The percentile of a sorted sample, between two values by their distance (numpy's `linear`).

    0 is the smallest value, 100 the largest, 50 the median.
    """
    assert ordered, "an empty sample has no percentiles"
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def supports(count: int, percent: float) -> bool:
    """Whether at least one of `count` values lies beyond the percentile: p99 needs 100."""
    # In thousandths, exactly: 100 / (100 - 99.9) is 1000.0000000000568 in floating point.
    return count * (1000 - round(percent * 10)) >= 1000


def summarise(sample: Sequence[float]) -> Summary:
    """The summary of a sample of at least one value."""
    ordered = sorted(sample)
    count = len(ordered)
    mean = math.fsum(ordered) / count
    squares = math.fsum((value - mean) ** 2 for value in ordered)
    deviation = math.sqrt(squares / (count - 1)) if count > 1 else 0.0

    def tail(percent: float) -> float | None:
        return percentile(ordered, percent) if supports(count, percent) else None

    return Summary(
        count=count,
        mean=mean,
        variation=deviation / mean,
        min=ordered[0],
        p25=percentile(ordered, 25),
        p50=percentile(ordered, 50),
        p75=percentile(ordered, 75),
        p90=tail(90),
        p95=tail(95),
        p99=tail(99),
        p99_9=tail(99.9),
        max=ordered[-1],
    )


def ratio(baseline: Sequence[float], variant: Sequence[float]) -> Ratio:
    """Compare two samples whose values at the same place were measured in the same round.

    Whole rounds are drawn again, so that a slow moment that hit both moves the interval little.
    """
    if len(baseline) != len(variant):
        raise ValueError(f"{len(baseline)} rounds can't be paired with {len(variant)}")
    rounds = np.array([baseline, variant], dtype=np.float64)
    drawn = _draws(len(baseline), np.random.default_rng(0))
    return _with_interval(baseline, variant, [np.median(rounds[:, draw], axis=1) for draw in drawn])


def unpaired_ratio(baseline: Sequence[float], variant: Sequence[float]) -> Ratio:
    """Compare two samples that were measured apart, so that each is drawn again on its own."""
    first, second = np.asarray(baseline, np.float64), np.asarray(variant, np.float64)
    random = np.random.default_rng(0)
    draws = zip(_draws(len(first), random), _draws(len(second), random), strict=True)
    medians = [(np.median(first[one]), np.median(second[other])) for one, other in draws]
    return _with_interval(baseline, variant, medians)


def _draws(count: int, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Places of `count` values drawn with replacement, in blocks, `_RESAMPLES` times.

    Calls that follow each other are alike: the machine is slow for a while. Blocks of about the
    cube root of `count` keep that in the draws (the moving block bootstrap of Kuensch, 1989, with
    the rate of Hall, Horowitz and Jing, 1995); single calls would give intervals that are too
    narrow.
    """
    length = max(1, round(count ** (1 / 3)))
    blocks = math.ceil(count / length)
    for _ in range(_RESAMPLES):
        starts = random.integers(0, count - length + 1, size=(blocks, 1))
        yield (starts + np.arange(length)).ravel()[:count]


def _with_interval(
    baseline: Sequence[float],
    variant: Sequence[float],
    medians: Iterable[Sequence[float] | NDArray[np.float64]],
) -> Ratio:
    ratios = sorted(float(first / second) for first, second in medians)
    value = percentile(sorted(baseline), 50) / percentile(sorted(variant), 50)
    # A bootstrap of few values may miss the value itself, which belongs to its interval.
    low, high = percentile(ratios, 2.5), percentile(ratios, 97.5)
    return Ratio(value=value, low=min(low, value), high=max(high, value))
