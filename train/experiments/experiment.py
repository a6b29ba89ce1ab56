"""What an experiment is: trainings that can be stopped and resumed, a figure, and a text."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet.errors import AlexNetError
from alexnet.files import write_json
from alexnet.machine import cores, cpu_model, versions
from alexnet.settings import SettingsError, from_dict, to_dict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULT = "result.json"
_PLAN = "experiment.json"


class ExperimentError(AlexNetError):
    """An experiment that can't be carried out, or a result that is not its own."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What an experiment is to do, and where."""

    data: Path
    """A folder that `alexnet-train prepare` wrote."""
    out: Path
    """The experiment's own folder, where trainings leave their files."""
    settings: Any
    """The experiment's own frozen dataclass."""
    device: str = "cpu"
    deadline: float | None = None
    """`time.monotonic()` at which training is to stop for now; None: when all is done."""

    @property
    def late(self) -> bool:
        """Whether the time is over: leave what is under way so that it can be resumed."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def part(self, name: str) -> dict[str, Any] | None:
        """What the part `name` of the experiment came to; None while it is not finished.

        Raises:
            ExperimentError: its file can't be read.
        """
        path = self._part(name)
        if not path.exists():
            return None
        return _read(path)

    def keep(self, name: str, found: dict[str, Any]) -> None:
        """Write down what the part `name` came to, atomically."""
        write_json(self._part(name), found)

    def _part(self, name: str) -> Path:
        return self.out / "parts" / f"{name}.json"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What trainings came to."""

    figures: dict[str, Any]
    """What `draw` and `text` read, as JSON values."""
    runs: int
    """Trainings that went into it."""
    seconds: float
    """What they took, added up over all sessions."""
    complete: bool
    """Whether all that the settings ask for was done."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A claim of the paper, and how it is shown again."""

    name: str
    title: str
    """Of the section of docs/results.md."""
    about: str
    """A sentence for --help."""
    settings: Any = field(repr=False)
    """The defaults: a frozen dataclass, which --set changes."""
    run: Callable[[Task], Found]
    """Train what is still to be trained; called again, it goes on."""
    draw: Callable[[dict[str, Any]], Figure]
    """The figure of a whole result, made of what result.json holds and nothing else."""
    text: Callable[[dict[str, Any]], str]
    """Markdown of a whole result, likewise: tables and paragraphs without a heading."""


def carry_out(experiment: Experiment, task: Task, *, command: str) -> dict[str, Any]:
    """Run what is still to be run and write result.json into the task's folder.

    Raises:
        ExperimentError: the folder holds an experiment with other settings or photos.
    """
    from train.dataset import Dataset

    dataset = Dataset(task.data)
    photos = {"train": dataset.count("train"), "val": dataset.count("val")}
    data = {
        "source": dataset.source,
        "size": dataset.size,
        "classes": len(dataset.labels),
        "photos": photos,
        "photos_sha256": dataset.facts["photos_sha256"],
    }
    plan = {"experiment": experiment.name, "settings": to_dict(task.settings), "data": data}
    _agree(task.out / _PLAN, plan)
    found = experiment.run(task)
    result = {
        **plan,
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {"cpu": cpu_model(), "cores": cores(), "device": _device(task.device)},
        "versions": versions("torch", "numpy"),
        "runs": found.runs,
        "seconds": round(found.seconds, 1),
        "complete": found.complete,
        "found": found.figures,
    }
    write_json(task.out / RESULT, result)
    return result


def read_result(path: Path, experiment: Experiment) -> dict[str, Any]:
    """A result that `carry_out` wrote.

    Raises:
        ExperimentError: it can't be read, or belongs to another experiment.
    """
    if not path.exists():
        raise ExperimentError(f"{path} is not there: name --data, so that it can be made.")
    result = _read(path)
    if result.get("experiment") != experiment.name or not {"found", "settings"} <= result.keys():
        raise ExperimentError(f"{path} is no result of the experiment {experiment.name}.")
    try:
        from_dict(type(experiment.settings), result["settings"])
    except SettingsError as error:
        raise ExperimentError(f"{path} was written with other settings: {error}") from error
    return result


def _agree(path: Path, plan: dict[str, Any]) -> None:
    """Begin the experiment in its folder, or make sure that it is the one that began there."""
    if not path.exists():
        write_json(path, plan)
        return
    before = _read(path)
    for key, words in (("experiment", "another experiment"), ("data", "other photos")):
        if before.get(key) != plan[key]:
            raise ExperimentError(f"{path.parent} was begun with {words}: name another --out.")
    if before.get("settings") != plan["settings"]:
        then, now = before.get("settings", {}), plan["settings"]
        changed = ", ".join(key for key in now if then.get(key) != now[key])
        raise ExperimentError(
            f"{path.parent} was begun with other settings of {changed}: name another --out."
        )


def _device(device: str) -> str:
    if device == "cpu":
        return "cpu"
    import torch

    return torch.cuda.get_device_name(device)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ExperimentError(
            f"{path} can't be read ({error}): remove it or name another --out."
        ) from error
    if not isinstance(found, dict):
        raise ExperimentError(f"{path} holds no object: remove it or name another --out.")
    return found
