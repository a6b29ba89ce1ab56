"""How fast a run would go: the loader alone, the step alone, and both together, in turns.

The three are measured in short slices, one after the other, round after round, in one process: what
else the machine does hits all of them alike.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.console import progress
from alexnet.errors import AlexNetError
from alexnet.machine import cores, cpu_model, versions
from train.dataset import Dataset
from train.evaluate import check_classes, check_input
from train.mesh import Mesh
from train.recipe import RunConfig
from train.report import Sums
from train.trainer import Trainer

PARTS = ("loader", "step", "both")
ROUNDS = 3
"""At least so many."""
SLICE = 1.0
"""Seconds of a slice at most, unless a single step takes longer."""
ALIKE = 1.1
"""Loader and step are alike when neither is so many times as fast as the other."""


def measure(
    config: RunConfig, dataset: Dataset, *, mesh: Mesh, workers: int, seconds: float
) -> dict[str, Any]:
    """Photos per second of `PARTS`, and what they were measured on, as JSON values.

    Args:
        config: the run. Its rates are lowered to next to nothing: the same photos come again and
            again, and nothing is to diverge.
        dataset: the photos.
        mesh: the processes; all take part, and the slowest one's time counts.
        workers: processes that decode for each of them; 0: a thread does.
        seconds: how long to go on; there are `ROUNDS` rounds at least.

    Raises:
        AlexNetError: the data do not fit the config, or a process was lost.
    """
    with mesh.agreed():
        _check(config, dataset)
    trainer = Trainer(_harmless(config), dataset, mesh=mesh, workers=workers)
    slices = _Slices(trainer, workers=workers)
    with progress("Warming up", total=None, unit="", shown=mesh.first):
        slices.calibrate(min(SLICE, seconds / (ROUNDS * len(PARTS))))
    rates: dict[str, list[float]] = {part: [] for part in PARTS}
    began = time.perf_counter()
    with progress("Measuring", total=None, unit="rounds", shown=mesh.first) as bar:
        going_on = True
        while going_on:
            for part in PARTS:
                rates[part].append(slices.run(part))
            bar.advance()
            over = time.perf_counter() - began >= seconds and len(rates["step"]) >= ROUNDS
            going_on = mesh.from_first(not over)
    return {
        "preset": config.preset,
        "recipe": config.recipe.name,
        "data": str(dataset.path),
        "size": dataset.size,
        "batch": slices.batch,
        "dtype": config.recipe.dtype,
        "device": mesh.device.type,
        "processes": mesh.size,
        "columns": mesh.columns,
        "workers": workers,
        "threads": torch.get_num_threads(),
        "rounds": len(rates["step"]),
        "steps_per_slice": slices.counts,
        **figures(rates),
        "waiting_for_photos": round(slices.sums.waited / slices.sums.seconds, 4),
        "machine": _machine(mesh.device),
    }


def figures(rates: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Medians and quartiles of photos per second, and how many times the step alone that is.

    A ratio is that of the medians; its quartiles are those of the ratios within each round.

    Args:
        rates: photos per second of each part in each round.
    """
    step = np.asarray(rates["step"])
    speeds = {part: _summary(np.asarray(rates[part])) for part in PARTS}
    ratios = {part: _summary(np.asarray(rates[part]) / step) for part in PARTS}
    for part in PARTS:
        ratio = speeds[part]["median"] / speeds["step"]["median"]
        ratios[part]["median"] = round(ratio, 3)
    bound, words = verdict(**{part: speeds[part]["median"] for part in PARTS})
    return {"photos_per_second": speeds, "times_the_step": ratios, "bound": bound, "verdict": words}


def verdict(*, loader: float, step: float, both: float) -> tuple[str, str]:
    """What bounds a run (`loader`, `step` or `alike`), and the line that says so.

    Args:
        loader: photos per second of the loader alone.
        step: of the step alone.
        both: of both together.
    """
    slower, faster = min(loader, step), max(loader, step)
    bound, other = ("step", "loader") if step < loader else ("loader", "step")
    words = f"the {bound}: the {other} alone is {faster / slower:.1f} times as fast"
    if faster < ALIKE * slower:
        bound, words = "alike", "loader and step alike: alone, they are equally fast"
    return bound, f"{words}; together they reach {both / slower:.0%} of {slower:,.0f} photos/s."


