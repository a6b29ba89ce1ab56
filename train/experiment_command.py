"""The command `alexnet-train experiment`."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path

import click

from alexnet import options
from alexnet.console import Command, log
from alexnet.machine import keep_memory, quiet_native_code, share_cores
from train.experiments.registry import MODULES


@click.command("experiment", cls=Command)
@click.argument("name", type=click.Choice(list(MODULES)))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="A folder that `alexnet-train prepare` wrote. Without it nothing is trained: figure and "
    "text are made again from the result in --out.",
)
@click.option(
    "--out",
    type=options.OutputFolder(),
    help="The experiment's folder; an experiment that was stopped there goes on. Needed but with "
    "--describe.",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where to train, on the photos in --data.",
)
@click.option(
    "--hours",
    type=click.FloatRange(min=0, min_open=True),
    help="Stop for now after so many hours; the result then says what is missing.",
)
@options.settings
@click.option(
    "--describe", is_flag=True, help="Print the experiment's settings as JSON, and do nothing."
)
@click.option(
    "--docs",
    type=options.OutputFolder(),
    help="Write the text into results.md of this folder, too, between the experiment's marks.",
)
def experiment(
    name: str,
    data: Path | None,
    out: Path | None,
    device: str,
    hours: float | None,
    settings: tuple[str, ...],
    describe: bool,
    docs: Path | None,
) -> None:
    """Show a claim of the paper again: train what it takes, draw the figure, write the text.

    Writes result.json, figure.svg and text.md into --out. Interrupted, the same command goes on.
    The last line on stdout is the result as JSON, without what every training found.
    """
    _check_use(describe=describe, trains=data is not None)
    share_cores()
    quiet_native_code()
    keep_memory()
    from alexnet.figures import check_figure_file
    from alexnet.files import write_text
    from alexnet.settings import to_dict, with_settings
    from train.experiments import pages
    from train.experiments.experiment import RESULT, Task, carry_out, read_result
    from train.experiments.registry import experiment as named

    chosen = named(name)
    asked = with_settings(chosen.settings, settings)
    if describe:
        click.echo(json.dumps(to_dict(asked), indent=2))
        return
    assert out is not None
    figure = out / "figure.svg"
    check_figure_file(figure)  # and the page, before hours of training rather than after them
    if docs is not None:
        pages.check_page(chosen, docs)
    if data is None:
        result = read_result(out / RESULT, chosen)
    else:
        task = Task(
            data=data,
            out=out,
            settings=asked,
            device=device,
            deadline=None if hours is None else time.monotonic() + 3600 * hours,
        )
        command = shlex.join(["alexnet-train", *sys.argv[1:]])
        result = carry_out(chosen, task, command=command)
    pages.draw(chosen, result, figure)
    write_text(out / "text.md", pages.section(chosen, result) + "\n")
    if docs is not None:
        pages.publish(chosen, result, docs)
    if not result["complete"]:
        log("Not all of it was run: the same command goes on.")
    click.echo(json.dumps({key: value for key, value in result.items() if key != "found"}))


def _check_use(*, describe: bool, trains: bool) -> None:
    """Refuse options that would be of no use beside the others."""
    if describe:
        others = ("data", "out", "device", "hours", "docs")
        reason = "--describe prints the settings and does nothing"
        options.refuse_unread(*others, reason=reason)
        return
    if not options.given("out"):
        raise click.UsageError("Name the experiment's folder with --out.")
    if not trains:
        reason = "Nothing is trained without --data"
        options.refuse_unread("settings", "hours", "device", reason=reason)
