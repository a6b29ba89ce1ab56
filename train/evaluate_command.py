"""The command `alexnet-train evaluate`, alone or under torchrun."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from alexnet import options
from alexnet.config import Views
from alexnet.console import Command
from alexnet.machine import keep_memory, share_cores
from train.fit_command import data as data_option
from train.fit_command import device as device_option


@click.command("evaluate", cls=Command)
@click.argument(
    "artifacts", metavar="MODEL...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
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
    "--compiled",
    is_flag=True,
    help="Let PyTorch compile a checkpoint's network first, on a CPU: up to minutes, then faster.",
)
@click.option(
    "--weights",
    metavar="equal|tuned|W,W,...",
    show_default="equal",
    help="Of several models in their average; tuned: for few top-5 errors on half of the photos, "
    "and measured on the other half.",
)
@click.option(
    "--corrupt",
    is_flag=False,
    flag_value="all",
    metavar="all|KIND,KIND,...",
    help="Measure on spoilt photos, too, at five severities: occlusion, brightness, contrast, "
    "noise, blur, jpeg.",
)
@click.option(
    "--plot",
    type=options.OutputFile(),
    metavar="FILE.png|FILE.svg",
    help="With --corrupt: draw the error against the severity.",
)
@click.option("--json", "json_file", type=options.OutputFile(), help="Write the result there, too.")
def evaluate(
    artifacts: tuple[Path, ...],
    data: Path,
    views: Views | None,
    device: str,
    split: str,
    ties: str,
    batch: int,
    compiled: bool,
    weights: str | None,
    corrupt: str | None,
    plot: Path | None,
    json_file: Path | None,
) -> None:
    """Print the top-1 error, top-5 error and loss of a checkpoint or exported model.

    A table of all classes and the whole, then the whole as one JSON line. Several models are
    measured alone and on average: their probabilities' mean. Processes that torchrun starts share
    the photos: `torchrun --nproc-per-node K -m train evaluate ...`.
    """
    several = len(artifacts) > 1
    _check_use(several, weights=weights, corrupt=corrupt, plot=plot)
    share_cores()
    keep_memory()
    from alexnet.backends import open_backend
    from alexnet.figures import check_figure_file
    from alexnet.files import write_json
    from train import evaluate_report as report
    from train.averaging import check_alike, evaluate_average, parse_weights
    from train.corruptions import parse_corruptions
    from train.dataset import Dataset
    from train.evaluate import check_input, check_labels, check_same_photos
    from train.evaluate import evaluate as evaluate_one
    from train.mesh import open_mesh
    from train.metrics import Ties
    from train.robustness import draw_robustness, evaluate_corrupted

    with open_mesh(device=device) as mesh:
        with mesh.agreed():
            kinds = () if corrupt is None else parse_corruptions(corrupt)
            shares = parse_weights(weights or "equal", len(artifacts))
            if plot is not None:
                check_figure_file(plot)
            dataset = Dataset(data)
            place = str(mesh.device)
            backends = [
                open_backend(path, views=views, device=place, compiled=compiled)
                for path in artifacts
            ]
            infos, runs = [each.info for each in backends], [each.run for each in backends]
            check_alike(infos)
            for path, info in zip(artifacts, infos, strict=True):
                check_input(info.config.input, dataset, name=str(path))
                check_labels(info.labels, dataset.labels)
        check_same_photos(dataset, mesh)
        part = dataset.split("val" if split == "val" else "train")
        rule: Ties = "shared" if ties == "shared" else "index"
        # What every way of evaluating takes, and every report.
        how: Any = {"batch": batch, "ties": rule, "mesh": mesh}
        words: Any = {"labels": dataset.labels, "photos": f"{split} photos of {data}"}
        if several:
            averaged = evaluate_average(runs, part, weights=shares, **how)
        elif kinds:
            spoilt = evaluate_corrupted(runs[0], part, kinds, **how)
        else:
            result = evaluate_one(runs[0], part, **how)
        if not mesh.first:
            return
    if several:
        summary, more = report.report_average(averaged, infos, **words)
    elif kinds:
        summary, more = report.report_corrupted(spoilt, infos[0], **words)
    else:
        summary, more = report.report_one(result, infos[0], **words)
    click.echo(json.dumps(summary))
    if json_file is not None:
        write_json(json_file, {**summary, **more})
    if plot is not None:
        draw_robustness(f"{artifacts[0].name} on spoilt photos", summary, plot)


def _check_use(
    several: bool, *, weights: str | None, corrupt: str | None, plot: Path | None
) -> None:
    if weights is not None and not several:
        raise click.UsageError("--weights belongs to an average: name several models.")
    if corrupt is not None and several:
        raise click.UsageError("--corrupt takes one model.")
    if plot is not None and corrupt is None:
        raise click.UsageError("--plot draws what --corrupt measures: name both.")
