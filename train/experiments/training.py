"""Trainings of an experiment: each a run in a folder of its own, which goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet.errors import AlexNetError
from alexnet.machine import cores
from train.dataset import Dataset
from train.experiments.experiment import ExperimentError, Task
from train.experiments.processes import Processes
from train.fit import FitOptions, fit
from train.init_from import InitFrom
from train.mesh import open_mesh
from train.metrics import NoProbabilitiesError
from train.recipe import RunConfig
from train.subset import Subset
from train.trainer import TrainingError


class FailedTrainingError(ExperimentError):
    """A training that can't be carried out; the sentence has its name."""


class DivergedError(FailedTrainingError):
    """A training whose loss did not stay finite; it is not tried again."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training that is not of all classes, or not from scratch."""

    config: RunConfig
    classes: tuple[int, ...] | None = None
    """Those of the data set whose photos it is of; None: all."""
    init_from: InitFrom | None = None


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished training."""

    model: Path
    """Its model.safetensors."""
    epochs: list[dict[str, Any]]
    """The lines of metrics.jsonl."""
    ten_views: dict[str, float]
    """`val_loss`, `val_top1_error`, `val_top5_error` with ten views."""

    @property
    def seconds(self) -> float:
        """Time in steps, over all sessions."""
        return float(sum(line["seconds"] for line in self.epochs))

    @property
    def centre_view(self) -> dict[str, float]:
        """The last epoch's figures, with the centre view."""
        return {name: value for name, value in self.epochs[-1].items() if name.startswith("val_")}


def trained(task: Task, name: str, run: RunConfig | Plan, dataset: Dataset) -> Trained | None:
    """The training `name` of an experiment: made, gone on with, or found finished.

    Its folder is `task.out`/runs/`name`. None where the time of the task is over first.

    Raises:
        DivergedError: its loss did not stay finite, now or in a call before.
        AlexNetError: the folder holds another run, or the training failed.
    """
    folder = task.out / "runs" / name
    found = task.part(name)
    if found is not None and "diverged" in found:
        raise DivergedError(found["diverged"])
    if found is None:
        if task.late:
            return None
        plan = run if isinstance(run, Plan) else Plan(config=run)
        options = FitOptions(
            command=name, resume=True, keep=1, deadline=task.deadline, init_from=plan.init_from
        )
        if plan.classes is not None:
            dataset = Subset(dataset.path, plan.classes, threads=dataset.threads)
        try:
            with open_mesh(columns=1, device=task.device) as mesh:
                metrics = fit(plan.config, dataset, folder, options=options, mesh=mesh)
        except (TrainingError, NoProbabilitiesError) as error:
            sentence = f"The training {name} diverged. {error}"
            task.keep(name, {"diverged": sentence})
            raise DivergedError(sentence) from error
        except AlexNetError as error:
            raise FailedTrainingError(f"The training {name} failed. {error}") from error
        if "stopped" in metrics:
            return None
        lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
        found = {
            "epochs": [json.loads(line) for line in lines],
            "ten_views": metrics["ten_views"],
        }
        task.keep(name, found)
    return Trained(model=folder / "model.safetensors", **found)


def train_all(
    task: Task, runs: Mapping[str, RunConfig | Plan], *, may_diverge: bool = False
) -> dict[str, Trained]:
    """Trainings by their names, begun in the order of `runs`; those that are finished come back.

    On a CPU as many at a time as there are cores, in processes of one thread each: so what a
    training comes to does not depend on what runs beside it, and none waits for another's threads.
    On a GPU one after the other. Those that the time of the task or SIGTERM ended go on with the
    next call. Those that diverge are left out where they may, and their parts say that they did.

    Raises:
        AlexNetError: a folder holds another run, or a training failed; the others were stopped.
    """
    dataset = Dataset(task.data)
    left = {name: run for name, run in runs.items() if task.part(name) is None}
    stopped = task.device == "cpu"
    if left and stopped:
        forgiven = DivergedError if may_diverge else None
        Processes(task, trained, count=min(cores(), len(left)), forgiven=forgiven).train(left)
    found = {}
    for name, run in runs.items():
        if stopped and task.part(name) is None:
            continue
        try:
            made = trained(task, name, run, dataset)
        except DivergedError:
            if not may_diverge:
                raise
            continue
        if made is None:
            stopped = True
        else:
            found[name] = made
    return found
