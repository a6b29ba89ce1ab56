"""The command `alexnet-train speed`, alone or under torchrun."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from alexnet import options
from alexnet.console import Command, print_table
from alexnet.machine import keep_memory, quiet_native_code, share_cores
from train import fit_command
from train.recipes import run_config

_NAMES = {"loader": "loader alone", "step": "step alone", "both": "both together"}


@click.command("speed", cls=Command)
@options.preset
@fit_command.recipe_option
@fit_command.data
@fit_command.columns
@fit_command.device
@fit_command.dtype
@click.option("--batch", type=click.IntRange(min=1), help="Same as --set recipe.batch=N.")
@fit_command.workers
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    help="How long to measure; three rounds are made at least.",
)
@options.settings
@click.option("--json", "json_file", type=options.OutputFile(), help="Write the result there, too.")
def speed(
    preset_name: str,
    recipe_name: str | None,
    data: Path,
    columns: int,
    device: str,
    dtype: str | None,
    batch: int | None,
    workers: int | None,
    seconds: float,
    settings: tuple[str, ...],
    json_file: Path | None,
) -> None:
    """Measure how many photos a second training takes, and what bounds it.

    The loader alone decodes photos to minibatches and does nothing else. The step alone trains on
    one minibatch that stays on the device: crops, colour noise, forward, backward, update. Both
    together are as in an epoch. The three take turns, in slices of a second or so; medians and
    quartiles are over the rounds. Prints a table, what bounds the run, and last one JSON line.

    A run says the same of itself: `alexnet-train fit` logs each epoch's photos a second and the
    share of its time in which the step waited for photos. Several processes take part as in a run:
    `torchrun --nproc-per-node K -m train speed ...`.
    """
    share_cores()
    quiet_native_code()
    keep_memory()
    from alexnet.files import write_json
    from train.dataset import Dataset
    from train.mesh import open_mesh
    from train.speed import measure

    chosen = fit_command.chosen_recipe(preset_name, recipe_name)
    settings = fit_command.recipe_settings(settings, batch=batch, dtype=dtype)
    with open_mesh(columns=columns, device=device) as mesh:
        with mesh.agreed():
            dataset = Dataset(data)
            classes = len(dataset.labels)
            config = run_config(preset_name, chosen, classes=classes, settings=settings)
        if workers is None:
            workers = fit_command.decoders(device, mesh.neighbours)
        found = measure(config, dataset, mesh=mesh, workers=workers, seconds=seconds)
        if not mesh.first:
            return
    _print(found)
    click.echo(json.dumps(found))
    if json_file is not None:
        write_json(json_file, found)


def _print(found: dict[str, Any]) -> None:
    rows = []
    for part, name in _NAMES.items():
        rate, ratio = found["photos_per_second"][part], found["times_the_step"][part]
        rows.append(
            (
                name,
                f"{rate['median']:,.1f}",
                f"{rate['p25']:,.1f}..{rate['p75']:,.1f}",
                f"{ratio['median']:.2f}",
                f"{ratio['p25']:.2f}..{ratio['p75']:.2f}",
            )
        )
    print_table(
        f"Photos per second ({found['rounds']} rounds)",
        ("", "photos/s", "quartiles", "x step", "quartiles"),
        rows,
    )
    decoders = f"{found['workers']} worker process(es)" if found["workers"] else "a thread"
    click.echo(
        f"{found['preset']}, recipe {found['recipe']}, {found['batch']} photos a step, "
        f"{found['dtype']} on {found['device']}, {found['processes']} process(es) with "
        f"{found['threads']} threads; photos of {found['size']} pixels, decoded by {decoders}."
    )
    click.echo(f"Waiting for photos: {found['waiting_for_photos']:.0%} of both together.")
    click.echo(f"What bounds it: {found['verdict']}")
