"""What tells the rows of a table apart: a column each where they differ, words above where not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

_LABELS = {
    "model": "model",
    "target": "target",
    "precision": "precision",
    "backend": "backend",
    "views": "views",
    "infer_batch_size": "batch",
    "threads": "threads",
    "streams": "streams",
}
_ALWAYS = ("model", "backend")
_NAMELESS = ("backend", "precision")  # `fp32` says what it is, `1` does not
# What goes without saying.
_PLAIN: dict[str, tuple[object, ...]] = {"streams": (None, 1)}


class Identity:
    """The columns that name the rows of `results`."""

    KEYS = _LABELS.keys()
    """What every row has to say of itself."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self._keys = [
            key for key in _LABELS if key in _ALWAYS or len({str(row[key]) for row in rows}) > 1
        ]
        self.columns = [_LABELS[key] for key in self._keys]
        shared = [
            _words(key, rows[0][key])
            for key in _LABELS
            if key not in self._keys and rows[0][key] not in _PLAIN.get(key, (None,))
        ]
        self.shared = ", ".join(shared)
        """What all have in common: `ten views, batch 1`."""

    def cells(self, row: dict[str, Any]) -> list[object]:
        """A row's part in the columns."""
        return ["-" if row[key] is None else row[key] for key in self._keys]


def _words(key: str, value: object) -> str:
    if key == "views":
        return {"ten": "ten views", "centre": "centre view"}.get(str(value), "dense answers")
    if key in _NAMELESS:
        return str(value)
    return f"{_LABELS[key]} {value}"


def milliseconds(value: float | None) -> str:
    """Two decimals; what is not known is a dash."""
    return "-" if value is None else f"{value:.2f}"


def ratio_cells(row: dict[str, Any]) -> tuple[str, str]:
    """`x eager` and its interval."""
    ratio = row["ratio"]
    if ratio is None:
        return "-", "-"
    interval = "baseline" if row["baseline"] else f"{ratio['low']:.2f}..{ratio['high']:.2f}"
    return f"{ratio['value']:.2f}", interval


RATIO_COLUMNS = ("x eager", "95% interval")
RATIO_NOTE = (
    "x eager: median of PyTorch eager (same network, views, threads and batch) over median of the "
    "row, with a bootstrap interval over whole rounds."
)


def distinct(names: Sequence[str]) -> list[str]:
    """The names, with a number behind those that were there before: `a`, `b`, `a (2)`."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found
