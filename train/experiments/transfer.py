"""Pre-training on half of the classes and fine-tuning on the other, as the six-conv net had it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from alexnet.settings import at_least
from train.dataset import Dataset
from train.experiments.experiment import Experiment, ExperimentError, Found, Task
from train.experiments.intervals import estimate
from train.experiments.training import Plan, Trained, train_all
from train.experiments.transfer_page import draw, text
from train.experiments.transfer_variants import VARIANTS
from train.experiments.variants import baseline
from train.init_from import InitFrom
from train.subset import Subset

Name = Literal[
    "scratch-long", "all-but-fc8", "convs", "convs-slow", "convs-frozen", "six-scratch", "six-convs"
]
METRICS = {"top1": "val_top1_error", "top5": "val_top5_error"}
_BEFORE = "pretrained"
Halves = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is trained, and for how long."""

    epochs: int = 6
    """Of each training on the second half of the classes: `mini`'s recipe, its cuts moved along,
    the last one past the end where there are few."""
    pretrain_epochs: int = 8
    """Of the training on the first half, likewise."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each trains a network on the first half, and on the second from scratch and in every variant;
    differences are paired by them."""
    variants: tuple[Name, ...] = tuple(VARIANTS)[1:]  # type: ignore[assignment]
    """Beside the training from scratch."""

    def __post_init__(self) -> None:
        """Check ranges, and that nothing is there twice and nothing missing."""
        at_least(1, epochs=self.epochs, pretrain_epochs=self.pretrain_epochs)
        for name in ("seeds", "variants"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name} must name at least one, and none twice.")
        at_least(0, seed=min(self.seeds))
        for name in self.variants:
            if VARIANTS[name].against not in self.names:
                raise ValueError(f"the variant {name} is compared with {VARIANTS[name].against}.")

    @property
    def names(self) -> tuple[str, ...]:
        """All that is trained on the second half."""
        return ("scratch", *self.variants)


def run(task: Task) -> Found:
    """Train on the first half and from scratch, then with the layers that were learnt."""
    settings: Settings = task.settings
    halves = halved(len(Dataset(task.data).labels))
    first = _first(settings, halves)
    made = train_all(task, first)
    wanted = len(settings.seeds) * (1 + len(settings.names))
    if len(made) == len(first):  # else the time is over, or somebody said stop
        made |= train_all(task, _second(settings, halves[1], made))
    return Found(
        figures=_figures(task, halves, made),
        runs=len(made),
        seconds=sum(training.seconds for training in made.values()),
        complete=len(made) == wanted,
    )


def halved(classes: int) -> Halves:
    """Classes to learn first, of even numbers, and classes to learn then, of odd ones.

    Raises:
        ExperimentError: there are not two of each.
    """
    if classes < 4:
        raise ExperimentError(f"{classes} classes can't be halved: transfer takes four or more.")
    return tuple(range(0, classes, 2)), tuple(range(1, classes, 2))


def _first(settings: Settings, halves: Halves) -> dict[str, Plan]:
    """What needs no other training, seed by seed: the first half, and the second from scratch."""
    found = {}
    for seed in settings.seeds:
        epochs, classes = settings.pretrain_epochs, halves[0]
        config = baseline(epochs=epochs, classes=len(classes), seed=seed)
        found[f"{_BEFORE}-{seed}"] = Plan(config=config, classes=classes)
        for name in settings.names:
            if VARIANTS[name].keep is None and VARIANTS[name].against == "scratch":
                found[f"{name}-{seed}"] = _plan(settings, name, seed, halves[1])
    return found


def _second(
    settings: Settings, classes: tuple[int, ...], made: dict[str, Trained]
) -> dict[str, Plan]:
    """All others: seed by seed, and then those with a sixth convolution likewise."""
    found = {}
    for base in ("scratch", "six-scratch"):
        for seed in settings.seeds:
            model = made[f"{_BEFORE}-{seed}"].model
            for name in settings.names:
                if f"{name}-{seed}" not in made and base in (name, VARIANTS[name].against):
                    found[f"{name}-{seed}"] = _plan(settings, name, seed, classes, model)
    return found


def _plan(
    settings: Settings, name: str, seed: int, classes: tuple[int, ...], model: Path | None = None
) -> Plan:
    variant = VARIANTS[name]
    epochs = settings.epochs + (settings.pretrain_epochs if variant.long else 0)
    config = baseline(epochs=epochs, classes=len(classes), seed=seed)
    init = None
    if variant.keep is not None:
        assert model is not None
        init = InitFrom(path=model, keep=variant.keep)
    return Plan(config=variant.change(config), classes=classes, init_from=init)


def _figures(task: Task, halves: Halves, made: dict[str, Trained]) -> dict[str, Any]:
    """All that was measured, as shares from 0 to 1, and differences in points."""
    settings: Settings = task.settings
    runs: dict[str, dict[str, Any]] = {}
    for name in (_BEFORE, *settings.names):
        by_seed = {str(seed): made.get(f"{name}-{seed}") for seed in settings.seeds}
        runs[name] = {seed: _measured(run) for seed, run in by_seed.items() if run is not None}
    first, second = (Subset(task.data, classes) for classes in halves)
    return {
        "halves": [
            {"classes": len(half.labels), "train": half.count("train"), "val": half.count("val")}
            for half in (first, second)
        ],
        "runs": runs,
        "differences": {
            name: _differences(runs[name], runs[VARIANTS[name].against])
            for name in settings.names
            if VARIANTS[name].against != name
        },
    }


def _measured(run: Trained) -> dict[str, Any]:
    """Errors by epoch with the centre view, and those of the finished network with ten."""
    return {
        "curve": [round(line["val_top1_error"], 6) for line in run.epochs],
        "train": [round(line["train_error"], 6) for line in run.epochs],
        "ten": {ours: round(run.ten_views[name], 6) for ours, name in METRICS.items()},
        "loss": round(run.ten_views["val_loss"], 6),
    }


def _differences(runs: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """Errors with ten views less those of the same seed's other training: negative is better."""
    seeds = [seed for seed in runs if seed in others]
    found: dict[str, Any] = {"seeds": [int(seed) for seed in seeds]}
    for metric in METRICS:
        values = [
            round(100 * (runs[seed]["ten"][metric] - others[seed]["ten"][metric]), 4)
            for seed in seeds
        ]
        found[metric] = {"values": values} | (asdict(estimate(values)) if values else {})
    return found


EXPERIMENT = Experiment(
    name="transfer",
    title="Pre-training and fine-tuning, at the small model's scale",
    about="What a network for half of the classes is worth when the other half is to be learnt.",
    settings=Settings(),
    run=run,
    draw=draw,
    text=text,
)
