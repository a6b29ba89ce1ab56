"""What `alexnet-train evaluate` prints: a table, and the result as JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alexnet.backends.base import ArtifactInfo
from alexnet.console import print_table
from alexnet.labels import Label
from alexnet.machine import versions
from train.averaging import SEED, Averaged
from train.corruptions import SEVERITIES
from train.evaluate import Evaluation
from train.robustness import Robustness

Result = dict[str, Any]

_FIGURES = ("photos", "top-1 error %", "top-5 error %", "loss")


def report_one(
    result: Evaluation, info: ArtifactInfo, *, labels: Sequence[Label], photos: str
) -> tuple[Result, Result]:
    """Print a row for each class and one for all; the summary, and what a file gets besides.

    `photos`: which they are, for the table's title.
    """
    rows = result.per_class(labels)
    summary = {"artifact": str(info.path), "views": info.views, **result.summary()}
    print_table(
        f"{info.path}: {info.views} view(s), {photos}",
        ("class", "name", *_FIGURES),
        [(row["label"], row["name"], *_cells(row)) for row in rows]
        + [("all", "", *_cells(summary))],
    )
    return summary, {"classes": rows}


def report_average(
    result: Averaged, infos: Sequence[ArtifactInfo], *, labels: Sequence[Label], photos: str
) -> tuple[Result, Result]:
    """Print a row for each model and one for their average; the same as JSON values.

    The summary's own figures are the average's.
    """
    models = [
        {"artifact": str(info.path), "views": info.views, "weight": round(weight, 6)}
        | found.summary()
        for info, weight, found in zip(infos, result.weights, result.alone, strict=True)
    ]
    summary: Result = {"models": models, **result.average.summary()}
    rows = [(m["artifact"], m["views"], f"{m['weight']:.3f}", *_cells(m)) for m in models]
    title, words = f"Average of {len(models)} models: {photos}", "average"
    if result.equal is not None:
        title += (
            f"; weights tuned for top-5 error on {result.tuned_on:,} of them, held out, and "
            f"errors of the other {result.average.photos:,}"
        )
        equal, words = result.equal.summary(), "average, tuned weights"
        summary |= {"tuned_on": result.tuned_on, "tuning_seed": SEED, "equal_weights": equal}
        rows.append(("average, equal weights", "", "", *_cells(equal)))
    rows.append((words, "", "", *_cells(summary)))
    print_table(title, ("model", "views", "weight", *_FIGURES), rows)
    return summary, {"classes": result.average.per_class(labels)}


def report_corrupted(
    result: Robustness, info: ArtifactInfo, *, labels: Sequence[Label], photos: str
) -> tuple[Result, Result]:
    """Print top-1 errors by corruption and severity; the same as JSON values."""
    summary: Result = {"artifact": str(info.path), "views": info.views, **result.summary()}
    summary["chance_top1_error"] = round(1 - 1 / len(labels), 6)
    none = [""] * SEVERITIES
    print_table(
        f"{info.path}: {info.views} view(s), {photos}, spoilt",
        ("top-1 error %", *map(str, range(1, SEVERITIES + 1)), "mean"),
        [
            ("clean", *none, _percent(summary["top1_error"])),
            *(
                (name, *map(_percent, row["top1_error"]), _percent(row["mean_top1_error"]))
                for name, row in summary["corruptions"].items()
            ),
            ("mean", *none, _percent(summary["mean_top1_error"])),
        ],
    )
    return summary, {
        "classes": result.clean.per_class(labels),
        "versions": versions("torch", "onnxruntime", "numpy", "pillow"),
    }


def _cells(figures: Result) -> tuple[object, ...]:
    errors = (_percent(figures[key]) for key in ("top1_error", "top5_error"))
    return (figures["photos"], *errors, f"{figures['loss']:.4f}")


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"
