"""Trainers on three colours, with a recipe in which no two numbers are alike."""

from dataclasses import replace

from alexnet.config import mini
from tests.models import tiny
from train.dataset import Dataset
from train.recipe import NoiseConfig, Recipe, RunConfig
from train.trainer import Trainer

# No number of it is a default either.
ODD = Recipe(name="odd", batch=20, lr=0.003, bias_lr=0.007, momentum=0.8, weight_decay=0.04)
QUIET = NoiseConfig(coefficient=0.0)


def config_of(*, recipe=ODD, mean="aligned", classes=3, **dropout):
    """A narrow mini on photos of 64 pixels, to be trained by `recipe` with the seed 5."""
    network = tiny().network
    network = replace(network, classes=classes, dropout=replace(network.dropout, **dropout))
    return RunConfig(
        preset="mini",
        input=replace(mini().input, mean=mean),
        network=network,
        recipe=recipe,
        seed=5,
    )


def train_epoch(trainer):
    """What is left of an epoch; its running loss and error. The schedule hears of the error."""
    for _ in trainer.steps():
        pass
    trainer.settle()
    figures = trainer.sums.figures()
    trainer.end_epoch(figures["train_error"])
    return figures


def trainer_of(data, **fields):
    """A trainer of `config_of(**fields)` that is about to begin."""
    return Trainer(config_of(**fields), Dataset(data))
