"""The panels of a figure: each draws one view of a result into one pair of axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from alexnet.figures import COLOURS
from bench.looks import labels, look, looks, name_rows, scale, series, short

_BESIDE = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.02), "borderaxespad": 0.0}
_ROW = 0.34
"""Inches of a row of a panel that has a line for each."""


def height(panel: Callable[..., None], result: dict[str, Any], *, usual: float) -> float:
    """Inches that a panel needs."""
    count = len(result["results"])
    if panel in (passes, rates, floors):
        return 0.9 + _ROW * count
    return max(usual, 0.8 + 0.19 * 2 * count) if panel is distribution else usual


def distribution(axes: Axes, result: dict[str, Any]) -> None:
    """How many of the calls took no longer than so long, a line for each row."""
    rows = [row for row in result["results"] if row.get("samples_ms")]
    everything = np.concatenate([row["samples_ms"] for row in rows])
    for row, label, (colour, line) in zip(rows, labels(rows), looks(rows), strict=True):
        times = np.sort(row["samples_ms"])
        share = 100 * np.arange(1, len(times) + 1) / len(times)
        summary = row["latency_ms"]
        tail = "" if summary["p99"] is None else f", p99 {short(summary['p99'])}"
        axes.step(
            np.concatenate([times[:1], times]),
            np.concatenate([[0.0], share]),
            where="post",
            color=colour,
            linestyle=line,
            label=f"{label}\nmedian {short(summary['p50'])}{tail} ms",
        )
        axes.plot([summary["p50"]], [50], "o", color=colour, markersize=4)
    axes.set_title("How long calls took")
    axes.set_xlabel(_per_call(result))
    axes.set_ylabel("share of calls that took\nno longer, %")
    axes.set_ylim(0, 102)
    scale(axes, "x", everything)
    axes.legend(**_BESIDE)


def cost(axes: Axes, result: dict[str, Any]) -> None:
    """Milliseconds per photo against the photos of a call, with quartiles."""
    for number, (label, rows) in enumerate(series(result["results"])):
        photos = [_photos(result, row) for row in rows]
        batches = [row["infer_batch_size"] for row in rows]
        times = [row["latency_ms"] for row in rows]
        middle = np.array([t["p50"] / n for t, n in zip(times, photos, strict=True)])
        low = np.array([t["p25"] / n for t, n in zip(times, photos, strict=True)])
        high = np.array([t["p75"] / n for t, n in zip(times, photos, strict=True)])
        colour, line = look(number)
        axes.errorbar(
            batches,
            middle,
            yerr=[middle - low, high - middle],
            marker="o",
            markersize=4,
            capsize=3,
            color=colour,
            linestyle=line,
            label=label,
        )
    sizes = sorted({row["infer_batch_size"] for row in result["results"]})
    axes.set_xscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(LogLocator(subs=()))
    axes.set_ylim(bottom=0)
    axes.set_title("What a photo costs by the size of the batch")
    axes.set_xlabel("photos given to the network at once")
    axes.set_ylabel("ms per photo\n(median, quartiles)")
    axes.legend(**_BESIDE)


def tradeoff(axes: Axes, result: dict[str, Any]) -> None:
    """The time of a call against photos a second, a point for each batch size."""
    for number, (label, rows) in enumerate(series(result["results"])):
        rates = [1000 * _photos(result, row) / row["latency_ms"]["p50"] for row in rows]
        times = [row["latency_ms"]["p50"] for row in rows]
        colour, line = look(number)
        axes.plot(rates, times, marker="o", markersize=4, color=colour, linestyle=line, label=label)
        for row, rate, time in zip(rows, rates, times, strict=True):
            axes.annotate(
                f"{row['infer_batch_size']}",
                (rate, time),
                textcoords="offset points",
                xytext=(5, 3),
                fontsize=8,
                color=colour,
            )
    medians = [row["latency_ms"]["p50"] for row in result["results"]]
    scale(axes, "y", medians)
    axes.set_xlim(left=0)
    axes.set_title("Throughput against latency (numbers: photos per call)")
    axes.set_xlabel("photos a second")
    axes.set_ylabel(_per_call(result).replace(", ", ",\n") + ", median")
    axes.legend(**_BESIDE)


def passes(axes: Axes, result: dict[str, Any]) -> None:
    """Photos a second of every pass, a line for each row."""
    rows = result["results"]
    for place, (row, (colour, _)) in enumerate(zip(rows, looks(rows), strict=True)):
        rates = 1000 * result["photos_per_pass"] / np.array(row["samples_ms"])
        axes.plot(rates, [place] * len(rates), "o", color=colour, alpha=0.35, markersize=5)
        middle = row["infer_samples_per_sec"]
        axes.plot([middle], [place], "|", color=colour, markersize=18, markeredgewidth=2.5)
        words = f" {short(middle)}"
        if row["ratio"] is not None and not row["baseline"]:
            words += f"  ({row['ratio']['value']:.2f} x eager)"
        axes.annotate(
            words, (max(rates), place), textcoords="offset points", xytext=(8, -3), fontsize=9
        )
    name_rows(axes, labels(rows))
    axes.set_title("Photos a second (dots: passes; bars: medians)")
    axes.set_xlabel(f"photos a second, passes of {result['photos_per_pass']} photos")


def rates(axes: Axes, result: dict[str, Any]) -> None:
    """Photos a second of each row, as bars."""
    _bars(axes, {row["name"]: rate_of(row) or 0.0 for row in result["results"] if rate_of(row)})
    axes.set_title("Photos a second")
    axes.set_xlabel("photos a second")


def floors(axes: Axes, result: dict[str, Any]) -> None:
    """The least time of each network, as bars."""
    known = [row for row in result["results"] if row["floor_ms"] is not None]
    _bars(axes, {row["name"]: row["floor_ms"] for row in known})
    axes.set_title("The floor: multiply-adds of all crops at the machine's peak")
    axes.set_xlabel("ms of one photo, all cores")


def _bars(axes: Axes, values: dict[str, float]) -> None:
    axes.barh(range(len(values)), list(values.values()), color=COLOURS[0], height=0.6)
    for place, value in enumerate(values.values()):
        axes.annotate(
            f" {short(value)}", (value, place), textcoords="offset points", xytext=(2, -3)
        )
    name_rows(axes, list(values))


def load(axes: Axes, result: dict[str, Any]) -> None:
    """Percentiles of the latency against the photos that were answered in a second."""
    rows = [row for row in result["results"] if row.get("latency_ms")]
    rows.sort(key=lambda row: row["infer_samples_per_sec"])
    shown: list[float] = []
    for number, name in enumerate(("p50", "p95", "p99", "p99_9")):
        points = [row for row in rows if row["latency_ms"][name] is not None]
        if not points:
            continue
        times = [row["latency_ms"][name] for row in points]
        shown += times
        colour, line = look(number)
        rate = [row["infer_samples_per_sec"] for row in points]
        label = "median" if name == "p50" else name.replace("_", ".")
        axes.plot(rate, times, "o", linestyle=line, color=colour, markersize=4, label=label)
    if result.get("bound_ms"):
        shown.append(result["bound_ms"])
        axes.axhline(result["bound_ms"], color="0.4", linewidth=1, linestyle="--")
        axes.annotate(
            f"bound {result['bound_ms']:g} ms",
            (0, result["bound_ms"]),
            textcoords="offset points",
            xytext=(4, 3),
            fontsize=8,
            color="0.4",
        )
    if result.get("knee_per_sec"):
        axes.axvline(result["knee_per_sec"], color="0.4", linewidth=1, linestyle=":", label="knee")
    axes.set_xlim(left=0)
    scale(axes, "y", shown)
    axes.set_title("Throughput against latency")
    axes.set_xlabel("answers a second")
    axes.set_ylabel("ms from the moment at which\na request was due to its answer")
    axes.legend(**_BESIDE)


def rate_of(row: dict[str, Any]) -> float | None:
    """Photos a second of any kind of row; None where it has no such value."""
    for key, value in row.items():
        if key.endswith("_samples_per_sec") and isinstance(value, int | float):
            return float(value)
    return None


def _photos(result: dict[str, Any], row: dict[str, Any]) -> int:
    """Photos that a time of the row is of."""
    return int(result.get("photos_per_pass") or row["infer_batch_size"])


def _per_call(result: dict[str, Any]) -> str:
    if result["benchmark"] == "serve":
        return "ms from the moment at which a request was due to its answer"
    if result["benchmark"] != "latency":
        return "ms"
    return {
        None: "ms of one call of the network, photos decoded already",
        "single-stream": "ms from the bytes of a photo to its answer",
        "multi-stream": "ms from the bytes of a batch of photos to their answers",
    }[result.get("scenario")]
