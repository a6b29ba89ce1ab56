"""`alexnet-bench label`: the options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alexnet.backends import BACKENDS
from alexnet.console import Command, print_table
from bench.lists import ListOf
from bench.output import Output, finish, output_options


@click.command(cls=Command)
@click.argument("models", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--backend",
    type=ListOf(click.Choice(["auto", *BACKENDS])),
    default="auto",
    show_default=True,
    metavar="NAME,...",
    help=f"What runs the models: auto, {', '.join(BACKENDS)}.",
)
@click.option(
    "--with",
    "option_sets",
    multiple=True,
    metavar="'OPTIONS'",
    help="Further options of alexnet-label; given again, another set to compare.",
)
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    show_default="scikit-learn's two photographs, or a made photo without it",
    help="A photo, or a folder of them.",
)
@click.option(
    "--count",
    type=click.IntRange(min=2),
    default=200,
    show_default=True,
    help="Photos in one run; the same ones again where there are fewer.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Runs of each, in turns with the others.",
)
@output_options
def label(
    models: tuple[Path, ...],
    backend: list[str],
    option_sets: tuple[str, ...],
    photos: Path | None,
    count: int,
    rounds: int,
    output: Output,
) -> None:
    """How many photos a second alexnet-label takes: MODELS x backends x sets of options.

    Each run is a process of its own, on all photos and, to know the start-up, on one alone; the
    rate is that of the photos after the first. Every run is checked to have labelled every photo.
    MODELS are checkpoints and exported files; the model that ships where there are none. stdout
    ends with one line of JSON.

    \b
    Examples:
      alexnet-bench label --count 500
      alexnet-bench label a.onnx b.onnx --photos photos/ --with '' --with '--fast --batch 32'
    """
    from bench.label import Plan
    from bench.label import label as measure

    result = measure(
        Plan(
            models=list(dict.fromkeys(models)),
            backends=list(dict.fromkeys(backend)),
            options=list(dict.fromkeys(text.strip() for text in option_sets)) or [""],
            photos=photos,
            count=count,
            rounds=rounds,
        )
    )
    finish(result, output, table=_print)


def _print(result: dict[str, Any]) -> None:
    print_table(
        f"Labelling {result['count']:,} photos with alexnet-label ({result['rounds']} interleaved "
        "rounds, medians)",
        ["", "photos/s", "ms/photo", "quartiles", "with start-up", "start-up s", "MiB"],
        [
            [
                row["name"],
                *_rate(row),
                f"{row['infer_samples_per_sec_with_startup']:.1f}",
                f"{row['startup_s']:.2f}",
                "-" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}",
            ]
            for row in result["results"]
        ],
    )
    more = result["different_photos"] - len(result["photos"])
    click.echo("Photos: " + ", ".join(result["photos"]) + (f" and {more:,} more" if more else ""))


def _rate(row: dict[str, Any]) -> tuple[str, str, str]:
    times = row["latency_ms"]
    if times is None:
        return "-", "-", "-"
    quartiles = f"{times['p25']:.2f}..{times['p75']:.2f}"
    return f"{row['infer_samples_per_sec']:.1f}", f"{times['p50']:.2f}", quartiles
