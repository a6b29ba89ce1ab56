"""Rows as CSV: timm's columns first, by its names and in its order, then all others."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

TIMM = (
    "model",
    "infer_img_size",
    "infer_samples_per_sec",
    "infer_step_time",
    "infer_batch_size",
    "param_count",
    "infer_gmacs",
    "infer_macts",
)
"""Columns of the tables `benchmark-infer-*.csv` in timm's folder `results/`."""
_OURS = {"gmacs": "infer_gmacs"}


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as CSV with a header; what is nested is `outer_inner`, what is unknown is empty.

    Single times (`samples_ms`) stay in the JSON. A table of several kinds of rows has the columns
    of all.
    """
    flat = [_flat(row) for row in rows]
    named = dict.fromkeys(key for row in flat for key in row)
    columns = [name for name in TIMM if name in named]
    columns += [name for name in named if name not in columns]
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return file.getvalue()


def _flat(row: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for key, value in row.items():
        if key == "samples_ms" or isinstance(value, list):
            continue
        if isinstance(value, dict):
            cells |= _flat(value, f"{prefix}{key}_")
        else:
            known = not isinstance(value, float) or math.isfinite(value)
            cells[_OURS.get(key, prefix + key)] = value if known else None
    return cells
