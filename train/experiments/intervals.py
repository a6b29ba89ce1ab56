"""What a few measurements say of their mean, by Student's t."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean, and how far it may be from the true one."""

    mean: float
    half: float | None
    """Half of the confidence interval's width; None: one value alone says nothing of that."""

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval lies on that side of 0, else 0."""
        if self.half is None or abs(self.mean) <= self.half:
            return 0
        return 1 if self.mean > 0 else -1

    def holds(self, value: float) -> bool:
        """Whether `value` lies in the interval."""
        return self.half is not None and abs(value - self.mean) <= self.half


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of measurements that are independent and normal, with its 95 % interval."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Estimate(mean=mean, half=None)
    error = statistics.stdev(values) / math.sqrt(len(values))
    return Estimate(mean=mean, half=student_t(len(values) - 1) * error)


def student_t(freedom: int, *, confidence: float = CONFIDENCE) -> float:
    """The t between whose negative and itself lies `confidence` of Student's distribution."""
    low, high = 0.0, 1.0
    while _within(high, freedom) < confidence:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < confidence else (low, middle)
    return high


def binomial_half(share: float, count: int) -> float:
    """Half of the 95 % interval of a share of `count` independent cases (normal approximation)."""
    return statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(
        share * (1 - share) / count
    )


def _within(t: float, freedom: int) -> float:
    """Student's probability from -t to t, a finite sum [Abramowitz and Stegun 26.7.3, 26.7.4]."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, odd = math.cos(angle), freedom % 2
    term = cosine if odd else 1.0
    total = 0.0
    for number in range(1 + odd, freedom, 2):  # cos, 2/3 cos^3, ... or 1, 1/2 cos^2, ...
        total += term
        term *= number / (number + 1) * cosine**2
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total
