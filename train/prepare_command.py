"""The command `alexnet-train prepare`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from alexnet import options
from alexnet.config import InputConfig
from alexnet.console import Command, log


@click.command("prepare", cls=Command)
@click.argument("source", metavar="SRC")
@click.argument("folder", metavar="DST", type=options.OutputFolder())
@click.option(
    "--size",
    type=click.IntRange(1, 4096),
    default=256,
    show_default=True,
    help="Side of the stored photos, in pixels: the preset's input.size (64 for mini).",
)
@click.option(
    "--fit",
    type=click.Choice(["crop", "warp"]),
    default="crop",
    show_default=True,
    help="crop: shorter side to --size, then the central square. warp: both sides to --size. What "
    "crop cuts off is not stored, so that `evaluate --views dense` does not see it, either.",
)
@click.option(
    "--filter",
    "method",
    type=click.Choice(["bilinear", "bicubic", "lanczos", "box"]),
    default="bilinear",
    show_default=True,
    help="Resampling filter; the presets expect bilinear.",
)
@click.option("--val", metavar="SRC", help="Where the validation photos are, if not in SRC.")
@click.option(
    "--devkit",
    type=click.Path(path_type=Path),
    help="ImageNet's development kit (ILSVRC2012_devkit_t12.tar.gz, or unpacked), which knows the "
    "classes of ILSVRC2012_img_val.tar. Without it: the one in SRC.",
)
@click.option(
    "--val-fraction",
    type=click.FloatRange(0, 1, max_open=True),
    help="Part of each class that is set aside for validation where SRC has no such photos. "
    "[default: 0.1]",
)
@click.option(
    "--names",
    type=click.Path(path_type=Path),
    help="Lines of class folder, tab, name. Without it: classes.tsv in SRC, the names of "
    "ILSVRC-2012 for its wnids, the development kit's, or the folders' own names.",
)
@click.option(
    "--shard-photos",
    type=click.IntRange(min=1),
    help="Photos in a shard. [default: 10,000, or as many as give about 512 MB]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes that decode photos. [default: one for each core]",
)
def prepare(
    source: str,
    folder: Path,
    size: int,
    fit: Any,
    method: Any,
    val: str | None,
    val_fraction: float | None,
    names: Path | None,
    devkit: Path | None,
    shard_photos: int | None,
    workers: int | None,
) -> None:
    """Turn the photos of SRC into a data set in the folder DST.

    SRC is a folder with one folder of photos for each class; or one with train/ and val/ (or test/)
    of such folders; or one with train.tar[.gz] and val.tar[.gz] (or test.tar[.gz]); or a .tar or
    .tar.gz of any of these; or the word `digits` for scikit-learn's handwritten digits (./digits is
    a folder of that name). A tar inside an archive stands for a folder of its name, and so does a
    tar called after a wnid (n01440764.tar) inside a folder.

    ImageNet is read as it was published: SRC is a folder with ILSVRC2012_img_train.tar,
    ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz, or the first of them, with --val and
    --devkit for the others. Nothing is unpacked.

    Every photo is resized once and stored as JPEG. Photos that can't be read are left out and
    listed in DST/rejected.tsv. The same photos give the same bytes. A run that was stopped goes on
    when the same command is given again; a finished DST is left as it is.
    """
    from alexnet.machine import cores
    from train.prepare import prepare as run

    start = time.monotonic()
    dataset = run(
        source,
        folder,
        input=InputConfig(size=size, crop=size, fit=fit, filter=method),
        val=val,
        val_fraction=val_fraction,
        names=names,
        devkit=devkit,
        shard_photos=shard_photos,
        workers=workers or cores(),
    )
    seconds = time.monotonic() - start
    train, left_out = dataset.count("train"), dataset.facts["left_out"]
    log(
        f"{folder}: {train:,} training and {dataset.count('val'):,} validation photos of "
        f"{len(dataset.labels):,} classes, {left_out:,} left out, {seconds:.1f} s."
    )
    summary = {"data": str(folder), "size": size, "classes": len(dataset.labels)}
    counts = {"train": train, "val": dataset.count("val"), "left_out": left_out}
    click.echo(json.dumps({**summary, **counts, "seconds": round(seconds, 1)}))