Work = Generator[int, None, None]
"""Does a step's work each time, and gives its number of photos."""


class _Slices:
    """Short stretches of a run, with the same number of steps in every process."""

    def __init__(self, trainer: Trainer, *, workers: int):
        self.trainer, self.loader, self.mesh = trainer, trainer.loader, trainer.mesh
        self.decoders = max(1, workers)
        self.counts = dict.fromkeys(PARTS, 1)
        """Steps of a slice."""
        self.sums = Sums()
        """How long both together took, and how much of it the step waited."""
        self._works: dict[str, Callable[[], Work]] = {
            "loader": self._loading,
            "step": self._stepping,
            "both": self._training,
        }
        # Steps before a slice, until as much is decoded ahead as in the middle of an epoch.
        self._before = {"loader": self.decoders, "step": 0, "both": 1}
        self._epoch = 1
        first, device = next(self.loader.epoch(1)), self.mesh.device
        photos, labels = first.photos.to(device), first.labels.to(device)
        self._minibatch = replace(first, photos=photos, labels=labels)

    @property
    def batch(self) -> int:
        """Photos of a step, over all processes."""
        return self._minibatch.whole

    def calibrate(self, seconds: float) -> None:
        """Choose the steps of a slice, so that it takes about `seconds`: all as the first says."""
        took = {}
        for part in PARTS:
            self.run(part)  # kernels are compiled, and memory is taken
            self.counts[part] = 2 * self.decoders if part == "loader" else 2
            took[part] = self.batch / self.run(part)
        took = self.mesh.from_first(took)
        for part in PARTS:
            # Several decoders' minibatches come in bursts.
            burst = self.decoders if part == "loader" else 1
            self.counts[part] = burst * max(1, math.ceil(seconds / took[part] / burst))
        filling = math.ceil(2 * self.decoders * took["loader"] / took["step"])
        self._before["both"] = min(self.decoders, filling)
        self.sums = Sums()

    def run(self, part: str) -> float:
        """Photos per second of a slice, by the slowest process's time."""
        with closing(self._works[part]()) as work:
            for _ in islice(work, self._before[part]):
                pass
            self.trainer.settle()
            self.trainer.sums = Sums()
            self.mesh.gather(None)  # all begin together
            began = time.perf_counter()
            photos = sum(islice(work, self.counts[part]))
            self.trainer.settle()
            seconds: float = max(self.mesh.gather(time.perf_counter() - began))
        if part == "both":
            self.sums.waited += self.trainer.sums.waited
            self.sums.seconds += self.trainer.sums.seconds
        self.trainer.drain()
        self.loader.rest()
        return photos / seconds

    def _loading(self) -> Work:
        while True:
            self._epoch += 1
            for minibatch in self.loader.epoch(self._epoch):
                yield minibatch.whole

    def _stepping(self) -> Work:
        while True:
            self.trainer.step(self._minibatch)
            yield self.batch

    def _training(self) -> Work:
        trainer, count = self.trainer, len(self.loader.split)
        while True:
            for _ in trainer.steps():
                yield min(self.loader.batch, count - (trainer.done - 1) * self.loader.batch)
            trainer.done = 0


def _check(config: RunConfig, dataset: Dataset) -> None:
    check_input(config.input, dataset, name=f"The preset {config.preset}")
    check_classes(config.network, dataset)
    if not dataset.count("train"):
        raise AlexNetError(f"{dataset.path} has no training photos.")


def _harmless(config: RunConfig) -> RunConfig:
    recipe = config.recipe
    tiny = {name: min(getattr(recipe, name), 1e-12) for name in ("lr", "bias_lr")}
    return replace(config, recipe=replace(recipe, **tiny))


def _summary(values: NDArray[np.float64]) -> dict[str, float]:
    p25, median, p75 = (round(float(x), 3) for x in np.percentile(values, (25, 50, 75)))
    return {"median": median, "p25": p25, "p75": p75}


def _machine(device: torch.device) -> dict[str, Any]:
    return {
        "cpu": cpu_model(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": cores(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "system": platform.platform(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": versions("torch", "numpy", "pillow"),
    }
