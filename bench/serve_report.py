"""Loads on a service for people."""

from __future__ import annotations

from typing import Any

import click

from alexnet.console import print_table

_TIMES = ("p50", "p90", "p99", "p99_9", "max", "mean")
_COUNTS = ("ok", "refused", "errors", "timeouts")


def print_serve(result: dict[str, Any]) -> None:
    """Print the result of `bench.serve.serve` on stdout."""
    rows = [row for row in result["results"] if "answers" in row]  # the knee has a line of its own
    known = [row["latency_ms"] for row in rows if row["latency_ms"] is not None]
    # A percentile that no sample supports gets no column.
    times = [name for name in _TIMES if any(one[name] is not None for one in known)]
    memory = any(row.get("service_peak_mib") is not None for row in rows)
    columns = ["load", "seconds", "answered/s", *_COUNTS]
    columns += [name.replace("_", ".") for name in times]
    columns += ["sent late p99", *(("MiB", "MiB/min", "CPU ms/photo") if memory else ())]
    print_table(
        f"POST {result['url']}, ms from the moment at which a request was due",
        columns,
        [
            [
                row["name"],
                _number(row["seconds"], 1),
                _number(row["infer_samples_per_sec"], 1),
                *(row["answers"][name] for name in _COUNTS),
                *(_number((row["latency_ms"] or {}).get(name), 1) for name in times),
                _number(row["late_ms"]["p99"], 1),
                *(_took(row) if memory else ()),
            ]
            for row in rows
        ],
    )
    for row in rows:
        for what, count in (*row["statuses"].items(), *row["failures"].items()):
            if not what.startswith("2") or not what.isdigit():
                click.echo(f"{row['name']}: {count:,} x {what}")
    service = result["service"]
    if service is not None:
        click.echo(
            f"Service: ready after {service['start_s']:.1f} s; at most "
            f"{_number(service['peak_mib'], 0)} MiB; {_number(service['processor_s'], 1)} s of "
            "processor time."
        )
    if result["knee_per_sec"] is not None:
        click.echo(
            f"Knee: {result['knee_per_sec']:g}/s is the highest load that was answered without an "
            f"error and with p99 within {result['bound_ms']:g} ms."
        )


def _took(row: dict[str, Any]) -> list[str]:
    peak, slope = row["service_peak_mib"], row["service_mib_per_minute"]
    return [
        _number(peak, 0),
        "-" if slope is None else f"{slope:+.2f}",
        _number(row["service_processor_ms_per_photo"], 1),
    ]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
