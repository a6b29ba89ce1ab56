"""What panels share: names and colours of rows, scales, short numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from alexnet.figures import COLOURS
from bench.columns import Identity, distinct

_LINES = ("-", "--", ":", "-.")
# Largest over smallest value from which an axis is logarithmic.
_LOG_FROM = 6.0


def shared(rows: Sequence[dict[str, Any]]) -> str:
    """What the rows have in common, in words; nothing where they say too little of themselves."""
    return Identity(rows).shared if _described(rows) else ""


def _described(rows: Sequence[dict[str, Any]]) -> bool:
    return all(row.keys() >= Identity.KEYS for row in rows)


def labels(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What tells the rows apart, in few words."""
    if not _described(rows):
        return [str(row["name"]) for row in rows]
    identity = Identity(rows)
    return distinct([_words(identity, row) for row in rows])


def _words(identity: Identity, row: dict[str, Any], *, without: Sequence[str] = ()) -> str:
    parts = []
    for column, cell in zip(identity.columns, identity.cells(row), strict=True):
        if column in without or cell == "-":
            continue
        named = column in ("batch", "threads", "streams")
        parts.append(f"{column} {cell}" if named else str(cell))
    return ", ".join(parts)


def series(rows: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Rows that differ in nothing but the batch, by growing batch."""
    series: dict[str, list[dict[str, Any]]] = {}
    for row, label in zip(rows, _names_of_series(rows), strict=True):
        series.setdefault(label, []).append(row)
    return [
        (label, sorted(found, key=lambda row: int(row["infer_batch_size"])))
        for label, found in series.items()
    ]


def _names_of_series(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Of each row; a model that was measured twice makes two series."""
    if not _described(rows):
        return [str(row["name"]) for row in rows]
    identity = Identity(rows)
    names = [_words(identity, row, without=("batch", "streams")) for row in rows]
    batches = [row["infer_batch_size"] for row in rows]
    found = []
    for place, (name, batch) in enumerate(zip(names, batches, strict=True)):
        before = list(zip(names[:place], batches[:place], strict=True)).count((name, batch))
        found.append(f"{name} ({before + 1})" if before else name)
    return found


def looks(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """A colour for each series, as in the other panels, and a line for each batch size."""
    names = _names_of_series(rows)
    order = list(dict.fromkeys(names))
    batches = sorted({row.get("infer_batch_size") or 0 for row in rows})
    if len(order) > len(COLOURS) or len(batches) > len(_LINES):
        return [look(number) for number in range(len(rows))]
    return [
        (COLOURS[order.index(name)], _LINES[batches.index(row.get("infer_batch_size") or 0)])
        for name, row in zip(names, rows, strict=True)
    ]


def look(number: int) -> tuple[str, str]:
    """Colour and line of the row or series at a place."""
    return COLOURS[number % len(COLOURS)], _LINES[number // len(COLOURS) % len(_LINES)]


def name_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Lines of a panel from top to bottom, and an axis from 0."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(0, 1.3 * axes.get_xlim()[1])  # with room for words behind the values
    axes.grid(visible=False, axis="y")


def scale(axes: Axes, which: str, values: Any) -> None:
    """A logarithmic axis with readable numbers where values lie far apart, else one from 0."""
    low, high = float(np.min(values)), float(np.max(values))
    axis = axes.xaxis if which == "x" else axes.yaxis
    if low > 0 and high / low > _LOG_FROM:
        axes.set(**{f"{which}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    else:
        axes.set(**{f"{which}lim": (0, high * 1.05)})


def short(value: float) -> str:
    """Three significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
