"""Which of several trainings first gets its running training error below a target.

All of them train an epoch, then all another; a race ends with the first epoch in which one of them
crosses. What is to be trained next follows from the epochs so far and from nothing else, so that a
race can be stopped and gone on with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from train.experiments.cifar_training import Epoch


@dataclass(frozen=True, kw_only=True)
class Rules:
    """When a race ends, and who leaves it before."""

    target: float
    """Running training error."""
    rungs: tuple[int, ...]
    """Epochs after which only the better half by running error goes on, and never less than 2."""
    max_epochs: int


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a race stands."""

    to_train: tuple[str, ...]
    """Who has to train one epoch more; nobody: the race is over."""
    winner: str | None
    """Who crossed first, or was closest to it after `max_epochs`; None before the end, and if
    nobody's loss stayed a number."""


def crossing(epochs: Sequence[Epoch], target: float) -> float | None:
    """The epoch at which the running error crosses `target`; None if it never does.

    Epoch e's running error is taken to be reached at e, and between epochs the error to fall on a
    straight line. An error below the target in the very first epoch crosses at 1.
    """
    before: float | None = None
    for number, epoch in enumerate(epochs, start=1):
        if epoch.loss is None:
            return None
        if epoch.error <= target:
            if before is None:
                return float(number)
            return number - (target - epoch.error) / (before - epoch.error)
        before = epoch.error
    return None


def standing(runs: Mapping[str, Sequence[Epoch]], rules: Rules) -> Standing:
    """How the race between `runs`, named trainings and their epochs so far, stands."""
    left = list(runs)
    for number in range(1, rules.max_epochs + 1):
        behind = tuple(name for name in left if len(runs[name]) < number)
        if behind:
            return Standing(to_train=behind, winner=None)
        left = [name for name in left if runs[name][number - 1].loss is not None]
        left.sort(key=lambda name: runs[name][number - 1].error)
        crossed = {name: crossing(runs[name][:number], rules.target) for name in left}
        times = {name: at for name, at in crossed.items() if at is not None}
        if times:
            return Standing(to_train=(), winner=min(times, key=lambda name: times[name]))
        if number in rules.rungs:
            left = left[: max(2, -(-len(left) // 2))]
    return Standing(to_train=(), winner=left[0] if left else None)


def asked(name: str, runs: Mapping[str, Sequence[Epoch]], rules: Rules) -> int:
    """How many of the epochs of `name` the race asked for; the winner's may be more."""
    for count in range(len(runs[name])):
        if name not in standing({**runs, name: runs[name][:count]}, rules).to_train:
            return count
    return len(runs[name])
