"""`alexnet-label`: photos in, a table of their classes out."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import cast

import click

from alexnet import options
from alexnet.backends import BACKENDS
from alexnet.config import Views
from alexnet.console import Command, log
from alexnet.photo import MAX_PIXELS
from serve.inputs import InputError, count_photos
from serve.labelling import Labelling, label
from serve.records import FORMATS, Format

HELP = """Label photos with their most probable classes.

PHOTOS are files, folders (searched at every depth, hidden files left out) and
globs in quotes ('photos/**/*.jpg'), as many as you like. Rows come in the order of
the arguments; a folder's photos are sorted by path.

\b
Examples:
  alexnet-label photos/ -o labels.csv
  alexnet-label 'a/*.jpg' b.png -o labels.jsonl --top-k 3 --names
  alexnet-label photos/ --model model.onnx -o - | head

A photo that can't be read keeps its row, with status "error", a code and a
sentence. The output file appears once it is whole, and then replaces an older one.
Bytes of a file name that are not UTF-8 are written as \\xNN.

Exit code: 0 all photos labelled, 1 some failed or the run did (a sentence says
why), 2 wrong use.
"""


@click.command(cls=Command, help=HELP)
@click.version_option(package_name="alexnet")
@click.argument("photos", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    default="-",
    metavar="FILE",
    show_default="stdout",
    help="File for the rows: .csv, or .jsonl for JSON lines. - is stdout.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["csv", "jsonl"]),
    show_default="by the output's ending; csv on stdout",
    help="Format of the rows.",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    show_default="the model that ships",
    help="Checkpoint (.safetensors) or exported model (.onnx, .engine).",
)
@click.option(
    "--backend",
    type=click.Choice(["auto", *BACKENDS]),
    default="auto",
    show_default=True,
    help="What runs the model; auto goes by its ending.",
)
@options.views
@options.device
@options.threads
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    show_default="5, or all where there are fewer",
    help="Classes in each row.",
)
@click.option(
    "--names",
    is_flag=True,
    help="Write the classes' names ('tabby, tabby cat') instead of their ids ('n02123045').",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Photos that the model gets at once.",
)
@click.option(
    "--decoders",
    type=click.IntRange(min=1),
    show_default="one per core",
    help="Photos that are decoded at once.",
)
@click.option(
    "--fast",
    is_flag=True,
    help="Shrink large photos while they are decoded: several times faster from about two "
    "megapixels on, with slightly different pixels.",
)
@click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    default=MAX_PIXELS,
    show_default=True,
    help="Refuse larger photos (width times height) before they are decoded.",
)
def main(
    photos: tuple[str, ...],
    output: str,
    format_name: str | None,
    model: Path | None,
    backend: str,
    views: str | None,
    device: str,
    threads: int | None,
    top_k: int | None,
    names: bool,
    batch: int,
    decoders: int | None,
    fast: bool,
    max_pixels: int,
) -> None:
    """Label photos; the help is in HELP."""
    target = None if output == "-" else Path(output)
    kind = cast(Format | None, format_name)
    if kind is None:
        kind = "csv" if target is None else FORMATS.get(target.suffix.lower())
    if kind is None:
        raise click.UsageError(
            f"{output} does not say its format: end it in {', '.join(FORMATS)}, or give --format."
        )
    try:
        total = count_photos(photos)
    except InputError as error:
        raise click.UsageError(str(error)) from error

    # A terminated run cleans up its temporary file, as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcome = label(
        Labelling(
            inputs=photos,
            output=target,
            format=kind,
            model=model,
            backend=backend,
            views=cast(Views | None, views),
            device=device,
            threads=threads,
            top_k=top_k,
            names=names,
            batch=batch,
            decoders=decoders,
            fast=fast,
            max_pixels=max_pixels,
        ),
        total=total,
    )
    failed = f", {outcome.failed:,} failed (see error_message)" if outcome.failed else ""
    rate = (outcome.labelled + outcome.failed) / outcome.seconds
    where = "stdout" if target is None else output
    log(
        f"{outcome.labelled:,} labelled{failed} in {outcome.seconds:.1f} s "
        f"({rate:,.1f} photos/s) -> {where}"
    )
    if outcome.failed:
        raise click.exceptions.Exit(1)
