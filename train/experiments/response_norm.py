"""Section 3.3's pair on CIFAR-10: 13 % test error without response normalisation, 11 % with it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, Literal

import numpy as np

from train.dataset import Dataset
from train.experiments.cifar_photos import FILE, Splits
from train.experiments.cifar_testing import CENTRE, NINE, TEN, wrong_photos
from train.experiments.cifar_training import (
    Epoch,
    Step,
    Training,
    epochs_of,
    load,
    network_of,
)
from train.experiments.experiment import Experiment, Found, Task
from train.experiments.intervals import estimate
from train.experiments.response_norm_page import draw, text
from train.experiments.side_by_side import SideBySide, one_thread

EPOCHS = (350, 150, 10, 10)
"""Epochs on all files but the last, on all of them, and at a tenth and a hundredth of the weights'
rate [layer-params-conv-local-11pct.cfg]."""
DECAYS = {
    "b": {"local3": 0.004, "local4": 0.004, "fc10": 0.004},
    "b-wide": {"local3": 0.004, "local4": 0.004, "fc10": 0.01},
    "b-norm": {"local3": 0.004, "local4": 0.004, "fc10": 0.01},
}
"""Weight decay [layer-params-conv-local-13pct.cfg, -11pct.cfg]; `b-wide` has `b-norm`'s."""
VIEWS = {"centre": CENTRE, "nine": NINE, "ten": TEN}
CROP = 24
Wrong = dict[str, list[int]]
"""Places of the test photos that a network classifies wrongly, by the views in `VIEWS`."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is compared, and how long it is trained."""

    nets: tuple[Literal["b", "b-wide", "b-norm"], ...] = ("b", "b-norm")
    """`b`: layers-conv-local-13pct; `b-norm`: layers-conv-local-11pct; `b-wide`: `b-norm` without
    its norms, which the source does not have."""
    share: float = 0.1
    """Of the 520 epochs of the source's schedule; 1: all of them."""
    rate: float = 0.001
    """Of weights at first; biases have twice as much, and keep it when weights' rate is cut."""
    seeds: tuple[int, ...] = (0,)
    """Of first weights and crops: a training for each and each net."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("nets", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name} must hold at least one value, and none twice.")
        if not all(0 <= seed < 2**63 for seed in self.seeds):
            raise ValueError("seeds must be 0 or more.")
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be more than 0 and at most 1, not {self.share:g}.")
        if not 0 < self.rate < math.inf:
            raise ValueError(f"rate must be more than 0, not {self.rate:g}.")

    @property
    def epochs(self) -> tuple[int, ...]:
        """Of each of the schedule's four parts: at least one."""
        return tuple(max(1, round(self.share * epochs)) for epochs in EPOCHS)


def run(task: Task) -> Found:
    """Train every network to the end of the schedule, an epoch of each at a time, and test it."""
    settings: Settings = task.settings
    dataset = Dataset(task.data)
    files = -(-dataset.count("train") // FILE)
    runs: dict[str, list[Epoch]] = {}
    with SideBySide(task) as trainer:
        names = {
            f"{net}-seed{seed}": Training(net=net, seed=seed, decays=DECAYS[net], crop=CROP)
            for seed in settings.seeds
            for net in settings.nets
        }
        for name, training in names.items():
            runs[name] = epochs_of(trainer.file(name), training)
        while (steps := list(_steps(settings, names, runs, files=files))) and not task.late:
            runs.update(trainer.train(steps))
        splits = Splits(dataset, device=task.device)
        photos = len(splits.val.labels)
        figures: dict[str, list[dict[str, Any]]] = {net: [] for net in settings.nets}
        wrong: dict[str, list[Wrong | None]] = {net: [] for net in settings.nets}
        for name, training in names.items():
            finished = len(runs[name]) == sum(settings.epochs)
            missed = _tested(task, trainer, name, training, runs[name], splits)
            wrong[training.net].append(missed)
            views = None
            if missed is not None:
                views = {view: len(of) / photos for view, of in missed.items()}
            figures[training.net].append(
                {
                    "seed": training.seed,
                    "finished": finished,
                    "errors": [epoch.error for epoch in runs[name]],
                    "test_errors": [epoch.test_error for epoch in runs[name]],
                    "views": views,
                }
            )
    return Found(
        figures={
            "epochs": settings.epochs,
            "nets": figures,
            "gain": gain(wrong.get("b", []), wrong.get("b-norm", []), photos=photos),
        },
        runs=sum(1 for epochs in runs.values() if epochs),
        seconds=sum(epoch.seconds for epochs in runs.values() for epoch in epochs),
        complete=not steps,
    )


def _steps(
    settings: Settings, names: dict[str, Training], runs: dict[str, list[Epoch]], *, files: int
) -> Iterator[Step]:
    """The next epoch of every training that is not finished."""
    ends = list(accumulate(settings.epochs))
    for name, training in names.items():
        done = len(runs[name])
        if done == ends[-1] or (done and runs[name][-1].loss is None):
            continue
        part = sum(done >= end for end in ends)
        yield Step(
            name=name,
            training=training,
            rate=settings.rate * 0.1 ** max(0, part - 1),
            bias_rate=2 * settings.rate,
            after=done,
            files=max(1, files - 1) if part == 0 else None,
            tested=True,
        )


def _tested(
    task: Task,
    trainer: SideBySide,
    name: str,
    training: Training,
    epochs: list[Epoch],
    splits: Splits,
) -> Wrong | None:
    """Test photos that are classified wrongly after the last epoch, by views.

    None before the first, and where the loss is no number.
    """
    if not epochs or epochs[-1].loss is None:
        return None
    part = f"{name}-epoch{len(epochs)}-wrong"
    found = task.part(part)
    if found is None:
        net = network_of(training, splits.val)
        load(trainer.file(name), net)
        with one_thread():
            found = wrong_photos(net, splits.val, side=CROP, views=VIEWS)
        task.keep(part, found)
    return found


def gain(
    without: Sequence[Wrong | None], normed: Sequence[Wrong | None], *, photos: int
) -> dict[str, float | None] | None:
    """Points of test error with nine views that normalisation saves, with their 95 % interval.

    Networks are tested on the same photos, so the interval is of the differences photo by photo
    (with several seeds: of the shares of networks that miss it). None unless all were tested.
    """
    shares = []
    for missed in (without, normed):
        if not missed or None in missed:
            return None
        share = np.zeros(photos)
        for of in missed:
            assert of is not None
            share[of["nine"]] += 100 / len(missed)
        shares.append(share)
    found = estimate((shares[0] - shares[1]).tolist())
    return {name: value and round(value, 4) for name, value in asdict(found).items()}


EXPERIMENT = Experiment(
    name="response-norm",
    title="Response normalisation on CIFAR-10 (section 3.3)",
    about="Test error on CIFAR-10 without and with response normalisation: 13% and 11%.",
    settings=Settings(),
    run=run,
    draw=draw,
    text=text,
)
