"""`alexnet-bench peers`: the options and the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alexnet import options
from alexnet.config import PRESETS
from alexnet.console import Command, print_table
from bench.floor_command import option as floor_option
from bench.floor_command import print_multiples
from bench.lists import ListOf
from bench.output import Output, finish, output_options

_PARTS = ("torchvision", "tencrop", "exported", "ours", "pipelined", "services", "timm")
_RATIOS = ("x eager", "95% interval", "x torchvision")


@click.command(cls=Command)
@click.argument("artifacts", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    default="paper",
    show_default=True,
    help="The network, with fresh weights of a trained network's size.",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="A network of yours, in place of --preset.",
)
@click.option(
    "--only",
    type=ListOf(click.Choice(_PARTS)),
    metavar="PART,...",
    show_default="all",
    help=f"Parts to measure beside the baseline: {', '.join(_PARTS)}.",
)
@options.threads
@click.option("--count", type=click.IntRange(min=1), help="Measure this many rounds.")
@click.option(
    "--duration",
    type=click.FloatRange(min=0, min_open=True),
    help="Measure for this many seconds.  [default: 60, without --count]",
)
@click.option(
    "--warmup",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Rounds before the measurement that are not counted.",
)
@click.option(
    "--pause",
    type=click.FloatRange(min=0),
    default=20.0,
    show_default=True,
    help="Milliseconds before each call, in which the threads of the one before come to rest.",
)
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    show_default="scikit-learn's two photographs, or a made photo without it",
    help="A photo, or a folder from which up to eight are taken.",
)
@floor_option
@output_options
def peers(
    artifacts: tuple[Path, ...],
    preset: str,
    checkpoint: Path | None,
    only: list[str] | None,
    threads: int | None,
    count: int | None,
    duration: float | None,
    warmup: int,
    pause: float,
    photos: Path | None,
    floor: bool,
    output: Output,
) -> None:
    """From the bytes of a photo to its ten-view answer: what people use elsewhere, and ours.

    The baseline is this network in eager PyTorch. Beside it: torchvision's AlexNet with TenCrop in
    eager PyTorch (`torchvision`); this network behind the same steps (`tencrop`); PyTorch's own
    exports in ONNX Runtime (`exported`); ARTIFACTS, or the graphs that alexnet-export writes for
    ONNX Runtime and OpenVINO (`ours`); the same with many photos at once, decoded meanwhile
    (`pipelined`); and plain FastAPI and BentoML services beside ours, one request after the other
    (`services`). For folders, and
    with one view: timm as its inference.py uses it, and our predictor (`timm`).

    All that compute the same network have the same weights, and the measurement is INVALID where
    their answers differ. What is not installed is left out with a sentence: the extra `peers`
    brings what can be missing, but for timm, which is installed by hand with the torchvision that
    was built for this torch.

    \b
    Examples:
      alexnet-bench peers
      alexnet-bench peers --only torchvision,ours --photos photos/ --count 60
      alexnet-bench peers model.onnx int8.onnx --checkpoint model.safetensors
    """
    if count is not None and duration is not None:
        raise click.UsageError("Give --count or --duration, not both.")
    if checkpoint is not None:
        options.refuse_unread("preset", reason="--checkpoint is a network of its own")
    if "ours" not in (only or _PARTS):
        options.refuse_unread("artifacts", reason="Files are measured as `ours`, not in --only")
    from bench.multiples import with_floor
    from bench.peers import Plan
    from bench.peers import peers as measure
    from bench.sampling import Sampling

    seconds = 60.0 if count is None and duration is None else duration
    sampling = Sampling(count=count, duration=seconds, warmup=warmup, pause=pause / 1000)
    plan = Plan(
        preset=preset,
        checkpoint=checkpoint,
        artifacts=artifacts,
        parts=only or list(_PARTS),
        threads=threads,
        sampling=sampling,
        photos=photos,
    )
    result = with_floor(lambda: measure(plan)) if floor else measure(plan)
    finish(result, output, table=print_peers)


def print_peers(result: dict[str, Any]) -> None:
    """Print the result of `bench.peers.peers` on stdout."""
    print_table(
        f"From the bytes of one photo to its answer, ms ({result['preset']}, ten views, "
        f"{result['rounds']} interleaved rounds)",
        ["", "what", "p50", "p90", "cv", "photos/s", *_RATIOS, "differs by"],
        [_cells(row) for row in result["results"]],
    )
    print_multiples(result)
    for one in result["skipped"]:
        click.echo(f"Left out: {one['name']}. {one['why']}")
    click.echo(f"Photos: {', '.join(result['photos'])}")
    click.echo(
        "x eager, x torchvision: their median over the row's; the interval belongs to x eager. "
        "differs by: the largest difference of a probability from PyTorch eager's, where the "
        "network is the same."
    )


def _cells(row: dict[str, Any]) -> list[object]:
    times, ratio, other = row["latency_ms"], row["ratio"], row["ratio_to_torchvision"]
    interval = "-" if ratio is None else f"{ratio['low']:.2f}..{ratio['high']:.2f}"
    return [
        row["name"],
        row["what"],
        f"{times['p50']:.2f}",
        "-" if times["p90"] is None else f"{times['p90']:.2f}",
        f"{times['variation']:.0%}",
        f"{row['infer_samples_per_sec']:.1f}",
        "-" if ratio is None else f"{ratio['value']:.2f}",
        "baseline" if row["baseline"] else interval,
        "-" if other is None else f"{other['value']:.2f}",
        "-" if row["max_difference"] is None else f"{row['max_difference']:.1e}",
    ]
