"""The command `alexnet-export`."""

from __future__ import annotations

from pathlib import Path

import click

from alexnet import options
from alexnet.console import Commands, log
from alexnet.files import write_text
from alexnet.json_text import to_json
from export.import_command import import_
from export.onnx_command import onnx
from export.tensorrt_command import tensorrt


@click.group(cls=Commands)
@click.version_option(package_name="alexnet")
def main() -> None:
    """Write trained networks as graphs for other runtimes, and check that they still agree."""


main.add_command(import_)
main.add_command(onnx)
main.add_command(tensorrt)


@main.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    show_default="pieces of scikit-learn's two photographs",
    help="A photo or a folder of them.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=1e-5,
    show_default=True,
    help="Largest difference of a probability. A feature may differ by ten times this part of the "
    "largest feature.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=24,
    show_default=True,
    help="Photos to compare on, at most; of a folder evenly spread ones.",
)
@click.option(
    "--layers",
    "by_layer",
    is_flag=True,
    help="Compare every layer, too, and name the first that differs: by ten times the tolerance, "
    "as part of the layer's largest value. For checkpoints and .onnx files.",
)
@options.threads
@click.option(
    "--json",
    "json_file",
    type=options.OutputFile(),
    help="Write the JSON line to this file as well.",
)
def verify(
    first: Path,
    second: Path,
    photos: Path | None,
    tolerance: float,
    count: int,
    by_layer: bool,
    threads: int | None,
    json_file: Path | None,
) -> None:
    """Compare two model files, checkpoints or exported ones, on real photos.

    stdout ends with one line of JSON. The exit code is 1 where the answers differ by more than the
    tolerance.
    """
    from export.by_layer import compare_layers, layer_summary, print_layers
    from export.real_photos import real_photos
    from export.verify import (
        RELATIVE_TOLERANCE,
        DifferentModelsError,
        compare,
        difference,
        open_pair,
        print_comparison,
        summary,
    )

    a, b = open_pair(first, second, threads=threads)
    dense = a.info.views == "dense"
    pictures = real_photos(photos, a.info.config.input, count=count, whole=dense)
    if len(pictures) < count:
        where = f"in {photos}" if photos is not None else "pieces of scikit-learn's two photographs"
        log(f"Comparing on {len(pictures)} photos, not {count}: there are no more {where}.")
    result = compare(a, b, pictures)
    print_comparison(result, a, b)
    figures = summary(result, a, b, tolerance=tolerance)
    if by_layer:
        rows, wide = compare_layers(a, b, pictures, threads=threads), RELATIVE_TOLERANCE * tolerance
        print_layers(rows, tolerance=wide)
        figures |= layer_summary(rows, tolerance=wide)
    line = to_json(figures)
    click.echo(line)
    if json_file is not None:
        write_text(json_file, line + "\n")
    if not result.within(tolerance):
        raise DifferentModelsError(difference(result, tolerance=tolerance))
