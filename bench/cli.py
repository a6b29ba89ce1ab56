"""`alexnet-bench`: measurements that can be repeated and compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import click

from alexnet import options
from alexnet.backends import BACKENDS
from alexnet.config import Views
from alexnet.console import Commands
from alexnet.errors import AlexNetError
from alexnet.files import write_text


class ListOf(click.ParamType[list[Any]]):
    """Values with commas between them, each of one type: `1,8,32`."""

    def __init__(self, kind: click.ParamType[Any]):
        self.kind = kind
        self.name = f"{kind.name},..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[Any]:
        """Each part by the type of the elements."""
        if isinstance(value, list):
            return value
        return [self.kind.convert(part.strip(), param, ctx) for part in str(value).split(",")]


@click.group(cls=Commands)
@click.version_option(package_name="alexnet")
def main() -> None:
    """Measure what the models do on this machine."""


@main.command()
@click.argument("artifacts", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--backend",
    type=ListOf(click.Choice(list(BACKENDS))),
    metavar="NAME,...",
    show_default="the one for each file's ending",
    help=f"Backends ({', '.join(BACKENDS)}); each runs the files of its kind.",
)
@click.option(
    "--batch",
    type=ListOf(click.IntRange(min=1)),
    default="1",
    show_default=True,
    metavar="N,...",
    help="Photos in one call.",
)
@options.views
@options.threads
@options.device
@click.option("--count", type=click.IntRange(min=1), help="Measure this many rounds.")
@click.option(
    "--duration",
    type=click.FloatRange(min=0, min_open=True),
    show_default="10, without --count",
    help="Measure for this many seconds.",
)
@click.option(
    "--warmup",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Rounds before the measurement that are not counted.",
)
@click.option(
    "--baseline/--no-baseline",
    default=True,
    show_default=True,
    help="Measure PyTorch eager too, and print how many times as fast the others are.",
)
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    show_default="scikit-learn's two photographs, or a made photo without it",
    help="A photo, or a folder from which up to eight are taken.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the JSON line to this file as well.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 where the verdict is INVALID.")
def latency(
    artifacts: tuple[Path, ...],
    backend: list[str] | None,
    batch: list[int],
    views: str | None,
    threads: int | None,
    device: str,
    count: int | None,
    duration: float | None,
    warmup: int,
    baseline: bool,
    photos: Path | None,
    json_file: Path | None,
    strict: bool,
) -> None:
    """How long one call takes: ARTIFACTS x backends x batch sizes, side by side.

    ARTIFACTS are checkpoints (.safetensors) and exported models (.onnx); the model that ships where
    there are none. All are loaded into this process and called in turns, round after round, so that
    ratios hold even where the machine is busy. A percentile is given where at least one call lies
    beyond it.

    stdout ends with one line of JSON, times in milliseconds. The verdict is INVALID, with the
    reason, where rounds are too few or calls too uneven.

    \b
    Examples:
      alexnet-bench latency
      alexnet-bench latency model.safetensors model.onnx --batch 1,8 --duration 60
    """
    if count is not None and duration is not None:
        raise click.UsageError("Give --count or --duration, not both.")
    from bench.latency import Plan
    from bench.latency import latency as measure
    from bench.report import print_report

    if count is None and duration is None:
        duration = Plan.duration
    result = measure(
        Plan(
            artifacts=artifacts,
            backends=backend or ["auto"],
            batches=batch,
            views=cast(Views | None, views),
            threads=threads,
            device=device,
            count=count,
            duration=duration,
            warmup=warmup,
            baseline=baseline,
            photos=photos,
        )
    )
    print_report(result)
    line = json.dumps(result, ensure_ascii=False)
    click.echo(line)
    if json_file is not None:
        write_text(json_file, line + "\n")
    if strict and result["reasons"]:
        raise AlexNetError(f"The measurement is {result['verdict']}. {' '.join(result['reasons'])}")
