"""A throughput result for people."""

from __future__ import annotations

from typing import Any

import click

from alexnet.console import print_table
from bench.columns import RATIO_COLUMNS, RATIO_NOTE, Identity, milliseconds, ratio_cells
from bench.floor_command import print_multiples


def print_throughput(result: dict[str, Any]) -> None:
    """Print the result of `bench.throughput.throughput` on stdout."""
    rows = result["results"]
    identity = Identity(rows)
    count = result["photos_per_pass"]
    processes = "a process each" if result["isolated"] else "one process"
    memory = ["peak MiB"] if result["isolated"] else []
    print_table(
        f"Photos a second, from bytes to answers ({identity.shared}; {result['rounds']} "
        f"interleaved passes of {count} photos, {processes})",
        [
            *identity.columns,
            *("photos/s", "slowest pass", "fastest", "ms per photo", "cv", *RATIO_COLUMNS),
            *("start-up ms", *memory),
        ],
        [
            [
                *identity.cells(row),
                f"{row['infer_samples_per_sec']:.1f}",
                f"{1000 * count / row['latency_ms']['max']:.1f}",
                f"{1000 * count / row['latency_ms']['min']:.1f}",
                milliseconds(row["latency_ms"]["p50"] / count),
                f"{row['latency_ms']['variation']:.0%}",
                *ratio_cells(row),
                f"{row['startup_ms']:.0f}",
                *[f"{row['peak_mib']:.0f}" for _ in memory],
            ]
            for row in rows
        ],
    )
    print_multiples(result)
    names = result["photos"]
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    click.echo(f"Photos: {shown}")
    if any(row["ratio"] for row in rows):
        click.echo(RATIO_NOTE)
