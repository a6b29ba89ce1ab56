"""The command `alexnet-train`."""

from __future__ import annotations

import click

from alexnet.console import Commands
from train.describe_command import describe
from train.evaluate_command import evaluate
from train.experiment_command import experiment
from train.figures_command import figures
from train.fit_command import fit
from train.imagenet_plan_command import imagenet_plan
from train.init import init
from train.prepare_command import prepare
from train.speed_command import speed


@click.group(cls=Commands)
@click.version_option(package_name="alexnet")
def main() -> None:
    """Prepare photos, train AlexNet on them, and measure it."""


for command in (prepare, init, describe, fit, evaluate, speed, experiment, figures, imagenet_plan):
    main.add_command(command)
