"""`alexnet-train init`: an untrained checkpoint of any preset."""

from __future__ import annotations

from pathlib import Path

import click

from alexnet import options
from alexnet.config import preset
from alexnet.console import Command, log, progress
from alexnet.settings import with_settings


@click.command("init", cls=Command)
@options.preset
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the random weights: the same seed gives the same weights.",
)
@click.option(
    "-o",
    "--output",
    type=options.OutputFile(),
    required=True,
    help="The .safetensors file to write.",
)
@click.option(
    "--scaled",
    is_flag=True,
    help="Rescale layer by layer, so that activations and probabilities are of a trained "
    "network's size: for exports and benchmarks. Not a start for training.",
)
@click.option(
    "--labels",
    "labels_file",
    type=click.Path(path_type=Path),
    help='The classes: a JSON list of {"wnid", "name"}, or the dataset.json of a data set. Sets '
    "the number of outputs. When not given: the classes of ILSVRC-2012 for 1000 outputs, else "
    '"class 0", "class 1" and so on.',
)
@options.settings
def init(
    preset_name: str,
    seed: int,
    output: Path,
    scaled: bool,
    labels_file: Path | None,
    settings: tuple[str, ...],
) -> None:
    """Write an untrained checkpoint of a preset, its weights drawn as the preset says."""
    from alexnet.checkpoint import save_checkpoint
    from train.untrained import read_labels, untrained

    config = with_settings(preset(preset_name), settings)
    labels = None if labels_file is None else read_labels(labels_file)
    with progress(f"Writing {output.name}", total=None, unit=""):
        save_checkpoint(untrained(config, seed=seed, scaled=scaled, labels=labels), output)
    log(f"Wrote {output}: {preset_name}, untrained{', scaled' if scaled else ''}, seed {seed}.")
