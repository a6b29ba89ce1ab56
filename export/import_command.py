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
@click.option(
    "--classes",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Names the classes, one for each output: text with a line each (a name, or an id, a tab "
    "and a name), a JSON list, or class_to_idx as JSON.  [default: ILSVRC-2012's for 1000 outputs, "
    'else "class 0", "class 1" and so on]',
)
@click.option(
    "--entry",
    metavar="NAME",
    help="Which entry of a file of PyTorch holds the weights, where there are several: model_ema, "
    "say.",
)
def import_(
    source: Path, output: Path, mean: str | None, classes: Path | None, entry: str | None
) -> None:
    """Write another program's trained AlexNet as a checkpoint.

    SOURCE is Caffe's bvlc_alexnet (.caffemodel), the ONNX model zoo's bvlcalexnet (.onnx), or the
    state dict of torchvision's alexnet (.pth, .pt, .pth.tar, .ckpt, .bin), alone or as training
    programs save it: with an optimizer's beside it, from DataParallel or torch.compile. A file that
    does not fit is refused with the first tensor that differs; no code that a file may hold is run.
    """
    from alexnet.checkpoint import save_checkpoint
    from export.foreign import ForeignModelError
    from export.importing import import_model

    if output.suffix != ".safetensors":
        raise ForeignModelError(
            f"The name of a checkpoint ends in .safetensors, and {output} does not."
        )
    with progress(f"Reading {source.name}", total=None, unit=""):
        checkpoint = import_model(source, mean=mean, classes=classes, entry=entry)
        save_checkpoint(checkpoint, output)
    kind, crop = checkpoint.provenance["imported"]["kind"], checkpoint.config.input.crop
    log(
        f"Wrote {output}: {kind}'s AlexNet as the preset {checkpoint.config.preset}, crops of "
        f"{crop} pixels, {len(checkpoint.labels)} classes; mean: "
        f"{checkpoint.provenance['mean']}."
    )
