"""`alexnet-bench floor`: the options and the tables."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alexnet import options
from alexnet.config import PRESETS
from alexnet.console import Command, print_table
from bench.columns import milliseconds
from bench.lists import ListOf
from bench.output import Output, finish, output_options

if TYPE_CHECKING:
    from alexnet.config import Config


@click.command(cls=Command)
@click.argument("artifacts", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--preset",
    "presets",
    type=ListOf(click.Choice(list(PRESETS))),
    metavar="NAME,...",
    show_default="paper, without ARTIFACTS",
    help=f"Networks by name ({', '.join(PRESETS)}).",
)
@options.device
@output_options
def floor(
    artifacts: tuple[Path, ...], presets: list[str] | None, device: str, output: Output
) -> None:
    """What this machine can do at most, and the least time that networks can take on it.

    Measures multiply-adds per second in float32, bfloat16 and int8, with one core and with all, and
    bytes per second from memory, in a few seconds. The floor of a network is the multiply-adds of
    all its crops at that peak; ARTIFACTS are model files whose networks are taken.

    On a CPU a small C program measures, compiled at once by cc, gcc or clang; without a compiler
    PyTorch's matrix products do, and with `--device cuda` as well. They reach less than the peak.
    int8 is multiplied by one instruction for four products and their sum (VNNI, ARM's dot
    products), or on CPUs without it by the three that ONNX Runtime and OpenVINO use there
    (vpmaddubsw, vpmaddwd, vpaddd). They cut off sums of two products beyond 16 bits, and int8 that
    is exact for all values takes longer. A CPU without bf16 instructions computes bf16 in float32.

    \b
    Examples:
      alexnet-bench floor
      alexnet-bench floor --preset paper,torchvision model.onnx
    """
    from bench.floor import floor as measure

    networks = _networks(artifacts, presets or ([] if artifacts else ["paper"]))
    finish(measure(networks, device=device), output, table=print_floor)


def _networks(artifacts: tuple[Path, ...], presets: list[str]) -> list[tuple[str, Config]]:
    from alexnet.backends import open_backend
    from alexnet.checkpoint import load_checkpoint
    from alexnet.config import preset

    found = [(name, preset(name)) for name in presets]
    for path in artifacts:
        if path.suffix == ".safetensors":
            found.append((path.name, load_checkpoint(path).config))
            continue
        backend = open_backend(path)
        found.append((path.name, backend.info.config))
        backend.close()
    return found


option = click.option(
    "--floor",
    is_flag=True,
    help="Measure this machine's peaks as well (alexnet-bench floor), before and after, and print "
    "each row as a multiple of the least time for its multiply-adds.",
)
"""For other benchmarks, which are then run by `bench.multiples.with_floor`."""


def print_multiples(result: dict[str, Any]) -> None:
    """Print the rows that `bench.multiples.with_floor` has extended, on stdout; nothing without it.

    Of passes of many photos it prints photos a second.
    """
    if "floor" not in result:
        return
    photos = result.get("photos_per_pass")
    unit = "p50 ms" if photos is None else "photos/s"
    cells = _times if photos is None else functools.partial(_rates, photos)
    print_table(
        "As multiples of the floor",
        ["", "precision", unit, "floor ms" if photos is None else "at the floor", "x floor"],
        [
            [
                row["name"],
                row["floor_note"] or row.get("precision", "fp32"),
                *cells(row),
                milliseconds(row["times_floor"]),
            ]
            for row in result["results"]
        ],
    )
    if photos is not None:
        click.echo(
            "at the floor: photos a second if the multiply-adds of their full crops, on as many "
            "cores, took all the time and decoding took none; x floor: that over photos/s."
        )
    if not result["floor"]["exact"]:
        click.echo("The peaks are lower bounds: true floors lie below, multiples above.")


def _times(row: dict[str, Any]) -> list[str]:
    return [f"{row['latency_ms']['p50']:.2f}", milliseconds(row["floor_ms"])]


def _rates(photos: int, row: dict[str, Any]) -> list[str]:
    least = row["floor_ms"]
    rate = "-" if least is None else f"{1000 * photos / least:.1f}"
    return [f"{row['infer_samples_per_sec']:.1f}", rate]


def print_floor(result: dict[str, Any]) -> None:
    """Print the result of `bench.floor.floor` on stdout."""
    notes = any(row["floor_note"] for row in result["results"])
    print_table(
        "Peaks: the best of many short runs",
        ["", "cores", "G/s", "unit", "median", "runs", "within 3%"],
        [
            [
                row["name"],
                row["cores"] if result["device"] == "cpu" else result["device"],
                f"{row['best'] / 1e9:.1f}",
                row["unit"].removesuffix("/s"),
                f"{row['median'] / 1e9:.1f}",
                row["runs"],
                row["near"],
            ]
            for row in result["peaks"]
        ],
    )
    print_table(
        "The floor of one photo, ms, all cores",
        [
            *("network", "views", "precision", "Gmultiply-adds", "floor", "weights from memory"),
            *([""] if notes else []),
        ],
        [
            [
                row["model"],
                row["views"],
                row["precision"],
                f"{row['gmacs'] * row['crops_per_photo']:.2f}",
                milliseconds(row["floor_ms"]),
                milliseconds(row["with_weights_ms"]),
                *([row["floor_note"] or ""] if notes else []),
            ]
            for row in result["results"]
        ],
    )
    click.echo(f"Measured by {result['how']}.")
    if not result["exact"]:
        click.echo("These peaks are lower bounds: true floors lie below the ones given.")
    click.echo(
        "floor: the multiply-adds of all full crops at the peak of the precision (2 floating point "
        "operations each). weights from memory: the same, but that no fully connected layer is "
        "faster than its weights are read."
    )
