"""`alexnet-export onnx`: a checkpoint as a graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import click

from alexnet import options
from alexnet.backends.base import Precision, Target
from alexnet.config import Views
from alexnet.console import Command, log, progress
from export import precision_options

if TYPE_CHECKING:
    from export.accuracy import Gate


@click.command(cls=Command)
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
@click.option(
    "-o",
    "--output",
    type=options.OutputFile(),
    required=True,
    help="The .onnx file to write.",
)
@click.option(
    "--views",
    type=click.Choice(get_args(Views)),
    default="ten",
    show_default=True,
    help="Crops of a photo whose probabilities the graph averages: the paper's ten, or one; or "
    "every place of the whole photo, of any shape (dense).",
)
@click.option(
    "--features", is_flag=True, help="Add the output `features`: fc7 after its ReLU, of each photo."
)
@click.option(
    "--for",
    "target",
    type=click.Choice(get_args(Target)),
    default="portable",
    show_default=True,
    help="The runtime that is to run it, by which the next four options go; answers are the same "
    "but for rounding. A portable graph has one node for each layer.",
)
@click.option(
    "--share/--no-share",
    default=None,
    show_default="--share for onnxruntime and openvino",
    help="Compute once what the ten views have in common.",
)
@click.option(
    "--lrn",
    type=click.Choice(["standard", "fast"]),
    show_default="fast for onnxruntime, for openvino where windows stop at columns, and for "
    "windows of an even number of maps",
    help="Normalise by ONNX's operator, or by convolutions and square roots.",
)
@click.option(
    "--columns",
    type=click.Choice(["grouped", "split"]),
    show_default="split for openvino in int8",
    help="Write two columns as one convolution of two groups, or as two.",
)
@click.option(
    "--convolutions",
    type=click.Choice(["direct", "winograd"]),
    show_default="winograd for onnxruntime and openvino, with ten views, many maps and fp32",
    help="Write a convolution of 3x3 kernels as one, or by Winograd's smaller ones.",
)
@precision_options.precision
@precision_options.calibrate
@precision_options.method
@precision_options.validation
def onnx(
    checkpoint: Path | None,
    output: Path,
    views: Views,
    features: bool,
    target: Target,
    share: bool | None,
    lrn: Literal["standard", "fast"] | None,
    columns: Literal["grouped", "split"] | None,
    convolutions: Literal["direct", "winograd"] | None,
    precision: Precision | None,
    calibrate: Path | None,
    method: Literal["percentile", "entropy", "nncf"] | None,
    gate: Gate,
) -> None:
    """Write CHECKPOINT as an ONNX graph.

    CHECKPOINT is a .safetensors file.  [default: (the model that ships)]

    The graph takes uint8 RGB photos (batch, S, S, 3) and gives probabilities (batch, classes);
    mean, crops and averaging are inside, config and classes in its metadata.
    """
    from alexnet.checkpoint import shipped_model
    from alexnet.errors import AlexNetError
    from export.choices import choices_for
    from export.graph import write_model
    from export.sharing import sharing_of
    from export.source import open_source

    if output.suffix != ".onnx":
        raise AlexNetError(f"The name of an ONNX file ends in .onnx, and {output} does not.")
    source = checkpoint or shipped_model()
    if source.suffix != ".safetensors":
        raise AlexNetError(
            f"A checkpoint's name ends in .safetensors, and {source} does not: "
            "graphs are written from checkpoints alone."
        )
    if share and views == "centre":
        raise AlexNetError("One view has none to share with: take --views ten, or --no-share.")
    if share and views == "dense":
        raise AlexNetError("The whole photo is one view: take --views ten, or leave out --share.")
    if convolutions == "winograd" and (views != "ten" or precision not in (None, "fp32")):
        raise AlexNetError(
            "Winograd's convolutions are for ten views in fp32: take these, or leave out "
            "--convolutions."
        )
    gate.check(precision)
    opened = open_source(
        source,
        views=views,
        features=features,
        choose=lambda config: choices_for(
            target,
            config,
            precision=precision,
            share=share,
            lrn=lrn,
            columns=columns,
            convolutions=convolutions,
        ),
    )
    model = opened.in_precision(precision, calibrate=calibrate, method=method)
    # A graph in float32 is compared with the checkpoint: there is no other graph to compare with.
    model = gate.passed(model, source if model is opened.plain else opened.plain)
    with progress(f"Writing {output.name}", total=None, unit=""):
        write_model(model, output)
    size = output.stat().st_size / 1e6
    log(f"Wrote {output}: {len(model.graph.node)} nodes, {size:.1f} MB, views '{views}'.")
    if opened.choices is not None and opened.choices.views == "shared" and views == "ten":
        log(sharing_of(opened.info.config).sentence)
    if precision == "bf16" and target != "openvino":
        log("ONNX Runtime has no bf16 convolutions on CPUs: this graph is for GPUs and TensorRT.")
