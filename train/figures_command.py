"""The command `alexnet-train figures`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from alexnet import options
from alexnet.console import Command, log, print_table
from alexnet.machine import share_cores
from train.fit_command import device as device_option


@click.command("figures", cls=Command)
@click.argument("checkpoint", metavar="CKPT", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="A folder that `alexnet-train prepare` wrote: its validation photos are answered. Without "
    "it the figures answers and confusion are left out.",
)
@click.option(
    "--out", type=options.OutputFolder(), required=True, help="The folder for the figures."
)
@click.option(
    "--run",
    "run_folder",
    type=click.Path(path_type=Path, exists=True),
    show_default="the checkpoint's folder",
    help="The run, or its metrics.jsonl under any name, whose learning curves are drawn.",
)
@click.option(
    "--format",
    "ending",
    type=click.Choice(["svg", "png"]),
    default="svg",
    show_default=True,
    help="Of the figures.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the choice of photos.",
)
@click.option(
    "--views",
    type=click.Choice(["centre", "ten"]),
    default="centre",
    show_default=True,
    help="The centre view alone, as in 2012's tool, or the average of ten.",
)
@click.option(
    "--classes",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Classes with the most errors whose confusions are shown.",
)
@device_option
def figures(
    checkpoint: Path,
    data: Path | None,
    out: Path,
    run_folder: Path | None,
    ending: str,
    seed: int,
    views: str,
    classes: int,
    device: str,
) -> None:
    """Draw what a trained network has learnt: the paper's Figures 3 and 4, curves and confusions.

    Writes into --out: kernels (conv1, column by column, with the share of colour in each kernel),
    answers (eight photos with their five most probable labels), curves (errors and losses by epoch)
    and confusion (what the worst classes are taken for); and figures.json with all numbers and the
    choice of photos. What can't be drawn is named in a sentence. The last line on stdout is a
    summary as JSON.
    """
    if data is None:
        unread = ("seed", "views", "classes", "device")
        options.refuse_unread(*unread, reason="There are no photos without --data")
    share_cores()
    from alexnet.files import write_json
    from train.figures.gallery import Gallery

    gallery = Gallery(checkpoint, out=out, ending=ending)
    gallery.kernels()
    gallery.curves(run_folder or checkpoint.parent)
    gallery.of_photos(data, seed=seed, views=views, classes=classes, device=device)
    write_json(out / "figures.json", gallery.facts)
    for sentence in dict.fromkeys(gallery.facts["missing"].values()):
        log(sentence)
    kernels = gallery.facts.get("kernels", {})
    if "medians" in kernels:
        columns = zip(kernels["energies"], kernels["medians"], strict=True)
        rows = [(n, len(each), f"{median:.4f}") for n, (each, median) in enumerate(columns, 1)]
        print_table("Kernels of conv1", ("column", "kernels", "median colour energy"), rows)
    summary = {
        "out": str(out),
        "drawn": gallery.facts["drawn"],
        "medians": kernels.get("medians"),
        "auc": kernels.get("auc"),
    }
    click.echo(json.dumps(summary))
