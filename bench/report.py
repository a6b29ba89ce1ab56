"""A latency result for people: two tables."""

from __future__ import annotations

from typing import Any

import click

from alexnet.console import print_table
from bench.columns import RATIO_COLUMNS, RATIO_NOTE, Identity, milliseconds, ratio_cells
from bench.floor_command import print_multiples

_TIMES = ("min", "p50", "p90", "p95", "p99", "p99_9", "max", "mean")
_TITLES = {
    None: "Latency of one call of the network, ms",
    "single-stream": "From the bytes of one photo to its answer, ms",
    "multi-stream": "From the bytes of a batch of photos to their answers, ms",
}


def print_report(result: dict[str, Any]) -> None:
    """Print the result of `bench.latency.latency` on stdout."""
    rows = result["results"]
    identity = Identity(rows)
    # A percentile that no sample supports gets no column.
    times = [name for name in _TIMES if any(r["latency_ms"][name] is not None for r in rows)]
    processes = "a process each" if result["isolated"] else "one process"
    rounds = f"{result['rounds']} interleaved rounds, {processes}"
    print_table(
        f"{_TITLES[result['scenario']]} ({identity.shared}; {rounds})",
        [
            *identity.columns,
            *(name.replace("_", ".") for name in times),
            *("cv", "photos/s", *RATIO_COLUMNS),
        ],
        [
            [
                *identity.cells(row),
                *(milliseconds(row["latency_ms"][name]) for name in times),
                f"{row['latency_ms']['variation']:.0%}",
                f"{row['infer_samples_per_sec']:.1f}",
                *ratio_cells(row),
            ]
            for row in rows
        ],
    )
    print_multiples(result)
    _print_stages(result, identity)
    click.echo(f"Photos: {', '.join(result['photos'])}")
    if any(row["ratio"] for row in rows):
        click.echo(RATIO_NOTE)


def _print_stages(result: dict[str, Any], identity: Identity) -> None:
    rows = result["results"]
    stages = list(rows[0]["stages_ms_per_photo"])
    memory = ["peak MiB"] if result["isolated"] else []
    print_table(
        "Stages, median ms per photo, each timed alone"
        + (" (run includes transfer)" if "transfer" in stages else ""),
        [*identity.columns, *stages, "sum", "start-up ms", *memory],
        [
            [
                *identity.cells(row),
                *(milliseconds(row["stages_ms_per_photo"][stage]) for stage in stages),
                milliseconds(_sum(row["stages_ms_per_photo"])),
                f"{row['startup_ms']:.0f}",
                *[f"{row['peak_mib']:.0f}" for _ in memory],
            ]
            for row in rows
        ],
    )


def _sum(stages: dict[str, float]) -> float:
    return sum(value for name, value in stages.items() if name != "transfer")
