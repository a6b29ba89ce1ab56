"""The command `alexnet-export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import click

from alexnet import options
from alexnet.backends.base import Precision
from alexnet.console import Commands, log, progress
from alexnet.files import write_text
from export import precision_options
from export.import_command import import_
from export.tensorrt_command import tensorrt


@click.group(cls=Commands)
@click.version_option(package_name="alexnet")
def main() -> None:
    """Write trained networks as graphs for other runtimes, and check that they still agree."""


main.add_command(import_)
main.add_command(tensorrt)


@main.command()
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The .onnx file to write.",
)
@click.option(
    "--views",
    type=click.Choice(["ten", "centre"]),
    default="ten",
    show_default=True,
    help="Crops of a photo whose probabilities the graph averages: the paper's ten, or one.",
)
@click.option(
    "--features", is_flag=True, help="Add the output `features`: fc7 after its ReLU, of each photo."
)
@precision_options.precision
@precision_options.calibrate
@precision_options.method
def onnx(
    checkpoint: Path | None,
    output: Path,
    views: Literal["ten", "centre"],
    features: bool,
    precision: Precision | None,
    calibrate: Path | None,
    method: Literal["percentile", "entropy"],
) -> None:
    """Write CHECKPOINT as an ONNX graph.

    CHECKPOINT is a .safetensors file.  [default: (the model that ships)]

    The graph takes uint8 RGB photos (batch, S, S, 3) and gives probabilities (batch, classes);
    mean, crops and averaging are inside, config and classes in its metadata.
    """
    from alexnet.checkpoint import shipped_model
    from alexnet.errors import AlexNetError
    from export.graph import write_model
    from export.source import open_source

    if output.suffix != ".onnx":
        raise AlexNetError(f"The name of an ONNX file ends in .onnx, and {output} does not.")
    source = checkpoint or shipped_model()
    if source.suffix != ".safetensors":
        raise AlexNetError(
            f"A checkpoint's name ends in .safetensors, and {source} does not: "
            "graphs are written from checkpoints alone."
        )
    opened = open_source(source, views=views, features=features)
    model = opened.in_precision(precision, calibrate=calibrate, method=method)
    with progress(f"Writing {output.name}", total=None, unit=""):
        write_model(model, output)
    size = output.stat().st_size / 1e6
    log(f"Wrote {output}: {len(model.graph.node)} nodes, {size:.1f} MB, views '{views}'.")
    if precision == "bf16":
        log("ONNX Runtime has no bf16 convolutions on CPUs: this graph is for GPUs and TensorRT.")


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
    type=click.Path(dir_okay=False, path_type=Path),
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
    pictures = real_photos(photos, a.info.config.input, count=count)
    result = compare(a, b, pictures)
    print_comparison(result, a, b)
    figures = summary(result, a, b, tolerance=tolerance)
    if by_layer:
        rows, wide = compare_layers(a, b, pictures, threads=threads), RELATIVE_TOLERANCE * tolerance
        print_layers(rows, tolerance=wide)
        figures |= layer_summary(rows, tolerance=wide)
    line = json.dumps(figures, ensure_ascii=False)
    click.echo(line)
    if json_file is not None:
        write_text(json_file, line + "\n")
    if not result.within(tolerance):
        raise DifferentModelsError(difference(result, tolerance=tolerance))
