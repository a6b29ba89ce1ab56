"""A benchmark's rows as multiples of the floor, by peaks that were measured around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench import floor as floors
from bench.floor import Floor, peak_rows, why_invalid
from bench.probe import Peak


def with_floor(run: Callable[[], dict[str, Any]], *, device: str = "cpu") -> dict[str, Any]:
    """The result of a benchmark with `floor_columns`.

    Peaks are measured before it and after it, and the better ones count: while others use the
    machine, or while its clock is low, floors would seem higher than they are, and the multiples
    too good. The result is INVALID where the peaks are.

    Args:
        run: the benchmark.
        device: as in `bench.floor.measure`.

    Raises:
        AlexNetError: as `bench.floor.measure`, or as `run`.
    """
    before = floors.measure(device, seconds=floors.SECONDS)
    result = run()
    found = better(before, floors.measure(device, seconds=floors.SECONDS))
    reasons = [*result["reasons"], *why_invalid(found)]
    rows = floor_columns(result["results"], found, photos=result.get("photos_per_pass"))
    return result | {
        "verdict": "INVALID" if reasons else "VALID",
        "reasons": reasons,
        "floor": {"how": found.how, "exact": found.exact, "peaks": peak_rows(found)},
        "results": rows,
    }


def better(one: Floor, other: Floor) -> Floor:
    """The higher peaks of two measurements of one machine."""

    def best(first: Peak, second: Peak) -> Peak:
        return first if first.best >= second.best else second

    def each(first: Mapping[str, Peak], second: Mapping[str, Peak]) -> dict[str, Peak]:
        return {kind: best(peak, second[kind]) for kind, peak in first.items()}

    return replace(
        one,
        one=each(one.one, other.one),
        all=each(one.all, other.all),
        read_one=best(one.read_one, other.read_one),
        read_all=best(one.read_all, other.read_all),
    )


def floor_columns(
    rows: Sequence[dict[str, Any]], floor: Floor, *, photos: int | None = None
) -> list[dict[str, Any]]:
    """Rows of a benchmark with the floor of one call, and the call as a multiple of it.

    Reads `gmacs` (of a crop), `crops_per_photo`, `infer_batch_size`, the median of `latency_ms`,
    and where they are there `precision` and `threads`; adds `floor_ms` and `times_floor`, which are
    None for dense answers, whose floor depends on the photo's shape, and where no floor is known;
    and `floor_note`, as `Floor.note`.

    Args:
        rows: of the benchmark.
        floor: of the machine.
        photos: photos that each time is of; None: `infer_batch_size` of them.
    """
    added = []
    for row in rows:
        if row["crops_per_photo"] is None:
            added.append(row | {"floor_ms": None, "times_floor": None, "floor_note": None})
            continue
        count = row["infer_batch_size"] if photos is None else photos
        macs = row["gmacs"] * 1e9 * row["crops_per_photo"] * count
        precision, threads = row.get("precision", "fp32"), row.get("threads")
        least = floor.milliseconds(macs, precision, threads=threads)
        times = None if least is None else row["latency_ms"]["p50"] / least
        note = floor.note(precision)
        added.append(row | {"floor_ms": least, "times_floor": times, "floor_note": note})
    return added
