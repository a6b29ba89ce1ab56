"""A result against one of before, row by row."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import click

from alexnet.console import print_table
from alexnet.errors import AlexNetError
from bench.columns import milliseconds
from bench.statistics import Ratio, unpaired_ratio

_MACHINE = {"cpu": "processor", "cores": "number of cores", "gpu": "GPU"}
_SETTINGS = {
    "scenario": "scenario",
    "device": "device",
    "isolated": "--isolate",
    "pause_ms": "--pause",
    "photos": "photos",
    "photos_per_pass": "--files",
    "fast": "--fast",
    "bound_ms": "--bound",
}


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A row that both results have."""

    name: str
    before_ms: float | None
    """Median, or the one value that there is; None where rows hold rates alone."""
    now_ms: float | None
    ratio: Ratio | None
    """How many times as fast as before; its ends are its value where single times are not known.
    0 where nothing is answered any more."""
    known: bool
    """Whether the ratio has an interval."""
    of_ratios: float | None
    """The same of how many times as fast as its baseline the row was, which holds better where the
    machine is in another mood; None for baselines and rows without one."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What became of the rows."""

    rows: list[Compared]
    notes: list[str] = field(default_factory=list)
    """Sentences about what can't be compared, or only with care."""
    slower: list[str] = field(default_factory=list)
    """Rows past the threshold, with by how much."""


def read_result(path: Path) -> dict[str, Any]:
    """A file that `--json` wrote.

    Raises:
        AlexNetError: it is missing, or something else.
    """
    try:
        # Files of earlier versions may hold NaN: not known, as null is.
        result = json.loads(path.read_text("utf-8"), parse_constant=lambda _: None)
    except FileNotFoundError as error:
        raise AlexNetError(
            f"There is no {path} to compare with: a run with --json {path} makes it."
        ) from error
    except ValueError as error:
        raise AlexNetError(f"{path} is not JSON, so there is nothing to compare with.") from error
    rows = result.get("results") if isinstance(result, dict) else None
    if (
        not isinstance(rows, list)
        or not isinstance(result.get("benchmark"), str)
        or not isinstance(result.get("machine"), dict)
        or not all(isinstance(row, dict) and isinstance(row.get("name"), str) for row in rows)
    ):
        raise AlexNetError(
            f"{path} is not a result of alexnet-bench: compare with a file that --json wrote."
        )
    return cast(dict[str, Any], result)


def compare(before: dict[str, Any], now: dict[str, Any], *, threshold: float) -> Comparison:
    """Compare the rows of the same names.

    Args:
        before, now: results.
        threshold: percent of the time of before. A row is slower where even the favourable end of
            its interval is past it, and where it has no interval, the value itself.

    Raises:
        AlexNetError: they are of different benchmarks.
    """
    if before["benchmark"] != now["benchmark"]:
        raise AlexNetError(
            f"The file to compare with is of `{before['benchmark']}`, and this is "
            f"`{now['benchmark']}`."
        )
    old = {row["name"]: row for row in before["results"]}
    rows = [_compared(old[row["name"]], row) for row in now["results"] if row["name"] in old]
    names = [row["name"] for row in now["results"]]
    notes = _notes(before, now)
    notes += [f"New, without a row of before: {name}." for name in names if name not in old]
    notes += [f"Not measured now, but before: {name}." for name in old if name not in names]
    if not rows:
        notes.append("No row of before was measured again, so nothing is compared.")
    if any(row.ratio is not None and not row.known for row in rows):
        notes.append(
            f"Rows without an interval, of which single times are not known, are judged by their "
            f"values alone: {', '.join(row.name for row in rows if row.ratio and not row.known)}."
        )
    slower = [_slower(row) for row in rows if row.ratio is not None and _past(row.ratio, threshold)]
    return Comparison(rows=rows, notes=notes, slower=slower + _lost_knee(before, now))


def _past(ratio: Ratio, threshold: float) -> bool:
    return ratio.high == 0 or 100 / ratio.high - 100 > threshold


def _slower(row: Compared) -> str:
    assert row.ratio is not None
    if row.ratio.value == 0:
        return f"{row.name} answers nothing any more"
    by = "" if row.known else ", by its value alone"
    return f"{row.name} takes {_percent(row.ratio).removeprefix('+')} more time{by}"


