"""The search for the highest load that holds, on services whose capacity is known."""

import pytest

from bench.knee import find_knee
from bench.load import Open, arrivals


def searched(limit, *, start, lowest=0.05, highest=10_000):
    """The knee of something that holds up to `limit`, and the rates that were tried."""
    tried = []

    def holds(rate):
        tried.append(rate)
        return rate <= limit

    return find_knee(holds, start=start, lowest=lowest, highest=highest), tried


@pytest.mark.parametrize("limit", [0.3, 7, 99, 1234.5])
@pytest.mark.parametrize("start", [0.1, 20, 5000])
def test_the_knee_is_found_to_five_percent_from_below(limit, start):
    knee, tried = searched(limit, start=start)
    assert limit / 1.05 <= knee <= limit
    assert len(tried) == len(set(tried))
    # At most 17 doublings lie between 0.1 and 5000; a factor of 2 is halved to 5 % in four steps.
    assert len(tried) <= 17 + 5


def test_rates_are_doubled_while_they_hold_and_then_narrowed_down():
    knee, tried = searched(50, start=10)
    assert tried[:4] == [10, 20, 40, 80]
    assert tried[4] == pytest.approx((40 * 80) ** 0.5)
    assert knee == max(rate for rate in tried if rate <= 50)


def test_no_rate_may_hold():
    assert searched(0, start=10, lowest=1) == (None, [10, 5, 2.5, 1.25, 1])


def test_the_highest_rate_may_hold():
    assert searched(1e9, start=10, highest=30) == (30, [10, 20, 30])


def test_the_knee_of_one_worker_is_its_capacity():
    # One worker that takes 10 ms has a capacity of 100 per second. No clock is needed: a request
    # is answered 10 ms after it has come and the one before is done.
    def holds(rate):
        free, latencies = 0.0, []
        for due in arrivals(Open(rate=rate, seconds=10, fewest=100)):
            free = max(free, due) + 0.01
            latencies.append(free - due)
        return sorted(latencies)[int(len(latencies) * 0.99)] <= 0.2

    knee = find_knee(holds, start=3, lowest=0.05, highest=1e5)
    # Ten seconds above the capacity have to make the last ones wait for more than 190 ms.
    assert 90 < knee < 103
