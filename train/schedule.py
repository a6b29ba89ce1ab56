"""Learning rates at every moment of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from train.layers import names
from train.recipe import LayersConfig, RateStep, Recipe, ScheduleConfig


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
    best: float | None = None
    """Lowest validation error so far; infinite in old checkpoints before the first."""
    since_best: int = 0
    """Epochs since the last improvement or cut."""
    finished: bool = False

    def after_epoch(self, validation_error: float) -> None:
        """Take note of the epoch that ended."""
        if self.config.kind != "plateau":
            return
        if self.best is None or validation_error < self.best:
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
class LayerRates:
    """Of the layers that one entry of the recipe's `layers` names, conv1 apart."""

    layers: str
    weights: float
    biases: float


@dataclass(frozen=True)
class Rates:
    """Learning rates of a step."""

    weights: float
    """Of all layers that have no rates of their own."""
    biases: float
    conv1_weights: float
    conv1_biases: float
    layers: tuple[LayerRates, ...] = ()
    """Of those that have."""

    def named(self) -> dict[str, float]:
        """All of them by the names of the optimizer's groups."""
        found = {
            "weights": self.weights,
            "biases": self.biases,
            "conv1_weights": self.conv1_weights,
            "conv1_biases": self.conv1_biases,
        }
        for own in self.layers:
            found |= {f"{own.layers}_weights": own.weights, f"{own.layers}_biases": own.biases}
        return found


def rates(recipe: Recipe, moment: Moment, *, cuts: int = 0) -> Rates:
    """The rates at `moment`; `cuts`: how often a plateau has cut them."""
    factor = _factor(recipe.schedule, moment, epochs=recipe.epochs, cuts=cuts)
    if recipe.bias_schedule is None:
        bias_factor = factor
    else:
        bias_factor = _factor(recipe.bias_schedule, moment, epochs=recipe.epochs, cuts=0)
    weights, biases = recipe.lr * factor, recipe.bias_lr * bias_factor
    first, own = LayerRates("conv1", weights, biases), []
    for part in recipe.layers:
        factors = _own_factors(part, moment)
        found = LayerRates(part.layers, weights * factors[0], biases * factors[1])
        if names(part.layers, "conv1"):
            first = found
        if part.layers != "conv1":
            own.append(found)
    conv1 = recipe.conv1
    frozen = conv1.frozen_at is not None and moment.epoch >= conv1.frozen_at
    slow = conv1.slow_at is not None and moment.epoch >= conv1.slow_at
    slowed = 0.0 if frozen else first.weights * (conv1.slow_factor if slow else 1.0)
    return Rates(weights, biases, slowed, 0.0 if frozen else first.biases, tuple(own))


def _own_factors(part: LayersConfig, moment: Moment) -> tuple[float, float]:
    """What multiplies the weights' and the biases' rate of some layers."""
    now: LayersConfig | RateStep = part
    done = (moment.epoch - 1) * moment.steps + moment.step
    for step in part.steps:
        # A step of the run that a fraction misses by its rounding is met.
        if done >= (step.at - 1) * moment.steps - 1e-6:
            now = step
    return now.factor, now.factor if now.bias_factor is None else now.bias_factor


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
