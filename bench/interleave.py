"""Timing several calls side by side, so that they share every mood of the machine."""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from alexnet.console import progress

Call = Callable[[], object]


@dataclass(frozen=True)
class Took:
    """What a call returns that was timed elsewhere: in another process, say."""

    seconds: float


def interleave(
    calls: Sequence[Call],
    *,
    count: int | None = None,
    duration: float | None = None,
    warmup: int = 3,
    pause: float = 0.0,
    watch: AbstractContextManager[object] | None = None,
) -> list[list[float]]:
    """Seconds that each call took in each round: `result[call][round]`.

    A round makes every call once, in an order that is shuffled anew (with a fixed seed), so that no
    call always follows the same neighbour. A call is timed here, unless it returns a time (`Took`).

    Args:
        calls: what is timed.
        count: rounds; either this or `duration` is given.
        duration: seconds in which rounds begin, at least one.
        warmup: rounds before, which are not reported.
        pause: seconds before each call.
        watch: is open while it is measured, after the warm-up.
    """
    assert (count is None) != (duration is None), "rounds are counted or timed"
    order = list(range(len(calls)))
    shuffled = random.Random(0)
    times: list[list[float]] = [[] for _ in calls]
    one_round = math.nan
    with progress("Warming up", total=warmup, unit="rounds") as bar:
        for _ in range(warmup):
            began = time.perf_counter()
            for call in calls:
                time.sleep(pause)
                call()
            one_round = time.perf_counter() - began
            bar.advance()
    expected = count
    if duration is not None and warmup:
        expected = max(1, round(duration / one_round))
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # a collection belongs to no call in particular
    try:
        with watch or nullcontext(), progress("Measuring", total=expected, unit="rounds") as bar:
            began = time.perf_counter()
            done = 0
            while done == 0 or (
                done < count
                if count is not None
                else time.perf_counter() - began < (duration or 0.0)
            ):
                shuffled.shuffle(order)
                for place in order:
                    times[place].append(_seconds(calls[place], pause=pause))
                done += 1
                bar.advance()
    finally:
        if collecting:
            gc.enable()
    return times


def _seconds(call: Call, *, pause: float) -> float:
    if pause:
        time.sleep(pause)
    start = time.perf_counter()
    answer = call()
    took = time.perf_counter() - start
    return answer.seconds if isinstance(answer, Took) else took
