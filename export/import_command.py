"""`alexnet-export import`: the options."""

from __future__ import annotations

from pathlib import Path

import click

from alexnet import options
from alexnet.console import Command, log, progress


@click.command("import", cls=Command)
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=options.OutputFile(),
    required=True,
    help="The .safetensors file to write.",
)
@click.option(
    "--mean",
    metavar="FILE.binaryproto|R,G,B",
    help="What is subtracted from photos: Caffe's mean image, or three means on 0-255.  [default: "
    "123,117,104 for Caffe's network, torchvision's own for its]",
)
def import_(source: Path, output: Path, mean: str | None) -> None:
    """Write another program's trained AlexNet as a checkpoint.

    SOURCE is Caffe's bvlc_alexnet (.caffemodel), the ONNX model zoo's bvlcalexnet (.onnx), or the
    state dict of torchvision's alexnet (.pth). A file that does not fit is refused with the first
    tensor that differs; no code that a file may hold is run.
    """
    from alexnet.checkpoint import save_checkpoint
    from export.foreign import ForeignModelError
    from export.importing import import_model

    if output.suffix != ".safetensors":
        raise ForeignModelError(
            f"The name of a checkpoint ends in .safetensors, and {output} does not."
        )
    with progress(f"Reading {source.name}", total=None, unit=""):
        checkpoint = import_model(source, mean=mean)
        save_checkpoint(checkpoint, output)
    kind, entry = checkpoint.provenance["imported"]["kind"], checkpoint.config.input
    log(
        f"Wrote {output}: {kind}'s AlexNet as the preset {checkpoint.config.preset}, crops of "
        f"{entry.crop} pixels, {len(checkpoint.labels)} classes; mean: "
        f"{checkpoint.provenance['mean']}."
    )
