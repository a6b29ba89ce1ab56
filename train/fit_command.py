"""The command `alexnet-train fit`, alone or under torchrun."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from alexnet import options
from alexnet.console import Command
from alexnet.machine import cores, keep_memory, quiet_native_code, share_cores
from train.layers import ALL_BUT_OUTPUT
from train.recipe import Recipe
from train.recipes import RECIPES, recipe, run_config, stretched

data = click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="A folder that `alexnet-train prepare` wrote.",
)
recipe_option = click.option(
    "--recipe",
    "recipe_name",
    type=click.Choice(list(RECIPES)),
    show_default="mini's own for the preset mini, else the paper's",
    help="How to train; `alexnet-train describe --recipe R` prints it.",
)
columns = click.option(
    "--columns",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that share one network: 2 puts each column on a device of its own.",
)
device = click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where to compute; under torchrun each process of a machine takes a GPU of its own.",
)
dtype = click.option(
    "--dtype",
    type=click.Choice(["float32", "float64", "bfloat16"]),
    show_default="the recipe's",
    help="Same as --set recipe.dtype=...",
)
workers = click.option(
    "--workers",
    type=click.IntRange(min=0),
    show_default="0 on CPUs, with a GPU by the number of cores",
    help="Processes that decode photos for each training process; 0: a thread does.",
)


@click.command("fit", cls=Command)
@options.preset
@recipe_option
@data
@click.option(
    "--out", type=options.OutputFolder(), required=True, help="The run's folder, runs/NAME say."
)
@columns
@device
@dtype
@click.option(
    "--epochs", type=click.IntRange(min=1), help="Same as --set recipe.epochs=N: the length."
)
@click.option(
    "--stretch",
    type=click.IntRange(min=1),
    metavar="EPOCHS",
    help="The recipe's course in so many epochs: cuts, patience, freezing, noise's end and warm-up "
    "move along.",
)
@click.option(
    "--init-from",
    type=click.Path(path_type=Path),
    metavar="CKPT",
    help="Begin with layers of a trained network: a model.safetensors, or a checkpoint in a run's "
    "folder. All else is new: other layers as the seed says, mean image and colours of --data.",
)
@click.option(
    "--keep",
    "layers",
    metavar="LAYERS",
    show_default=f"{ALL_BUT_OUTPUT}, all but the output layer",
    help="Which layers those are: conv1-conv5, or conv1,fc6-fc7 say.",
)
@click.option(
    "--max-steps",
    type=click.IntRange(min=1),
    help="End after so many steps in all, in the middle of an epoch if need be; --resume goes on.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of weights, order, crops, noise and dropout: the same seed gives the same network.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue the run in --out, if there is one. A restart by torchrun continues by itself "
    "what its own launch, known by its --rdzv-id, has begun and what has not diverged.",
)
@click.option(
    "--checkpoint-every",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Steps between checkpoints within an epoch; every epoch ends with one.",
)
@click.option(
    "--keep-checkpoints",
    "keep",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Checkpoints to keep; older ones are removed.",
)
@click.option(
    "--log-every",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Steps between lines of steps.jsonl.",
)
@click.option("--tensorboard", is_flag=True, help="Write the figures for TensorBoard, too.")
@workers
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
    columns: int,
    device: str,
    dtype: str | None,
    epochs: int | None,
    stretch: int | None,
    init_from: Path | None,
    layers: str | None,
    seed: int,
    resume: bool,
    workers: int | None,
    store: str,
    settings: tuple[str, ...],
    **choices: Any,
) -> None:
    """Train a network on prepared photos, from scratch or with layers of a trained one.

    The sections of --set are input, network and recipe: `--set recipe.lr=0.02`. The number of
    classes is the data set's. Writes config.json, metrics.jsonl, steps.jsonl, checkpoints and, at
    the end, model.safetensors into --out.

    Several processes share the work: `torchrun --nproc-per-node K -m train fit ...`. With
    --columns 2 each pair of them holds one network, a column each; pairs (or, with --columns 1,
    single processes) share each minibatch. SIGTERM writes a checkpoint and ends the run with exit
    code 0 (torchrun itself ends with 1); --resume goes on.
    """
    if stretch is not None and epochs is not None:
        raise click.UsageError(
            "--epochs sets a run's length, --stretch moves its course along: use one."
        )
    if layers is not None and init_from is None:
        raise click.UsageError(
            "--keep says what to take of a trained network: name it, --init-from."
        )
    share_cores()
    quiet_native_code()
    keep_memory()
    import torch

    from train.dataset import Dataset
    from train.fit import FitOptions
    from train.fit import fit as run
    from train.init_from import InitFrom
    from train.mesh import open_mesh
    from train.restarts import restarted

    chosen = chosen_recipe(preset_name, recipe_name)
    if stretch is not None:
        chosen = stretched(chosen, stretch)
    settings = recipe_settings(settings, epochs=epochs, dtype=dtype)
    with open_mesh(columns=columns, device=device) as mesh:
        with mesh.agreed():
            init = None
            if init_from is not None:
                init = InitFrom(path=init_from, keep=layers or ALL_BUT_OUTPUT)
            dataset = Dataset(data)
            config = run_config(
                preset_name, chosen, classes=len(dataset.labels), seed=seed, settings=settings
            )
        found = run(
            config,
            dataset,
            out,
            mesh=mesh,
            options=FitOptions(
                command=shlex.join(["alexnet-train", *sys.argv[1:]]),
                init_from=init,
                resume=resume,
                restarted=any(mesh.gather(restarted())),
                store=torch.float16 if store == "float16" else torch.float32,
                workers=decoders(device, mesh.neighbours) if workers is None else workers,
                **choices,
            ),
        )
        if mesh.first:
            model = {} if "stopped" in found else {"model": str(out / "model.safetensors")}
            click.echo(json.dumps({**model, **found}))


def chosen_recipe(preset_name: str, recipe_name: str | None) -> Recipe:
    """The recipe that was asked for, or the one that belongs to the preset."""
    return recipe(recipe_name or ("mini" if preset_name == "mini" else "paper"))


def recipe_settings(settings: tuple[str, ...], **values: object) -> tuple[str, ...]:
    """`settings`, and those of the recipe that have options of their own and were given."""
    own = (f"recipe.{name}={value}" for name, value in values.items() if value is not None)
    return (*settings, *own)


def decoders(device: str, neighbours: int) -> int:
    """How many processes decode photos for each of `neighbours` training processes of a machine.

    On CPUs a thread does: it decodes 25 to 60 times as fast as a step trains. A GPU's step leaves
    the training process no time for that.
    """
    return 0 if device == "cpu" else min(12, max(0, cores() // neighbours - 1))
