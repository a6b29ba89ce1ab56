"""The command `alexnet-train evaluate`, alone or under torchrun."""

from __future__ import annotations

import json
from pathlib import Path

import click

from alexnet import options
from alexnet.config import Views
from alexnet.console import Command, print_table
from alexnet.machine import share_cores
from train.fit_command import data as data_option
from train.fit_command import device as device_option


@click.command("evaluate", cls=Command)
@click.argument("artifact", type=click.Path(path_type=Path))
@data_option
@options.views
@device_option
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
    device: str,
    split: str,
    ties: str,
    batch: int,
    json_file: Path | None,
) -> None:
    """Print the top-1 error, top-5 error and loss of a checkpoint or exported model.

    A table of all classes and the whole, then the whole as one JSON line. Processes that torchrun
    starts share the photos: `torchrun --nproc-per-node K -m train evaluate ...`.
    """
    share_cores()
    from alexnet.backends import open_backend
    from alexnet.files import write_json
    from train.dataset import Dataset
    from train.evaluate import check_input, check_labels, check_same_photos
    from train.evaluate import evaluate as run
    from train.mesh import open_mesh
    from train.metrics import Ties

    with open_mesh(device=device) as mesh:
        with mesh.agreed():
            dataset = Dataset(data)
            backend = open_backend(artifact, views=views, device=str(mesh.device))
            check_input(backend.info.config.input, dataset, name=str(artifact))
            check_labels(backend.info.labels, dataset.labels)
        check_same_photos(dataset, mesh)
        part = dataset.split("val" if split == "val" else "train")
        rule: Ties = "shared" if ties == "shared" else "index"
        result = run(backend.run, part, batch=batch, ties=rule, mesh=mesh)
        if not mesh.first:
            return
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
