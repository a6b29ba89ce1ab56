"""Averages of several networks' probabilities, with equal, given or tuned weights [P table 2]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.backends.base import ArtifactInfo
from alexnet.console import progress
from alexnet.errors import AlexNetError
from train.dataset import Split
from train.evaluate import EMPTY, Evaluation, Run, each_batch, gathered, judge
from train.mesh import Mesh
from train.metrics import Ties, top_k_correct

Answers = NDArray[np.floating[Any]]
"""Probabilities of each network (networks, N, classes)."""
Weights = tuple[float, ...] | Literal["equal", "tuned"]

STEPS = 20
"""A coefficient that is searched for is 0, .05, ... or 1, as avg-valid.py had it in 2012."""
SEED = 0
"""Of the half of the photos on which coefficients are searched for."""


@dataclass(frozen=True, kw_only=True)
class Averaged:
    """Networks alone and on average, all on the same photos."""

    alone: tuple[Evaluation, ...]
    average: Evaluation
    weights: tuple[float, ...]
    """Of the networks in the average; their sum is 1."""
    equal: Evaluation | None = None
    """The average with equal weights, where `weights` were tuned."""
    tuned_on: int = 0
    """Photos on which the weights were tuned, none of which are in the evaluations."""


def parse_weights(text: str, count: int) -> Weights:
    """What `--weights` says of `count` networks: equal, tuned, or a number for each.

    Raises:
        AlexNetError: it says something else.
    """
    if text == "equal":
        return "equal"
    if text == "tuned":
        return "tuned"
    try:
        given = tuple(float(number) for number in text.split(","))
    except ValueError as error:
        raise AlexNetError(
            f"--weights takes equal, tuned, or numbers like 0.6,0.4, not '{text}'."
        ) from error
    if len(given) != count:
        raise AlexNetError(f"--weights has {len(given)} number(s) for {count} models.")
    if not all(0 <= weight < np.inf for weight in given) or not sum(given):
        raise AlexNetError("Weights are numbers from 0 on, and not all of them are 0.")
    return given


def check_alike(infos: Sequence[ArtifactInfo]) -> None:
    """Networks must have the same classes and photo size to be averaged.

    Raises:
        AlexNetError: two have not; the sentence says which and how they differ.
    """
    first = infos[0]
    for other in infos[1:]:
        words = f"{first.path} and {other.path} can't be averaged: "
        sizes = first.config.input.size, other.config.input.size
        if sizes[0] != sizes[1]:
            raise AlexNetError(f"{words}their photos have {sizes[0]} and {sizes[1]} pixels a side.")
        mine, theirs = ([label.wnid for label in info.labels] for info in (first, other))
        if len(mine) != len(theirs):
            raise AlexNetError(f"{words}they know {len(mine)} and {len(theirs)} classes.")
        for index, pair in enumerate(zip(mine, theirs, strict=True)):
            if pair[0] != pair[1]:
                raise AlexNetError(f"{words}class {index} is '{pair[0]}' and '{pair[1]}'.")


def evaluate_average(
    runs: Sequence[Run],
    split: Split,
    *,
    weights: Weights = "equal",
    batch: int = 64,
    ties: Ties = "index",
    mesh: Mesh | None = None,
) -> Averaged:
    """Run several networks over the photos of `split`, each decoded once, and average them.

    Weights are tuned on half of the photos (`tuning_half`), and the evaluations are of the others.

    Raises:
        AlexNetError: there are no photos, or with weights to be tuned fewer than two.
    """
    mesh = mesh or Mesh()
    tuned = weights == "tuned"
    tuning = tuning_half(split.labels) if tuned else np.zeros(len(split), dtype=bool)
    coefficients = (1.0,) * len(runs) if isinstance(weights, str) else weights
    alone: list[list[Evaluation]] = [[EMPTY] for _ in runs]
    average, kept = [EMPTY], list[NDArray[np.float32]]()

    def answered(places: NDArray[np.int64], photos: NDArray[np.uint8]) -> None:
        answers, labels = np.stack([run(photos) for run in runs]), split.labels[places]
        for found, answer in zip(alone, answers, strict=True):
            found.append(judge(answer, labels, ties=ties))
        average.append(judge(mean_of(answers, coefficients), labels, ties=ties))
        if tuned:
            kept.append(answers)

    each_batch(split, answered, batch=batch, mesh=mesh)
    everyone = tuple(gathered(found, mesh).only(~tuning) for found in alone)
    plain = gathered(average, mesh).only(~tuning)
    if not tuned:
        return Averaged(alone=everyone, average=plain, weights=_shares(coefficients))
    mine = mesh.part(len(split))
    none = np.empty((len(runs), 0, 1))  # of a process without photos
    answers = np.concatenate(kept, axis=1) if kept else none
    labels, half = split.labels[mine], tuning[mine]
    coefficients = tune(answers[:, half], labels[half], ties=ties, mesh=mesh)
    best = judge(mean_of(answers, coefficients), labels, ties=ties)
    return Averaged(
        alone=everyone,
        average=gathered([best], mesh).only(~tuning),
        weights=_shares(coefficients),
        equal=plain,
        tuned_on=int(tuning.sum()),
    )


def mean_of(answers: Answers, weights: Sequence[float]) -> NDArray[np.float64]:
    """The weighted mean (N, classes) of networks' probabilities; weights need not add up to 1."""
    total = np.zeros(answers.shape[1:])
    for answer, weight in zip(answers, weights, strict=True):
        total += weight * answer.astype(np.float64)
    return total / sum(weights)


