"""Learning rates at every moment of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from train.recipe import Recipe, ScheduleConfig


@dataclass(frozen=True)
class Moment:
    """The beginning of a step."""

    epoch: int
    """Counted from 1."""
    step: int = 0
    """Of the epoch, counted from 0."""
    steps: int = 1
    """Of a whole epoch."""

    @property
    def passed(self) -> float:
        """Epochs that are over, with the part of this one."""
        return self.epoch - 1 + self.step / self.steps


@dataclass
class Plateau:
    """Follows the validation error epoch by epoch; its fields are all the state it has.

    [P §5]: the rate was divided by 10 when the validation error stopped improving, three times
    before termination. Here no person has to watch. Schedules of other kinds have no state.
    """

    config: ScheduleConfig
    done_cuts: int = 0
    best: float = float("inf")
    """Lowest validation error so far."""
    since_best: int = 0
    """Epochs since the last improvement or cut."""
    finished: bool = False

    def after_epoch(self, validation_error: float) -> None:
        """Take note of the epoch that ended."""
        if self.config.kind != "plateau":
            return
        if validation_error < self.best:
            self.best, self.since_best = validation_error, 0
            return
        self.since_best += 1
        if self.since_best >= self.config.patience:
            self.since_best = 0
            if self.done_cuts == self.config.cuts:
                self.finished = True
            else:
                self.done_cuts += 1


@dataclass(frozen=True)
class Rates:
    """Learning rates of a step."""

    weights: float
    biases: float
    conv1_weights: float
    conv1_biases: float


def rates(recipe: Recipe, moment: Moment, *, cuts: int = 0) -> Rates:
    """The rates at `moment`; `cuts`: how often a plateau has cut them."""
    factor = _factor(recipe.schedule, moment, epochs=recipe.epochs, cuts=cuts)
    if recipe.bias_schedule is None:
        bias_factor = factor
    else:
        bias_factor = _factor(recipe.bias_schedule, moment, epochs=recipe.epochs, cuts=0)
    weights, biases = recipe.lr * factor, recipe.bias_lr * bias_factor
    conv1 = recipe.conv1
    if conv1.frozen_at is not None and moment.epoch >= conv1.frozen_at:
        return Rates(weights, biases, 0.0, 0.0)
    slow = conv1.slow_at is not None and moment.epoch >= conv1.slow_at
    return Rates(weights, biases, weights * (conv1.slow_factor if slow else 1.0), biases)


def _factor(config: ScheduleConfig, moment: Moment, *, epochs: int, cuts: int) -> float:
    progress = moment.passed / epochs
    if config.kind == "plateau":
        factor = config.factor**cuts
    elif config.kind == "epochs":
        factor = config.factor ** sum(cut <= moment.epoch for cut in config.cut_at)
    elif config.kind == "dexp":
        # A boundary belongs to the part before it: in whole numbers, for fractions would miss it.
        done = (moment.epoch - 1) * moment.steps + moment.step
        part = -(-done * config.steps // (epochs * moment.steps)) - 1
        part = min(max(part, 0), config.steps - 1)
        factor = config.reduction ** (-part / (config.steps - 1))
    elif config.kind == "cosine":
        factor = 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    else:
        factor = 1.0
    if config.warm_up:
        # The first step is not lost: it has the rate that its end deserves.
        factor *= min(1.0, (moment.passed + 1 / moment.steps) / config.warm_up)
    return factor
