"""A result as a figure that needs no further words: PNG or SVG by the file's ending."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet.errors import AlexNetError
from alexnet.figures import new_figure, save_figure, styled
from bench import panels
from bench.conditions import one_line
from bench.looks import shared

Panel = Callable[[Axes, dict[str, Any]], None]

_WIDTH, _HEIGHT = 9.0, 3.6
_LINE = 150  # characters of the small print in a line
_TITLES = {
    "latency": "Latency of AlexNet",
    "throughput": "Throughput of AlexNet, decoding included",
    "serve": "Latency of the service under load",
    "label": "Labelling photos",
    "train": "Training speed",
    "peers": "AlexNet against its peers",
    "serve-peers": "The service against its peers",
    "floor": "What the machine can do",
}


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw a result into `path`, atomically.

    What is drawn is what the result holds: the distribution of its times, passes, cost against
    batch, throughput against latency, rates, or floors.

    Raises:
        AlexNetError: it holds nothing that could be drawn.
        OSError: the file can't be written.
    """
    chosen = choose(result)
    if not chosen:
        raise AlexNetError(
            f"No plot: this result of {result['benchmark']} has no times or rates to draw."
        )
    with styled():
        save_figure(_figure(result, chosen), path)


def choose(result: dict[str, Any]) -> list[Panel]:
    """The panels that a result has the values for."""
    rows = result["results"]
    timed = any(len(row.get("samples_ms") or ()) > 1 for row in rows)
    batches = len({row.get("infer_batch_size") for row in rows}) > 1
    if any(row.get("rate") is not None for row in rows):
        return [panels.load, panels.distribution] if timed else [panels.load]
    if result["benchmark"] == "throughput":
        return [panels.passes, panels.cost] if batches else [panels.passes]
    if timed:
        more = [panels.cost, panels.tradeoff] if batches else []
        return [panels.distribution, *more]
    if result["benchmark"] == "floor":
        return [panels.floors] if rows else []
    return [panels.rates] if any(panels.rate_of(row) for row in rows) else []


def _figure(result: dict[str, Any], chosen: list[Panel]) -> Figure:
    heights = [panels.height(panel, result, usual=_HEIGHT) for panel in chosen]
    figure = new_figure(_WIDTH, sum(heights) + 1.0)
    axes = figure.subplots(len(chosen), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axis, panel in zip(axes[:, 0], chosen, strict=True):
        panel(axis, result)
    title = _TITLES.get(result["benchmark"], result["benchmark"])
    if result.get("scenario"):
        title += f", {result['scenario']}"
    if result["verdict"] != "VALID":
        title += f" ({result['verdict']}: see below)"
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    figure.supxlabel(_small_print(result), x=0.01, ha="left", fontsize=7.5, color="0.35")
    return figure


def _small_print(result: dict[str, Any]) -> str:
    parts = [shared(result["results"])]
    if "rounds" in result:
        parts.append(
            f"{result['rounds']} interleaved rounds, "
            + ("each model in a process of its own" if result.get("isolated") else "one process")
        )
    verdict = " ".join([f"{result['verdict']}.", *result["reasons"]])
    lines = ["; ".join(part for part in parts if part), one_line(result["machine"]), verdict]
    wrapped = [
        textwrap.fill(line, _LINE, max_lines=4, placeholder=" ...") for line in lines if line
    ]
    return "\n".join(wrapped)
