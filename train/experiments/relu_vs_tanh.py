"""Figure 1 of the paper: how much sooner ReLUs reach 25 % training error than tanh does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

from train.experiments.cifar_networks import NONLINEARITIES, Nonlinearity
from train.experiments.cifar_training import Epoch, Step, Training, epochs_of
from train.experiments.experiment import Experiment, Found, Task
from train.experiments.race import Rules, Standing, crossing, standing
from train.experiments.relu_vs_tanh_page import draw, text
from train.experiments.side_by_side import SideBySide

Candidate = tuple[Training, float]
"""A training and its constant rate."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is compared, and how long it may take."""

    nets: tuple[Literal["a", "b"], ...] = ("a",)
    """`a`: cuda-convnet's layers-19pct; `b`: its layers-conv-local-13pct, 2.7 times the work."""
    rates: tuple[float, ...] = (0.0003, 0.0006, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03)
    """Rates of weights that race with one another; biases have twice as much."""
    first_stds: tuple[float, ...] = (1e-4, 1e-2)
    """Deviations of conv1's first weights, each with a race of its own. The layer files' 1e-4
    lets a tanh begin nearly linear."""
    seeds: tuple[int, ...] = (0, 1, 2, 3)
    """Of first weights: the first one races, the others train again what won."""
    target: float = 0.25
    """Training error that is to be reached."""
    rungs: tuple[int, ...] = (2, 6)
    """Epochs after which only the better half of a race goes on, and never less than two."""
    beyond: int = 2
    """Epochs that the winner trains on, for its curve."""
    max_epochs: int = 60
    """The longest training."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("nets", "rates", "first_stds", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name} must hold at least one value, and none twice.")
        if not all(0 < value < math.inf for value in (*self.rates, *self.first_stds)):
            raise ValueError("rates and first_stds must be more than 0.")
        if not all(0 <= seed < 2**63 for seed in self.seeds):
            raise ValueError("seeds must be 0 or more.")
        if not 0 < self.target < 1:
            raise ValueError(f"target must be between 0 and 1, not {self.target:g}.")
        if not all(low < high for low, high in pairwise((0, *self.rungs))):
            raise ValueError("rungs must be epochs from 1 on, each later than the one before.")
        if self.beyond < 0 or self.max_epochs < 1:
            raise ValueError("beyond must be at least 0, and max_epochs at least 1.")


def run(task: Task) -> Found:
    """Train until every race has a winner and every seed has crossed."""
    with SideBySide(task) as trainer:
        runs = _Runs(task.settings, trainer)
        while (steps := list(runs.steps())) and not task.late:
            for name, epochs in trainer.train(steps):
                runs.epochs[name] = epochs
        begun = [epochs for epochs in runs.epochs.values() if epochs]
        return Found(
            figures={"nets": runs.figures()},
            runs=len(begun),
            seconds=sum(epoch.seconds for epochs in begun for epoch in epochs),
            complete=not steps,
        )


class _Runs:
    """All trainings and their epochs so far; what is to come follows from them."""

    def __init__(self, settings: Settings, trainer: SideBySide) -> None:
        self.settings = settings
        self.trainer = trainer
        self.epochs: dict[str, list[Epoch]] = {}
        """By name; of trainings that were asked about."""
        self.rules = Rules(
            target=settings.target, rungs=settings.rungs, max_epochs=settings.max_epochs
        )

    def steps(self) -> Iterator[Step]:
        """Every training that has an epoch to come, and does not wait for another's result."""
        for net in self.settings.nets:
            for nonlinearity in NONLINEARITIES:
                for first_std in self.settings.first_stds:
                    race = self.race(net, nonlinearity, first_std)
                    names = self.standing(race).to_train
                    yield from (self.step(one) for one in race if _name(one) in names)
                for one in self.seeds(net, nonlinearity):
                    if self.unfinished(one):
                        yield self.step(one)

    def step(self, one: Candidate) -> Step:
        """The next epoch of a training."""
        training, rate = one
        return Step(
            name=_name(one),
            training=training,
            rate=rate,
            bias_rate=2 * rate,
            after=len(self.of(one)),
        )

    def race(
        self, net: Literal["a", "b"], nonlinearity: Nonlinearity, first_std: float
    ) -> list[Candidate]:
        """Trainings with every rate."""
        training = Training(
            net=net, nonlinearity=nonlinearity, first_std=first_std, seed=self.settings.seeds[0]
        )
        return [(training, rate) for rate in self.settings.rates]

    def standing(self, race: list[Candidate]) -> Standing:
        """How a race stands."""
        return standing({_name(one): self.of(one) for one in race}, self.rules)

    def chosen(self, net: Literal["a", "b"], nonlinearity: Nonlinearity) -> Candidate | None:
        """The quickest of all races of a nonlinearity; None while one of them goes on."""
        winners = []
        for first_std in self.settings.first_stds:
            race = self.race(net, nonlinearity, first_std)
            stands = self.standing(race)
            if stands.to_train:
                return None
            winners += [one for one in race if _name(one) == stands.winner]
        return min(winners, key=self._speed) if winners else None

    def _speed(self, one: Candidate) -> tuple[float, float]:
        epochs = self.of(one)
        at = crossing(epochs, self.settings.target)
        return (math.inf if at is None else at), epochs[-1].error

    def seeds(self, net: Literal["a", "b"], nonlinearity: Nonlinearity) -> list[Candidate]:
        """What was chosen, with every seed."""
        chosen = self.chosen(net, nonlinearity)
        if chosen is None:
            return []
        training, rate = chosen
        return [(replace(training, seed=seed), rate) for seed in self.settings.seeds]

    def unfinished(self, one: Candidate) -> bool:
        """Whether a training of what was chosen has an epoch to come."""
        epochs = self.of(one)
        if epochs and epochs[-1].loss is None:
            return False
        at = crossing(epochs, self.settings.target)
        end = self.settings.max_epochs if at is None else math.ceil(at) + self.settings.beyond
        return len(epochs) < min(end, self.settings.max_epochs)

    def of(self, one: Candidate) -> list[Epoch]:
        """A training's epochs so far."""
        name = _name(one)
        if name not in self.epochs:
            self.epochs[name] = epochs_of(self.trainer.file(name), one[0])
        return self.epochs[name]

    def figures(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            net: {kind: self._nonlinearity(net, kind) for kind in NONLINEARITIES}
            for net in self.settings.nets
        }

    def _nonlinearity(self, net: Literal["a", "b"], nonlinearity: Nonlinearity) -> dict[str, Any]:
        races = []
        for first_std in self.settings.first_stds:
            race = self.race(net, nonlinearity, first_std)
            stands = self.standing(race)
            won = [rate for training, rate in race if _name((training, rate)) == stands.winner]
            races.append(
                {
                    "first_std": first_std,
                    "over": not stands.to_train,
                    "rate": won[0] if won else None,
                    "candidates": [{"rate": one[1], **self._curve(one)} for one in race],
                }
            )
        chosen = self.chosen(net, nonlinearity)
        return {
            "races": races,
            "chosen": chosen and {"rate": chosen[1], "first_std": chosen[0].first_std},
            "seeds": [
                {"seed": one[0].seed, "finished": not self.unfinished(one), **self._curve(one)}
                for one in self.seeds(net, nonlinearity)
            ],
        }

    def _curve(self, one: Candidate) -> dict[str, Any]:
        epochs = self.of(one)
        return {
            "errors": [epoch.error for epoch in epochs],
            "diverged": any(epoch.loss is None for epoch in epochs),
            "crossing": crossing(epochs, self.settings.target),
        }


def _name(one: Candidate) -> str:
    training, rate = one
    return (
        f"{training.net}-{training.nonlinearity}-std{training.first_std:g}-rate{rate:g}"
        f"-seed{training.seed}"
    )


EXPERIMENT = Experiment(
    name="relu-vs-tanh",
    title="ReLU against tanh (Figure 1)",
    about="How much sooner ReLUs reach 25% training error than tanh does, on CIFAR-10.",
    settings=Settings(),
    run=run,
    draw=draw,
    text=text,
)
