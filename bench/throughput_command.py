"""`alexnet-bench throughput`: the options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alexnet.console import Command
from bench.floor_command import option as floor_option
from bench.output import Output, finish, output_options
from bench.variant_options import sampling_options, variant_options


@click.command(cls=Command)
@variant_options(
    batch="Photos that a model is given at once.  [default: 4]", photos="those of a pass"
)
@click.option(
    "--files",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Photos of a pass; the same ones again where --photos has fewer.",
)
@click.option("--fast", is_flag=True, help="Let large JPEGs be shrunk in decoding.")
@sampling_options(rounds="passes", default="10 passes")
@floor_option
@output_options
def throughput(
    lists: dict[str, Any],
    batch: list[int] | None,
    files: int,
    fast: bool,
    photos: Path | None,
    sampling: dict[str, Any],
    floor: bool,
    output: Output,
) -> None:
    """How many photos a second, decoding included: ARTIFACTS x backends x batch sizes.

    A pass takes the bytes of many photos to their answers as `alexnet-label` does: decoded in
    threads while the network runs, with as many calls side by side as the backend has streams.
    Passes of all models follow each other in turns.

    stdout ends with one line of JSON, times in milliseconds. The verdict is INVALID, with the
    reason, where passes are too few or too uneven, or the machine did other things as well.

    \b
    Examples:
      alexnet-bench throughput
      alexnet-bench throughput model.onnx --photos photos/ --files 64 --batch 1,4 --threads 1,2
      alexnet-bench throughput model.onnx --floor
    """
    from bench.multiples import with_floor
    from bench.sampling import Sampling
    from bench.throughput import Plan
    from bench.throughput import throughput as measure
    from bench.throughput_report import print_throughput
    from bench.variants import Choices

    if sampling["count"] is None and sampling["duration"] is None:
        sampling["count"] = 10
    plan = Plan(
        choices=Choices(**lists, batches=batch or [4], mode="throughput"),
        sampling=Sampling(**sampling),
        files=files,
        fast=fast,
        photos=photos,
    )
    device = plan.choices.device
    result = with_floor(lambda: measure(plan), device=device) if floor else measure(plan)
    finish(result, output, table=print_throughput)
