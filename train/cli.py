"""The command `alexnet-train`."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import click

from alexnet import options
from alexnet.config import Views, preset
from alexnet.console import Commands, print_table
from alexnet.machine import keep_memory, share_cores
from alexnet.settings import with_settings
from train.init import init
from train.prepare_command import prepare
from train.recipe import RECIPES, RunConfig, recipe


@click.group(cls=Commands)
@click.version_option(package_name="alexnet")
def main() -> None:
    """Prepare photos, train AlexNet on them, and measure it."""


main.add_command(prepare)
main.add_command(init)


@main.command()
@options.preset
@options.settings
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of a table.")
def describe(preset_name: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Print a preset's layers, shapes, parameters, multiply-accumulates and neurons."""
    from train.describe import describe_json, print_description

    config = with_settings(preset(preset_name), settings)
    if as_json:
        click.echo(json.dumps(describe_json(config), indent=2))
    else:
        print_description(config)


@main.command()
@options.preset
@click.option(
    "--recipe",
    "recipe_name",
    type=click.Choice(list(RECIPES)),
    show_default="mini's own for the preset mini, else the paper's",
    help="How to train.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="A folder that `alexnet-train prepare` wrote.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The run's folder, runs/NAME say."
)
@click.option("--epochs", type=click.IntRange(min=1), help="Same as --set recipe.epochs=N.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of weights, order, crops, noise and dropout: the same seed gives the same network.",
)
@click.option("--resume", is_flag=True, help="Continue the run in --out, if there is one.")
@click.option(
    "--store",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="How model.safetensors holds its weights; float16 halves the file and rounds them.",
)
@options.settings
def fit(
    preset_name: str,
    recipe_name: str | None,
    data: Path,
    out: Path,
    epochs: int | None,
    seed: int,
    resume: bool,
    store: str,
    settings: tuple[str, ...],
) -> None:
    """Train a network from scratch on prepared photos.

    The sections of --set are input, network and recipe: `--set recipe.lr=0.02`. The number of
    classes is the data set's. Writes config.json, metrics.jsonl, state.safetensors (after every
    epoch) and, at the end, model.safetensors into --out.
    """
    share_cores()
    keep_memory()
    import torch

    from train.dataset import Dataset
    from train.fit import fit as run

    dataset = Dataset(data)
    base = preset(preset_name)
    config = RunConfig(
        preset=preset_name,
        input=base.input,
        network=replace(base.network, classes=len(dataset.labels)),
        recipe=recipe(recipe_name or ("mini" if preset_name == "mini" else "paper")),
        seed=seed,
    )
    if epochs is not None:
        settings = (*settings, f"recipe.epochs={epochs}")
    config = with_settings(config, settings)
    command = shlex.join(["alexnet-train", *sys.argv[1:]])
    dtype = torch.float16 if store == "float16" else torch.float32
    metrics = run(config, dataset, out, resume=resume, command=command, store=dtype)
    click.echo(json.dumps({"model": str(out / "model.safetensors"), **metrics}))


@main.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="A folder that `alexnet-train prepare` wrote.",
)
@options.views
@click.option(
    "--split",
    type=click.Choice(["val", "train"]),
    default="val",
    show_default=True,
    help="Which photos.",
)
@click.option(
    "--ties",
    type=click.Choice(["index", "shared"]),
    default="index",
    show_default=True,
    help="Equally probable classes: by index, or sharing the places left as in 2012.",
)
@click.option(
    "--batch", type=click.IntRange(min=1), default=16, show_default=True, help="Photos in a call."
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write the result there, too."
)
def evaluate(
    artifact: Path,
    data: Path,
    views: Views | None,
    split: str,
    ties: str,
    batch: int,
    json_file: Path | None,
) -> None:
    """Print the top-1 error, top-5 error and loss of a checkpoint or exported model.

    A table of all classes and the whole, then the whole as one JSON line.
    """
    share_cores()
    from alexnet.backends import open_backend
    from alexnet.files import write_json
    from train.dataset import Dataset
    from train.evaluate import check_input, check_labels
    from train.evaluate import evaluate as run

    dataset = Dataset(data)
    backend = open_backend(artifact, views=views)
    check_input(backend.info.config.input, dataset, name=str(artifact))
    check_labels(backend.info.labels, dataset.labels)
    part = dataset.split("val" if split == "val" else "train")
    result = run(backend.run, part, batch=batch, ties="shared" if ties == "shared" else "index")
    rows = result.per_class(dataset.labels)
    summary = {"artifact": str(artifact), "views": backend.info.views, **result.summary()}
    print_table(
        f"{artifact}: {backend.info.views} view(s), {split} photos of {data}",
        ("class", "name", "photos", "top-1 error %", "top-5 error %", "loss"),
        [_row(row["label"], row["name"], row) for row in rows]
        + [_row("all", "", result.summary())],
    )
    click.echo(json.dumps(summary))
    if json_file is not None:
        write_json(json_file, {**summary, "classes": rows})


def _row(label: str, name: str, figures: dict[str, float]) -> tuple[object, ...]:
    errors = (f"{100 * figures[key]:.2f}" for key in ("top1_error", "top5_error"))
    return (label, name, figures["photos"], *errors, f"{figures['loss']:.4f}")