def tuning_half(labels: NDArray[np.int64], *, seed: int = SEED) -> NDArray[np.bool_]:
    """Half of the photos (N,), drawn by `seed`: half of each class, up to one photo.

    Raises:
        AlexNetError: there are fewer than two photos.
    """
    if len(labels) < 2:
        raise AlexNetError("Weights can't be tuned on half of less than two photos.")
    drawn = np.random.default_rng(seed).random(len(labels))
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[np.lexsort((drawn, labels))[::2]] = True
    return chosen


def tune(
    answers: Answers,
    labels: NDArray[np.int64],
    *,
    ties: Ties = "index",
    mesh: Mesh | None = None,
) -> tuple[float, ...]:
    """Coefficients 0 to 1 in steps of .05 with few top-5 errors on these photos.

    One coefficient after the other is set to its best value while the others stay, beginning with
    all at .5, until no step lowers the top-5 errors, or leaves them and lowers the top-1 errors. Of
    equally good values the one nearest to the last is taken. Not always the best of all
    combinations; never worse on these photos than equal weights. The processes of a mesh each have
    photos of their own, and come to the same coefficients.
    """
    mesh = mesh or Mesh()
    steps, best = [STEPS // 2] * len(answers), (np.inf, np.inf)
    with progress("Tuning weights", total=None, unit="sweeps", shown=mesh.first) as bar:
        while True:
            before = best
            for network, now in enumerate(steps):
                wrong = _wrong_at_each_step(answers, labels, steps, network, ties=ties)
                mesh.sum(wrong)
                rows = [(round(top5, 6), round(top1, 6)) for top5, top1 in wrong.tolist()]
                few, _, step = min((row, abs(step - now), step) for step, row in enumerate(rows))
                if few < best:
                    steps[network], best = step, few
            bar.advance()
            if best == before:
                return tuple(step / STEPS for step in steps)


def _wrong_at_each_step(
    answers: Answers, labels: NDArray[np.int64], steps: Sequence[int], network: int, *, ties: Ties
) -> torch.Tensor:
    """Top-5 and top-1 errors (STEPS + 1, 2) with each value of one network's coefficient."""
    others = np.zeros(answers.shape[1:])
    for index, step in enumerate(steps):
        if index != network:
            others += step * answers[index].astype(np.float64)
    wrong = torch.full((STEPS + 1, 2), torch.inf, dtype=torch.float64)
    for step in range(STEPS + 1):
        if step or sum(steps) > steps[network]:  # not all of them 0
            mixed = others + step * answers[network].astype(np.float64)
            for column, k in enumerate((5, 1)):
                right = top_k_correct(mixed, labels, k, ties=ties)
                wrong[step, column] = len(labels) - right.sum()
    return wrong


def _shares(weights: Sequence[float]) -> tuple[float, ...]:
    return tuple(weight / sum(weights) for weight in weights)
