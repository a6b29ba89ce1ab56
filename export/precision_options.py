"""Options of the commands that write a graph or an engine in a precision."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

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
    help="Photos, or a prepared data set, that show int8 how large values become.",
)

method = click.option(
    "--calibration",
    "method",
    type=click.Choice(["percentile", "entropy"]),
    default="percentile",
    show_default=True,
    help="How int8 finds the range of a value.",
)
