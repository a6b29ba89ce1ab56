"""The knee of a service: the highest load that it still answers within a bound."""

from __future__ import annotations

import math
from collections.abc import Callable

TOLERANCE = 0.05
"""The knee is known once a load that is higher by this share of it does not hold."""


def find_knee(
    holds: Callable[[float], bool],
    *,
    start: float,
    lowest: float,
    highest: float,
    tolerance: float = TOLERANCE,
) -> float | None:
    """The highest rate that held, or None where not even `lowest` does.

    From `start` the rate is doubled while it holds, or halved until it does; then the span between
    the highest rate that held and the lowest that did not is halved, in proportion, until it is
    narrow.

    Args:
        holds: tries a rate. Whatever held once is not tried again.
        start: requests per second to begin with.
        lowest: rates below are not tried.
        highest: nor are rates above; where this one holds, it is the knee.
        tolerance: how much higher, as a share, the lowest rate that did not hold may be.
    """
    held = failed = None
    rate = min(max(start, lowest), highest)
    while held is None or failed is None:
        if holds(rate):
            held = rate
            if rate >= highest:
                return rate
            rate = min(2 * rate, highest)
        else:
            failed = rate
            if rate <= lowest:
                return None
            rate = max(rate / 2, lowest)
    while failed > held * (1 + tolerance):
        rate = math.sqrt(held * failed)
        if holds(rate):
            held = rate
        else:
            failed = rate
    return held
