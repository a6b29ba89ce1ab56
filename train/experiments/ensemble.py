"""One network against the average of several that differ by their seed, as in the paper's table 2.

The trainings are those of the experiment `ablations` called `baseline-SEED`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.files import atomic_path, sha256_of
from train.averaging import mean_of, tune, tuning_half
from train.dataset import Dataset
from train.evaluate import Evaluation, each_batch, judge
from train.experiments import ensemble_page
from train.experiments.experiment import Experiment, Found, Task
from train.experiments.intervals import estimate
from train.experiments.training import train_all
from train.experiments.variants import baseline
from train.mesh import open_mesh

_ERRORS = {"top1_error": "top1", "top5_error": "top5"}
_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is trained: `mini` by its recipe, shortened."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """One training each."""
    epochs: int = 8
    """The recipe's cuts move along, the last one past the end where there are few."""

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds must be different numbers, at least one.")
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, not {self.epochs}.")


def run(task: Task) -> Found:
    """Train a network for each seed; average the answers of every subset of them."""
    settings: Settings = task.settings
    dataset = Dataset(task.data)
    names = {f"baseline-{seed}": seed for seed in settings.seeds}
    configs = {
        name: baseline(epochs=settings.epochs, classes=len(dataset.labels), seed=seed)
        for name, seed in names.items()
    }
    models = train_all(task, configs)
    answers = [_answers(task, name, found.model, dataset) for name, found in models.items()]
    labels = dataset.split("val").labels
    return Found(
        figures={
            "classes": len(dataset.labels),
            "seeds": [names[name] for name in models],
            **compared(answers, labels),
        },
        runs=len(models),
        seconds=sum(found.seconds for found in models.values()),
        complete=len(models) == len(names),
    )


def compared(
    answers: Sequence[NDArray[np.float32]], labels: NDArray[np.int64]
) -> dict[str, list[Any] | dict[str, Any] | None]:
    """Errors of the averages of so many networks over all subsets, and what averaging all gains.

    Args:
        answers: (N, classes) of each network.
        labels: (N,).

    Returns:
        JSON values. `averages`: for each number of networks the mean, least and most error of all
        subsets. `gain`: by how much the average of all is better than a network alone, in the mean.
        `tuned`: the average of all with weights that were tuned, on photos that they were not.
    """
    averages, each = [], []
    for count in range(1, len(answers) + 1):
        subsets = list(itertools.combinations(answers, count))
        each = [judge(mean_of(np.stack(chosen), [1] * count), labels) for chosen in subsets]
        averages.append({"networks": count, "subsets": len(each), **_spread(each)})
        if count == 1:
            alone = each
    if len(answers) < 2:
        return {"averages": averages, "gain": None, "tuned": None}
    return {
        "averages": averages,
        "gain": _gain(alone, each[0]),
        "tuned": _tuned(np.stack(answers), labels),
    }


def _spread(each: Sequence[Evaluation]) -> dict[str, Any]:
    spread = {}
    for name in _ERRORS:
        values = [float(getattr(evaluation, name)) for evaluation in each]
        numbers = {"mean": float(np.mean(values)), "least": min(values), "most": max(values)}
        spread[name] = {key: round(value, 6) for key, value in numbers.items()}
    return spread


def _gain(alone: Sequence[Evaluation], together: Evaluation) -> dict[str, Any]:
    """By how much the average is better, and half of that's 95 % interval over the photos."""
    gain = {}
    for name, credit in _ERRORS.items():
        single = np.mean([getattr(evaluation, credit) for evaluation in alone], axis=0)
        found = estimate((getattr(together, credit) - single).tolist())
        gain[name] = {"mean": round(found.mean, 6), "half": round(found.half or 0.0, 6)}
    return gain


def _tuned(answers: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, Any]:
    """Weights tuned on one half of the photos and measured on the other, both ways round."""
    half = tuning_half(labels)
    weights, wrong = [], dict.fromkeys(_ERRORS, 0.0)
    for tuning in (half, ~half):
        coefficients = tune(answers[:, tuning], labels[tuning])
        weights.append(list(coefficients))
        found = judge(mean_of(answers[:, ~tuning], coefficients), labels[~tuning])
        for name in _ERRORS:
            wrong[name] += getattr(found, name) * found.photos
    return {
        "coefficients": weights,
        **{name: round(float(count) / len(labels), 6) for name, count in wrong.items()},
    }


def _answers(task: Task, name: str, model: Path, dataset: Dataset) -> NDArray[np.float32]:
    """The probabilities (N, classes) of the validation photos with ten views, kept in a file."""
    path = task.out / "probabilities" / f"{name}.npz"
    origin = f"{sha256_of(model)} {dataset.facts['photos_sha256']}"
    try:
        with np.load(path, allow_pickle=False) as kept:
            if str(kept["origin"]) == origin:
                return np.asarray(kept["probabilities"], dtype=np.float32)
    except (OSError, ValueError, KeyError, EOFError):
        pass  # not there yet, or not whole: it is made anew
    found = _computed(model, dataset, device=task.device)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, probabilities=found, origin=np.array(origin))
    return found


def _computed(model: Path, dataset: Dataset, *, device: str) -> NDArray[np.float32]:
    from alexnet.backends import open_backend

    backend = open_backend(model, views="ten", device=device)
    parts: list[NDArray[np.float32]] = []
    with open_mesh(device=device) as mesh:
        each_batch(
            dataset.split("val"),
            lambda places, photos: parts.append(backend.run(photos)),
            batch=_BATCH,
            mesh=mesh,
            description=f"Answers of {model.parent.name}",
        )
    backend.close()
    return np.concatenate(parts)


EXPERIMENT = Experiment(
    name="ensemble",
    title="Averages of several networks (table 2)",
    about="One network against averages of two to five, with ten views.",
    settings=Settings(),
    run=run,
    draw=ensemble_page.draw,
    text=ensemble_page.text,
)
