"""Which experiments there are, and the files they are in."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from train.experiments.experiment import Experiment

MODULES = {
    "relu-vs-tanh": "train.experiments.relu_vs_tanh",
    "response-norm": "train.experiments.response_norm",
    "ablations": "train.experiments.ablations",
    "dropout": "train.experiments.dropout",
    "ensemble": "train.experiments.ensemble",
    "transfer": "train.experiments.transfer",
}
"""Imported when one of them is asked for: they need PyTorch."""


def experiment(name: str) -> Experiment:
    """The experiment called `name`, one of MODULES."""
    found: Experiment = importlib.import_module(MODULES[name]).EXPERIMENT
    return found
