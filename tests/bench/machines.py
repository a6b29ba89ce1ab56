"""Machines whose peaks are known."""

from bench.floor import Floor
from bench.probe import Peak


def a_peak(best, *, near=9, runs=10):
    return Peak(best=best, median=best / 2, runs=runs, near=near)


def made(**changes):
    """A machine of 286 and 549 GFLOP/s with one core, and twice that with both."""
    fields = {
        "device": "cpu",
        "cores": 2,
        "how": "made",
        "exact": True,
        "one": {"fp32": a_peak(143e9), "bf16": a_peak(274e9)},
        "all": {"fp32": a_peak(286e9), "bf16": a_peak(566e9)},
        "read_one": a_peak(45e9),
        "read_all": a_peak(52e9),
    }
    return Floor(**fields | changes)
