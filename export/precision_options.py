"""Options of the commands that write a graph or an engine in a precision."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from alexnet import options
from alexnet.backends.base import Precision

precision = click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    show_default="the graph's own; a checkpoint's is fp32",
    help="Of layers and weights; photos, mean, normalisation, softmax and answers never change.",
)

calibrate = click.option(
    "--calibrate",
    type=click.Path(path_type=Path),
    metavar="PHOTOS|DATA",
    show_default="pieces of scikit-learn's two photographs",
    help="Photos, or a prepared data set, that show int8 how large values become: 128 of them, "
    "evenly spread, or all where there are fewer.",
)

method = click.option(
    "--calibration",
    "method",
    type=click.Choice(["percentile", "entropy", "nncf"]),
    show_default="nncf for OpenVINO, else percentile",
    help="How int8 finds the range of a value; nncf needs the extra int8.",
)


def validation(command: Callable[..., None]) -> Callable[..., None]:
    """Options of the accuracy's gate, which the command gets as one argument, `gate`."""

    @click.option(
        "--validate",
        type=click.Path(path_type=Path),
        metavar="DATA",
        help="Labelled photos to measure accuracy on beside float32 (of float32 itself beside the "
        "checkpoint), which int8 and bf16 need: a prepared data set (its validation photos), or a "
        "folder of class folders.",
    )
    @click.option(
        "--max-drop",
        type=click.FloatRange(min=0),
        metavar="POINTS",
        help="Write nothing where top-1 accuracy falls by more than so many points in percent.",
    )
    @click.option(
        "--unvalidated", is_flag=True, help="Write int8 or bf16 without measuring its accuracy."
    )
    @functools.wraps(command)
    def with_gate(
        *, validate: Path | None, max_drop: float | None, unvalidated: bool, **others: Any
    ) -> None:
        from export.accuracy import Gate

        if others["precision"] != "int8":
            options.refuse_unread(
                "calibrate", "method", reason="Only --precision int8 takes ranges from photos"
            )
        if others["precision"] in ("fp32", "fp16"):
            reason = f"{others['precision']} needs no photos that show its accuracy"
            options.refuse_unread("unvalidated", reason=reason)
        gate = Gate(validate=validate, max_drop=max_drop, unvalidated=unvalidated)
        command(**others, gate=gate)

    return with_gate
