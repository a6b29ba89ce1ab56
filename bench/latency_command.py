"""`alexnet-bench latency`: the options."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from alexnet.console import Command
from bench.floor_command import option as floor_option
from bench.output import Output, finish, output_options
from bench.variant_options import sampling_options, scenario_option, variant_options


@click.command(cls=Command)
@variant_options(
    batch="Photos in one call.  [default: 1; 8 in multi-stream]",
    photos="up to eight",
)
@scenario_option(
    "single-stream",
    "multi-stream",
    help="Time from the bytes of a photo (single-stream) or of a batch of them (multi-stream) to "
    "the answers, one query after the other; without it, the network alone. The other two are "
    "of `serve` (server) and `throughput` (offline).",
)
@click.option("--fast", is_flag=True, help="In a scenario: let large JPEGs be shrunk in decoding.")
@sampling_options(rounds="rounds", default="10, without --count")
@floor_option
@output_options
def latency(
    lists: dict[str, Any],
    batch: list[int] | None,
    scenario: Literal["single-stream", "multi-stream"] | None,
    fast: bool,
    photos: Path | None,
    sampling: dict[str, Any],
    floor: bool,
    output: Output,
) -> None:
    """How long one call takes: ARTIFACTS x backends x views x threads x batch sizes, side by side.

    ARTIFACTS are checkpoints (.safetensors) and exported models (.onnx, .engine); the model that
    ships where there are none. All are called in turns, round after round, so that ratios hold even
    where the machine is busy. A percentile is given where at least one call lies beyond it.
    Start-up is from opening the file to the first answer; memory is the most of a process.

    stdout ends with one line of JSON, times in milliseconds. The verdict is INVALID, with the
    reason, where rounds are too few, calls too uneven, or the machine did other things as well.

    \b
    Examples:
      alexnet-bench latency
      alexnet-bench latency model.safetensors model.onnx --batch 1,8 --duration 60
      alexnet-bench latency model.onnx --scenario single-stream --photos photos/
      alexnet-bench latency model.onnx --json now.json --compare before.json --threshold 5
    """
    if scenario == "single-stream" and (batch or [1]) != [1]:
        raise click.UsageError("In single-stream a query is one photo: take multi-stream.")
    if fast and scenario is None:
        raise click.UsageError("--fast is about decoding: give a --scenario, too.")
    from bench.latency import Plan
    from bench.latency import latency as measure
    from bench.multiples import with_floor
    from bench.report import print_report
    from bench.sampling import Sampling
    from bench.variants import Choices

    if sampling["count"] is None and sampling["duration"] is None:
        sampling["duration"] = Sampling.duration
    plan = Plan(
        choices=Choices(**lists, batches=batch or [8 if scenario == "multi-stream" else 1]),
        sampling=Sampling(**sampling),
        scenario=scenario,
        fast=fast,
        photos=photos,
    )
    device = plan.choices.device
    result = with_floor(lambda: measure(plan), device=device) if floor else measure(plan)
    finish(result, output, table=print_report)