def _lost_knee(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """A ramp that finds no load that holds has no row that could be slower."""
    was, ramp = before.get("knee_per_sec"), now.get("bound_ms") is not None
    if not was or not ramp or now.get("knee_per_sec"):
        return []
    return [f"knee: no load holds any more, and {was:g}/s did"]


def _compared(old: dict[str, Any], new: dict[str, Any]) -> Compared:
    was, now = old.get("samples_ms"), new.get("samples_ms")
    ratio, known = None, False
    if was and now:
        # One time says nothing of how far times lie apart.
        ratio, known = unpaired_ratio(was, now), min(len(was), len(now)) > 1
    else:
        value = _how_fast(old, new)
        if value is not None:
            ratio = Ratio(value=value, low=value, high=value)
    return Compared(
        name=new["name"],
        before_ms=_milliseconds(old),
        now_ms=_milliseconds(new),
        ratio=ratio,
        known=known,
        of_ratios=_of_ratios(old, new),
    )


def _of_ratios(old: dict[str, Any], new: dict[str, Any]) -> float | None:
    was, now = old.get("ratio"), new.get("ratio")
    if not was or not now or new.get("baseline"):
        return None
    return float(now["value"]) / float(was["value"])


def _how_fast(old: dict[str, Any], new: dict[str, Any]) -> float | None:
    """How many times as fast as before, by rates, or by the one time that there is."""
    rates = _rate(old), _rate(new)
    if rates[0] and rates[1] is not None:
        return rates[1] / rates[0]
    times = _milliseconds(old), _milliseconds(new)
    return times[0] / times[1] if times[0] and times[1] else None


def _milliseconds(row: dict[str, Any]) -> float | None:
    """The median; of a floor, which is no sample, itself."""
    found = (row.get("latency_ms") or {"p50": row.get("floor_ms")})["p50"]
    return None if found is None else float(found)


def _rate(row: dict[str, Any]) -> float | None:
    for key, value in row.items():
        if key.endswith("_samples_per_sec") and isinstance(value, int | float):
            return float(value)
    return None


def _notes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    notes = []
    machines = before["machine"], now["machine"]
    other = [
        words for key, words in _MACHINE.items() if machines[0].get(key) != machines[1].get(key)
    ]
    if other:
        notes.append(
            f"Another machine ({', '.join(other)}): the ratios are of machines as much as of code."
        )
    versions = [machine.get("versions") or {} for machine in machines]
    for name in sorted(versions[0].keys() | versions[1].keys()):
        if versions[0].get(name) != versions[1].get(name):
            notes.append(
                f"Another version of {name}: {versions[0].get(name, 'none')} before, "
                f"{versions[1].get(name, 'none')} now."
            )
    for key, words in _SETTINGS.items():
        if before.get(key) != now.get(key):
            notes.append(f"Measured with another {words} before.")
    if before.get("verdict") == "INVALID":
        notes.append("The measurement of before was INVALID.")
    return notes


def print_comparison(comparison: Comparison) -> None:
    """Print the table and the notes on stdout."""
    if comparison.rows:
        print_table(
            "Against before",
            ["row", "before, ms", "now, ms", "x before", "95% interval", "time", "by its ratio"],
            [
                [
                    row.name,
                    milliseconds(row.before_ms),
                    milliseconds(row.now_ms),
                    "-" if row.ratio is None else f"{row.ratio.value:.3f}",
                    f"{row.ratio.low:.3f}..{row.ratio.high:.3f}"
                    if row.ratio is not None and row.known
                    else "-",
                    "-" if row.ratio is None else _percent(row.ratio),
                    "-" if row.of_ratios is None else f"{row.of_ratios:.3f}",
                ]
                for row in comparison.rows
            ],
        )
        click.echo(
            "x before: median of before over median of now, above 1 is faster; by its ratio: x "
            "baseline of now over x baseline of before. Two runs differ by more than their "
            "intervals where the machine is in another mood: baselines show by how much."
        )
    for note in comparison.notes:
        click.echo(note)


def _percent(ratio: Ratio) -> str:
    if ratio.value == 0:
        return "-"
    return f"{100 / ratio.value - 100:+.1f}%"
