"""Whether a measurement can be relied on: what else the machine did, and how even the times are."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psutil  # type: ignore[import-untyped]

from alexnet.machine import cores
from bench.statistics import summarise, unpaired_ratio

FEWEST_CALLS = 20
"""A median of fewer calls is not worth comparing."""
WIDEST_SPREAD = 0.2
"""Interquartile range over median from which calls are too uneven to compare."""
FARTHEST_DRIFT = 0.1
"""Change of the median from the first half of a run to the second."""
MOST_FOR_OTHERS = 0.05
"""Share of the processor time of this process's cores that other programs may take."""
MOST_STOLEN = 0.02
"""Share that the host may give to its other guests."""
LOWEST_CLOCK = 0.9
"""Clock frequency at the end of a run over the one at its start."""
# Seconds of others' work that are noise: the kernel counts in hundredths.
_SHORTEST = 0.1


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the machine did besides the measurement; None is not known."""

    seconds: float
    others: float | None = None
    """Share of the cores' time that other programs took, 0-1."""
    stolen: float | None = None
    """Share that the host of a virtual machine gave to other guests."""
    clock_mhz: tuple[float, float] | None = None
    """Mean clock frequency at the start and at the end, in MHz."""


class Observer:
    """Watches the machine while its block runs; costs nothing in between."""

    def __enter__(self) -> Self:
        self._before = self._now()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        before, after = self._before, self._now()
        seconds = after.moment - before.moment
        capacity = seconds * cores()
        others = after.busy - before.busy - (after.own - before.own)
        clocks = before.clock, after.clock
        self.seen = Surroundings(
            seconds=seconds,
            others=max(0.0, others) / capacity if after.busy > before.busy else None,
            stolen=(after.stolen - before.stolen) / capacity if after.busy > before.busy else None,
            clock_mhz=None if clocks[0] is None or clocks[1] is None else (clocks[0], clocks[1]),
        )

    def _now(self) -> _Moment:
        return _Moment(time.perf_counter(), *_cores_time(), own_seconds(), _clock_mhz())


@dataclass(frozen=True)
class _Moment:
    moment: float
    busy: float
    stolen: float
    own: float
    clock: float | None


def _cores_time() -> tuple[float, float]:
    """Seconds that this process's cores have worked for anybody here, and for other guests."""
    times = psutil.cpu_times(percpu=True)
    if hasattr(os, "sched_getaffinity"):
        times = [times[core] for core in os.sched_getaffinity(0) if core < len(times)]
    parts = ("user", "nice", "system", "irq", "softirq")
    busy = sum(getattr(one, part, 0.0) for one in times for part in parts)
    return busy, sum(getattr(one, "steal", 0.0) for one in times)


def own_seconds() -> float:
    """Seconds that this process and its descendants have worked, ended ones included."""
    top = psutil.Process()
    seconds = 0.0
    for process in (top, *top.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue  # it has ended; from its parent's wait on, it counts there
        seconds += times.user + times.system
        seconds += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return seconds


def _clock_mhz() -> float | None:
    try:
        clock = psutil.cpu_freq()
    except (OSError, NotImplementedError, AttributeError):
        return None
    return float(clock.current) if clock is not None and clock.current else None


def why_disturbed(seen: Surroundings) -> list[str]:
    """Sentences about a machine that did other things during the measurement."""
    reasons = []
    others = seen.others or 0.0
    if others > MOST_FOR_OTHERS and others * seen.seconds * cores() > _SHORTEST:
        reasons.append(
            f"Other load: other programs took {others:.0%} of the time of the {cores()} cores, "
            f"more than {MOST_FOR_OTHERS:.0%}: end them, or measure later."
        )
    if seen.stolen is not None and seen.stolen > MOST_STOLEN:
        reasons.append(
            f"Other load: the host gave {seen.stolen:.0%} of the time of the cores to its other "
            f"guests, more than {MOST_STOLEN:.0%}: measure later or elsewhere."
        )
    if seen.clock_mhz is not None:
        start, end = seen.clock_mhz
        if end < LOWEST_CLOCK * start:
            reasons.append(
                f"Throttling: the clock fell from {start:.0f} to {end:.0f} MHz: let the machine "
                "cool down, or fix its frequency."
            )
    return reasons


def why_uneven(
    names: Sequence[str],
    samples: Sequence[Sequence[float]],
    *,
    unit: str = "rounds",
    fewest: int = FEWEST_CALLS,
) -> list[str]:
    """Sentences about too few times, times that lie too far apart, and times that drift.

    Args:
        names: of what was measured.
        samples: its times, in the order in which they were taken, at least one each.
        unit: what a time is of.
        fewest: times that are enough.
    """
    found = min(len(sample) for sample in samples)
    reasons = []
    if found < fewest:
        reasons.append(
            f"Too few samples: a comparison needs {fewest} {unit}, not {found}: "
            "give --count or a longer --duration."
        )
    spreads = {n: summarise(s).spread for n, s in zip(names, samples, strict=True)}
    wide = [f"{name} by {spread:.0%}" for name, spread in spreads.items() if spread > WIDEST_SPREAD]
    if wide:
        reasons.append(
            f"Uneven: {unit} lie apart by more than {WIDEST_SPREAD:.0%} of their median "
            f"(interquartile range): {'; '.join(wide)}: measure longer or on a quieter machine."
        )
    if found >= fewest:
        changes = {name: drift(sample) for name, sample in zip(names, samples, strict=True)}
        far = [f"{n} by {c:+.0%}" for n, c in changes.items() if abs(c) > FARTHEST_DRIFT]
        if far:
            reasons.append(
                f"Drift: times changed by more than {FARTHEST_DRIFT:.0%} from the first half of "
                f"the run to the second: {'; '.join(far)}: the machine throttles, or something "
                "else began or ended."
            )
    return reasons


def drift(sample: Sequence[float]) -> float:
    """Change of the median from the first half of a sample to the second; 0 where chance does it.

    The change nearest to none that lies in its 95 % confidence interval: +0.1 is a tenth slower.
    """
    half = len(sample) // 2
    first, second = sample[:half], sample[len(sample) - half :]
    if statistics.median(first) == statistics.median(second):
        return 0.0
    change = unpaired_ratio(second, first)
    nearest = min(max(1.0, change.low), change.high)
    return nearest - 1
