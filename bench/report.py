"""A latency result for people: two tables, what they were measured on, and whether they count."""

from __future__ import annotations

from typing import Any

import click

from alexnet.console import print_table
from bench.conditions import one_line

_TIMES = ("min", "p50", "p90", "p95", "p99", "p99_9", "max", "mean")


def print_report(result: dict[str, Any]) -> None:
    """Print the result of `bench.latency.latency` on stdout."""
    rows = result["results"]
    # A percentile that no sample supports gets no column.
    times = [name for name in _TIMES if any(r["latency_ms"][name] is not None for r in rows)]
    columns = ["model", "backend", "views", "batch", *(name.replace("_", ".") for name in times)]
    columns += ["cv", "photos/s", "x eager", "quartiles"]
    print_table(
        f"Latency of one call, ms ({result['rounds']} interleaved rounds)",
        columns,
        [
            [
                *_identity(row),
                *(_ms(row["latency_ms"][name]) for name in times),
                f"{row['latency_ms']['variation']:.0%}",
                f"{row['infer_samples_per_sec']:.1f}",
                *_ratio(row),
            ]
            for row in rows
        ],
    )
    print_table(
        "From a file to its answer, median ms per photo",
        ["model", "backend", "views", "batch", "decode", "resize", "run", "total"],
        [
            [
                *_identity(row),
                *(_ms(row["stages_ms_per_photo"][stage]) for stage in ("decode", "resize", "run")),
                _ms(sum(row["stages_ms_per_photo"].values())),
            ]
            for row in rows
        ],
    )
    click.echo(f"Photos: {', '.join(result['photos'])}")
    click.echo(f"Machine: {one_line(result['machine'])}")
    if any(row["ratio"] for row in rows):
        click.echo(
            "x eager: median of PyTorch eager (same network, views and batch) over median of the "
            "row; quartiles: of the ratios within each round."
        )
    click.echo(result["verdict"] + "".join(f"\n  {reason}" for reason in result["reasons"]))


def _identity(row: dict[str, Any]) -> list[object]:
    return [row["model"], row["backend"], row["views"], row["infer_batch_size"]]


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _ratio(row: dict[str, Any]) -> tuple[str, str]:
    ratio = row["ratio"]
    if ratio is None:
        return "-", "-"
    quartiles = "baseline" if row["baseline"] else f"{ratio['low']:.2f}..{ratio['high']:.2f}"
    return f"{ratio['value']:.2f}", quartiles
