"""The paper's ablations at `mini`'s scale: what each part is worth, paired by seed."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from alexnet.settings import at_least
from train.dataset import Dataset
from train.experiments.ablations_page import draw, text
from train.experiments.experiment import Experiment, Found, Task
from train.experiments.intervals import estimate
from train.experiments.training import Trained, train_all
from train.experiments.variants import VARIANTS, Name, at_rate, baseline, trial
from train.recipe import RunConfig

METRICS = ("top1", "top5")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is trained, and for how long."""

    epochs: int = 8
    """Of every training: `mini`'s recipe, its cuts moved along, the last one past the end where
    there are few."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each trains the baseline and every variant; differences are paired by them."""
    variants: tuple[Name, ...] = tuple(VARIANTS)
    lrs: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03)
    """Rates that are tried, with the first seed, for the variants that `mini`'s rate was not found
    for. As tanh in section 3.1, each gets the one at which it learns fastest: with which it has the
    lowest training loss in the last epoch of a trial. One alone is taken without a trial."""
    trial_epochs: int = 2
    """Length of a trial, at a constant rate."""

    def __post_init__(self) -> None:
        """Check ranges, and that nothing is there twice."""
        at_least(1, epochs=self.epochs, trial_epochs=self.trial_epochs)
        for name in ("seeds", "variants", "lrs"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name} must name at least one, and none twice.")
        at_least(0, lr=min(self.lrs), seed=min(self.seeds))

    @property
    def tuned(self) -> tuple[Name, ...]:
        """The variants with rates of their own."""
        return tuple(name for name in self.variants if VARIANTS[name].tuned)


def run(task: Task) -> Found:
    """Train what is still to be trained: trials of rates first, then seed by seed."""
    settings: Settings = task.settings
    classes = len(Dataset(task.data).labels)
    trials = _trials(settings, classes)
    tried = train_all(task, trials, may_diverge=True)
    rates = dict.fromkeys(settings.tuned, settings.lrs[0])
    if trials:
        if any(task.part(name) is None for name in trials):
            return _found(task, {}, tried, rates={}, complete=False)
        rates = {name: _best(settings, tried, name) for name in settings.tuned}
    configs = _configs(settings, classes, rates)
    made = train_all(task, configs, may_diverge=True)
    complete = all(task.part(name) is not None for name in configs)
    return _found(task, made, tried, rates=rates, complete=complete)


def _trials(settings: Settings, classes: int) -> dict[str, RunConfig]:
    """Trials of rates by their names; the baseline's show how its own rate compares."""
    if not settings.tuned or len(settings.lrs) == 1:
        return {}
    plain = baseline(epochs=settings.epochs, classes=classes, seed=settings.seeds[0])
    every = {"baseline": plain} | {name: VARIANTS[name].change(plain) for name in settings.tuned}
    return {
        f"{name}-lr-{lr:g}": at_rate(trial(config, settings.trial_epochs), lr)
        for name, config in every.items()
        for lr in settings.lrs
    }


def _best(settings: Settings, tried: dict[str, Trained], name: str) -> float:
    """The rate at which a network learns fastest; the lowest, where it diverges at all of them."""

    def loss(lr: float) -> float:
        made = tried.get(f"{name}-lr-{lr:g}")
        return math.inf if made is None else float(made.epochs[-1]["train_loss"])

    return min(sorted(settings.lrs), key=loss)


def _configs(settings: Settings, classes: int, rates: dict[Name, float]) -> dict[str, RunConfig]:
    """Every training by its name, seed by seed, so that a part of them has whole seeds."""
    found = {}
    for seed in settings.seeds:
        plain = baseline(epochs=settings.epochs, classes=classes, seed=seed)
        found[f"baseline-{seed}"] = plain
        for name in settings.variants:
            config = VARIANTS[name].change(plain)
            found[f"{name}-{seed}"] = at_rate(config, rates[name]) if name in rates else config
    return found


def _found(
    task: Task,
    made: dict[str, Trained],
    tried: dict[str, Trained],
    *,
    rates: dict[Name, float],
    complete: bool,
) -> Found:
    """All that was measured, and the differences."""
    settings: Settings = task.settings
    runs: dict[str, dict[str, Any]] = {}
    for name in ("baseline", *settings.variants):
        by_seed = {str(seed): made.get(f"{name}-{seed}") for seed in settings.seeds}
        runs[name] = {seed: _measured(run) for seed, run in by_seed.items() if run is not None}
    plain = runs["baseline"]
    differences = {
        name: _differences(
            {seed: (of[seed]["ten"], run["ten"]) for seed, run in plain.items() if seed in of}
        )
        for name, of in runs.items()
        if name != "baseline"
    }
    differences["one-view"] = _differences(
        {seed: (run["centre"], run["ten"]) for seed, run in plain.items()}
    )
    every = [*made.values(), *tried.values()]
    return Found(
        figures={
            "runs": runs,
            "differences": differences,
            "rates": rates,
            "trials": _tried(settings, tried),
            "diverged": _diverged(task),
        },
        runs=len(every),
        seconds=sum(training.seconds for training in every),
        complete=complete,
    )


def _tried(settings: Settings, tried: dict[str, Trained]) -> dict[str, dict[str, float]]:
    """Training losses of the trials' last epochs, by network and rate."""
    found: dict[str, dict[str, float]] = {}
    for name in ("baseline", *settings.tuned):
        for lr in settings.lrs:
            made = tried.get(f"{name}-lr-{lr:g}")
            if made is not None:
                found.setdefault(name, {})[f"{lr:g}"] = made.epochs[-1]["train_loss"]
    return found


def _diverged(task: Task) -> list[str]:
    """Names of the trainings, trials not among them, whose loss did not stay finite."""
    settings: Settings = task.settings
    names = [f"{n}-{seed}" for seed in settings.seeds for n in ("baseline", *settings.variants)]
    return [name for name in names if "diverged" in (task.part(name) or {})]


def _measured(run: Trained) -> dict[str, Any]:
    """Errors from 0 to 1 and losses in nats, on the validation photos and in the last epoch.

    `curve`: the top-1 error with the centre view after each epoch.
    """
    last = run.epochs[-1]
    return {
        "ten": _errors(run.ten_views),
        "centre": _errors(run.centre_view),
        "curve": [round(line["val_top1_error"], 6) for line in run.epochs],
        "train_error": last["train_error"],
        "train_loss": last["train_loss"],
    }


def _errors(measured: dict[str, float]) -> dict[str, float]:
    names = {"top1": "val_top1_error", "top5": "val_top5_error", "loss": "val_loss"}
    return {ours: round(measured[name], 6) for ours, name in names.items()}


def _differences(pairs: dict[str, tuple[dict[str, float], dict[str, float]]]) -> dict[str, Any]:
    """What a change adds to the errors, in points, by seed and on average."""
    found: dict[str, Any] = {"seeds": [int(seed) for seed in pairs]}
    for metric in METRICS:
        values = [round(100 * (one[metric] - other[metric]), 4) for one, other in pairs.values()]
        found[metric] = {"values": values} | (asdict(estimate(values)) if values else {})
    return found


EXPERIMENT = Experiment(
    name="ablations",
    title="The paper's ablations, at the small model's scale",
    about="What ReLU, normalisation, overlap, columns, dropout, noise and ten views are worth.",
    settings=Settings(),
    run=run,
    draw=draw,
    text=text,
)
