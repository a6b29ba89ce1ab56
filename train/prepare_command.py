"""The command `alexnet-train prepare`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from alexnet import options
from alexnet.config import InputConfig
from alexnet.console import Command, log
from alexnet.decoder import MAX_PIXELS
from alexnet.json_text import to_json


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
    "0: none; then `fit` measures nothing, and its schedule can't be plateau. [default: 0.1]",
)
@click.option(
    "--names",
    type=click.Path(path_type=Path),
    help="Lines of class folder, tab, name. Without it: classes.tsv in SRC, the names of "
    "ILSVRC-2012 for its wnids, the development kit's, or the folders' own names.",
)
@click.option(
    "--layout",
    type=click.Choice(["auto", "classes"]),
    default="auto",
    show_default=True,
    help="auto: top folders called after splits (train, val, test) are splits, others classes. "
    "classes: the top folders are classes, whatever they are called.",
)
@click.option(
    "--shard-photos",
    type=click.IntRange(min=1),
    help="Photos in a shard. [default: 10,000, or as many as give about 512 MB]",
)
@click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    default=MAX_PIXELS,
    show_default=True,
    help="Width times height of the largest photo that is decoded; larger ones are left out.",
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
    layout: str,
    shard_photos: int | None,
    max_pixels: int,
    workers: int | None,
) -> None:
    """Turn the photos of SRC into a data set in the folder DST.

    SRC is a folder with one folder of photos for each class; or one with a folder for each split
    (train, val, test) of such folders; or one with a tar for each split; or a tar of any of these;
    or the word `digits` for scikit-learn's handwritten digits (./digits is a folder of that name).
    A tar is plain or packed with gzip, bzip2 or xz, whatever its name says. A tar inside an archive
    stands for a folder of its name, and so does a tar called after a wnid (n01440764.tar) inside a
    folder.

    Splits have their usual names in any case: train, training, training_set; val, valid,
    validation, eval, dev; test, testing, test_set. Without validation photos those of the test
    split serve as such; without either, a part of each class is set aside. A test split that is not
    used is reported. Folders that look like splits and make no sense as such are refused.

    ImageNet is read as it was published: SRC is a folder with ILSVRC2012_img_train.tar,
    ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz, or the first of them, with --val and
    --devkit for the others. Nothing is unpacked. Tiny ImageNet is read as published, once its zip
    is unpacked.

    Every photo is resized once and stored as JPEG. Photos that can't be read are left out and
    listed in DST/rejected.tsv. Folders of thumbnails or trash, hidden photos, empty class folders,
    archives among the photos and other files are counted. The same photos give the same bytes. A
    run that was stopped goes on when the same command is given again; a finished DST is left as it
    is.
    """
    from alexnet.machine import cores
    from train.prepare import find_photos, store_photos

    start = time.monotonic()
    catalogue = find_photos(
        source,
        folder,
        val=val,
        val_fraction=val_fraction,
        names=names,
        devkit=devkit,
        as_classes=layout == "classes",
    )
    dataset = store_photos(
        catalogue,
        folder,
        input=InputConfig(size=size, crop=size, fit=fit, filter=method),
        shard_photos=shard_photos,
        max_pixels=max_pixels,
        workers=workers or cores(),
    )
    seconds = time.monotonic() - start
    train, left_out = dataset.count("train"), dataset.facts["left_out"]
    log(
        f"{folder}: {train:,} training and {dataset.count('val'):,} validation photos of "
        f"{len(dataset.labels):,} classes, {left_out:,} left out, {seconds:.1f} s."
    )
    if passed_over := catalogue.passed_over.sentence():
        log(passed_over)
    summary = {"data": str(folder), "size": size, "classes": len(dataset.labels)}
    counts = {"train": train, "val": dataset.count("val"), "left_out": left_out}
    beside = {"passed_over": catalogue.passed_over.to_dict(), "seconds": round(seconds, 1)}
    click.echo(to_json({**summary, **counts, **beside}, ascii=True))
