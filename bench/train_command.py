"""`alexnet-bench train`: the options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alexnet import options
from alexnet.console import Command, print_table
from bench.lists import ListOf
from bench.output import Output, finish, output_options


@click.command(cls=Command)
@options.preset
@click.option("--recipe", metavar="NAME", show_default="the preset's own", help="How to train.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="A folder that `alexnet-train prepare` wrote.",
)
@click.option(
    "--batch",
    type=ListOf(click.IntRange(min=1)),
    metavar="N,...",
    show_default="the recipe's",
    help="Photos of a step.",
)
@click.option(
    "--dtype",
    type=ListOf(click.Choice(["float32", "float64", "bfloat16"])),
    metavar="NAME,...",
    show_default="the recipe's",
    help="What the network computes in: float32, float64 or bfloat16.",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where to train.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    show_default="alexnet-train's choice",
    help="Processes that decode photos.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    help="How long to measure each training.",
)
@options.settings
@output_options
def train(
    preset_name: str,
    recipe: str | None,
    data: Path,
    batch: list[int] | None,
    dtype: list[str] | None,
    device: str,
    workers: int | None,
    seconds: float,
    settings: tuple[str, ...],
    output: Output,
) -> None:
    """How many photos a second training takes: every dtype with every batch size.

    Each is measured by `alexnet-train speed` in a process of its own, which takes turns between the
    loader alone, the step alone and both together. stdout ends with one line of JSON.

    \b
    Example:
      alexnet-bench train --preset mini --data runs/tiny50 --dtype float32,bfloat16 --batch 64,128
    """
    from bench.train import Plan
    from bench.train import train as measure

    result = measure(
        Plan(
            preset=preset_name,
            recipe=recipe,
            data=data,
            batches=list(dict.fromkeys(batch or ())) or (None,),
            dtypes=list(dict.fromkeys(dtype or ())) or (None,),
            device=device,
            workers=workers,
            seconds=seconds,
            settings=settings,
        )
    )
    finish(result, output, table=_print)


def _print(result: dict[str, Any]) -> None:
    print_table(
        "Photos per second in training",
        ["", "photos/s", "quartiles", "ms/step", "x step", "rounds", "MiB"],
        [
            [
                row["name"],
                f"{row['train_samples_per_sec']:,.1f}",
                f"{row['train_samples_per_sec_p25']:,.1f}..{row['train_samples_per_sec_p75']:,.1f}",
                f"{row['train_step_time']:,.1f}",
                f"{row['times_the_step']:.2f}",
                row["rounds"],
                "-" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}",
            ]
            for row in result["results"]
        ],
    )
    for row in result["results"]:
        if row["part"] == "both":
            click.echo(f"{row['training']}: what bounds it is {row['bound_words']}")
