"""Training with and without dropout, long enough for the difference to show (section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from alexnet.settings import at_least
from train.dataset import Dataset
from train.evaluate import evaluate
from train.experiments.dropout_page import draw, text
from train.experiments.experiment import Experiment, Found, Task
from train.experiments.training import Trained, train_all
from train.experiments.variants import at_rate, baseline, without_dropout
from train.recipe import RunConfig

WITH, WITHOUT = "with", "without"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is trained, and for how long."""

    epochs: int = 20
    """Of each training: `mini`'s recipe, its cuts moved along."""
    seeds: tuple[int, ...] = (0,)
    """Each trains a network with dropout and one without."""
    lr: float = 0.001
    """Rate of the weights without dropout, whose signals are larger: of 0.001, 0.003, 0.01 and 0.03
    it had the lowest training loss after an epoch, in the trials of the experiment `ablations`."""

    def __post_init__(self) -> None:
        """Check ranges, and that no seed is there twice."""
        at_least(1, epochs=self.epochs)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds must name at least one, and none twice.")
        at_least(0, lr=self.lr, seed=min(self.seeds))


def run(task: Task) -> Found:
    """Train both networks of every seed, and look at each with the photos that it learnt from."""
    dataset = Dataset(task.data)
    configs = _configs(task.settings, classes=len(dataset.labels))
    made = train_all(task, configs)
    runs: dict[str, dict[str, Any]] = {WITH: {}, WITHOUT: {}}
    for name, training in made.items():
        kind, seed = name.split("-")
        learnt = _on_training_photos(task, name, training, dataset)
        runs[kind][seed] = _measured(training, learnt)
    return Found(
        figures={"runs": runs},
        runs=len(made),
        seconds=sum(training.seconds for training in made.values()),
        complete=len(made) == len(configs),
    )


def _configs(settings: Settings, *, classes: int) -> dict[str, RunConfig]:
    found = {}
    for seed in settings.seeds:
        plain = baseline(epochs=settings.epochs, classes=classes, seed=seed)
        found[f"{WITH}-{seed}"] = plain
        found[f"{WITHOUT}-{seed}"] = at_rate(without_dropout(plain), settings.lr)
    return found


def _on_training_photos(
    task: Task, name: str, training: Trained, dataset: Dataset
) -> dict[str, Any]:
    """Errors of the finished network on its own training photos, as they are measured on others.

    The running error of an epoch is of a network that still changes, on photos with noise and,
    where there is dropout, with half of the units.
    """
    from alexnet.backends import open_backend

    part = f"{name}-on-training-photos"
    found = task.part(part)
    if found is None:
        backend = open_backend(training.model, views="centre", device=task.device)
        split = dataset.split("train")
        found = evaluate(backend.run, split, description=f"Training photos, {name}").summary()
        backend.close()
        task.keep(part, found)
    return found


def _measured(training: Trained, learnt: dict[str, Any]) -> dict[str, Any]:
    """Errors as shares from 0 to 1, losses in nats; curves by epoch, with the centre view."""

    def curve(name: str) -> list[float]:
        return [round(line[name], 6) for line in training.epochs]

    return {
        "train_error": curve("train_error"),
        "val_error": curve("val_top1_error"),
        "val_loss": curve("val_loss"),
        "lr": curve("lr"),
        "on_training_photos": {key: learnt[key] for key in ("top1_error", "loss")},
        "ten": {
            "top1": round(training.ten_views["val_top1_error"], 6),
            "top5": round(training.ten_views["val_top5_error"], 6),
        },
    }


EXPERIMENT = Experiment(
    name="dropout",
    title="Training with and without dropout (section 4.2)",
    about="Overfitting without dropout, and how much longer training takes with it.",
    settings=Settings(),
    run=run,
    draw=draw,
    text=text,
)
