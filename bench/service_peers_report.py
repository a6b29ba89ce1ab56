"""`alexnet-bench serve --peers` for people."""

from __future__ import annotations

from typing import Any

import click

from alexnet.console import print_table


def print_service_peers(result: dict[str, Any]) -> None:
    """Print the result of `bench.service_peers.service_peers` on stdout."""
    print_table(
        f"Photos a second, {result['clients']} requests at once ({result['model']}, "
        f"{result['views']} views, {result['rounds']} rounds of {result['turn_s']:g} s turns)",
        ["", "what", "photos/s", "cv", "CPU ms/photo", "ours is", "95% interval", "differs by"],
        [_cells(row) for row in result["results"]],
    )
    for one in result["skipped"]:
        click.echo(f"Left out: {one['name']}. {one['why']}")
    click.echo(f"Photos: {', '.join(result['photos'])}")
    click.echo(
        "ours is: photos a second of our service over the row's, of median turns. CPU ms/photo: "
        "processor time of all cores, without that of sending. differs by: the largest difference "
        "of a probability from our service's."
    )


def _cells(row: dict[str, Any]) -> list[object]:
    ours, differs = row["ours_is"], row["max_difference"]
    return [
        row["name"],
        row["what"],
        f"{row['infer_samples_per_sec']:.1f}",
        f"{row['latency_ms']['variation']:.0%}",
        f"{row['processor_ms_per_photo']:.1f}",
        f"{ours['value']:.2f} x",
        f"{ours['low']:.2f}..{ours['high']:.2f}",
        "-" if differs is None else f"{differs:.1e}",
    ]
