"""A run's folder: what it was started with, what it measured, where it can go on.

    config.json        the run's config, data and command
    metrics.jsonl      one line an epoch
    steps.jsonl        the loss of every so many steps
    checkpoints/       weights, velocities and schedule; the newest few, named by epoch and step
    tensorboard/       the same figures for TensorBoard, where they were asked for
    model.safetensors  the finished checkpoint

Beside them are two notes for restarts, see restarts.py.

Checkpoints are written as a whole before an older one is removed, so that a killed run or a full
disk leaves the last good one. Lines are appended to the .jsonl files; one that was cut short is
dropped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet.checkpoint import Checkpoint, read_tensors, save_checkpoint, write_tensors
from alexnet.config import Config
from alexnet.console import log
from alexnet.errors import AlexNetError
from alexnet.files import naming, write_json, write_text
from alexnet.machine import versions
from alexnet.settings import SettingsError, from_dict, to_dict
from train.dataset import Dataset
from train.recipe import RunConfig


class RunError(AlexNetError):
    """A run folder that can't be started or continued."""


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """What a run needs to go on from a step, beside its config."""

    weights: Mapping[str, Tensor]
    velocities: Mapping[str, Tensor]
    progress: Mapping[str, Any]
    """Of the schedule: its fields beside its config, which is the run's."""
    epoch: int
    """Whole epochs."""
    step: int = 0
    """Steps of the next."""
    sums: Mapping[str, Any] = field(default_factory=dict)
    """What has been added up in them."""

    def tensors(self) -> dict[str, Tensor]:
        """Weights and velocities under one roof."""
        found = {f"weights.{name}": w for name, w in self.weights.items()}
        return found | {f"velocities.{name}": v for name, v in self.velocities.items()}

    def facts(self) -> dict[str, Any]:
        """Everything else, as JSON values."""
        return {name: getattr(self, name) for name in ("epoch", "step", "progress", "sums")}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> TrainingState:
        """The inverse of `tensors` and `facts`.

        Raises:
            KeyError: a fact is missing.
        """
        return cls(
            weights=_under("weights.", tensors),
            velocities=_under("velocities.", tensors),
            **{name: facts[name] for name in ("epoch", "step", "progress", "sums")},
        )


class RunFolder:
    """Reads and writes the files of one run; keeps the newest `keep` checkpoints."""

    def __init__(self, path: Path, *, keep: int = 3):
        self.path = path
        self.keep = keep
        self._config = path / "config.json"
        self._metrics = path / "metrics.jsonl"
        self._steps = path / "steps.jsonl"
        self._for_now: Path | None = None

    def checkpoints(self) -> list[Path]:
        """The checkpoints, newest first."""
        found = (self.path / "checkpoints").glob("epoch-*.safetensors")
        # Numbers of steps may have more digits than others.
        return sorted(found, key=lambda path: (path.name[:10], len(path.name), path), reverse=True)

    def start(
        self, config: RunConfig, dataset: Dataset, *, command: str, **origin: Mapping[str, Any]
    ) -> None:
        """Begin a run in an empty folder; `origin`: further facts that its model passes on.

        Raises:
            RunError: a run with a checkpoint is here already.
        """
        if self.checkpoints():
            raise RunError(
                f"{self.path} holds a run already: continue it with --resume, or name another "
                "folder with --out."
            )
        facts = {"run": to_dict(config), "data": _facts_of(dataset), "command": command}
        write_json(self._config, facts | origin | {"versions": versions("torch")})
        write_text(self._metrics, "")
        write_text(self._steps, "")

    def resume(self, config: RunConfig, dataset: Dataset) -> TrainingState:
        """The newest checkpoint that can be read; metrics of later steps are dropped.

        Raises:
            RunError: the run was started with another config or other photos, or its files can't
                be read.
        """
        facts = self._facts()
        try:
            started = from_dict(RunConfig, facts["run"])
        except SettingsError as error:
            raise self._unreadable(self._config, error) from error
        if facts["data"] != _facts_of(dataset):
            raise RunError(
                f"{self.path} was started with the data set '{facts['data']['source']}', and "
                f"{dataset.path} holds other photos: resume it with the data it was started with."
            )
        if started != config:
            before, now = to_dict(started), to_dict(config)
            changed = ", ".join(key for key in now if now[key] != before[key])
            raise RunError(
                f"{self.path} was started with other settings of {changed}: resume it with the "
                "options it was started with."
            )
        state = self._newest_state()
        for part in (self.path / "checkpoints").glob(".*.part"):
            part.unlink()  # a killed run was writing it
        _keep_lines(self._metrics, lambda line: line["epoch"] <= state.epoch)
        last = (state.epoch + 1, state.step)
        _keep_lines(self._steps, lambda line: (line["epoch"], line["step"]) <= last)
        return state

    def origin(self) -> dict[str, Any]:
        """The further facts with which the run was started."""
        own = ("run", "data", "command", "versions")
        return {name: fact for name, fact in self._facts().items() if name not in own}

    def add_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Append one epoch's line."""
        _append(self._metrics, metrics)

    def add_step(self, figures: Mapping[str, Any]) -> None:
        """Append one step's line."""
        _append(self._steps, figures)

    def last_metrics(self) -> dict[str, Any]:
        """The last whole epoch's line, or nothing before the first."""
        lines = _lines(self._metrics)
        return lines[-1] if lines else {}

    def save_state(self, state: TrainingState, *, for_now: bool = False) -> Path:
        """Keep `state` as the place to continue from; the oldest checkpoint may go.

        `for_now`: only until the next one is there, and no other goes.
        """
        name = f"epoch-{state.epoch:04}-step-{state.step:06}.safetensors"
        path = self.path / "checkpoints" / name
        tensors = {name: tensor.cpu().contiguous() for name, tensor in state.tensors().items()}
        write_tensors(path, tensors, {"state": json.dumps(state.facts())})
        if for_now:
            self._for_now = path
            return path
        if self._for_now is not None and self._for_now != path:
            self._for_now.unlink(missing_ok=True)
        self._for_now = None
        # One that can't be read may have a later name: it does not drive out this one.
        others = [other for other in self.checkpoints() if other != path]
        for old in others[self.keep - 1 :]:
            old.unlink()
        return path

    def save_model(
        self,
        config: Config,
        weights: Mapping[str, Tensor],
        dataset: Dataset,
        *,
        metrics: Mapping[str, Any],
        store: torch.dtype,
    ) -> None:
        """Write the finished checkpoint, its weights stored as `store`.

        Raises:
            RunError: config.json can't be read any more.
        """
        facts = self._facts()
        provenance = {
            "data": facts["data"] | {"training_photos": dataset.count("train")},
            "recipe": facts["run"]["recipe"],
            "seed": facts["run"]["seed"],
            "command": facts["command"],
            "epochs": metrics.get("epoch", 0) - ("steps" in metrics),
            "steps_beyond": metrics.get("steps", 0),
            "validation": {
                "photos": dataset.count("val"),
                "centre": {name: metrics[name] for name in metrics if name.startswith("val_")},
                "ten": metrics["ten_views"],
            },
            "versions": versions("torch"),
        } | self.origin()
        checkpoint = Checkpoint(
            config=config,
            weights=weights,
            labels=dataset.labels,
            mean=dataset.mean if config.input.has_mean_image else None,
            color_pca=dataset.color_pca,
            provenance=provenance,
        )
        save_checkpoint(checkpoint, self.path / "model.safetensors", dtype=store)

    def _facts(self) -> dict[str, Any]:
        """What config.json holds."""
        try:
            facts = json.loads(self._config.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise self._unreadable(self._config, error) from error
        if not isinstance(facts, dict) or not {"run", "data", "command"} <= facts.keys():
            raise self._unreadable(self._config, "it does not hold run, data and command")
        return facts

    def _newest_state(self) -> TrainingState:
        """A checkpoint that can't be read is passed over for the one before it."""
        found = self.checkpoints()
        for path in found[:-1]:
            try:
                return self._read(path)
            except RunError:
                log(f"{path} can't be read: the checkpoint before it is taken.")
        return self._read(found[-1])

    def _read(self, path: Path) -> TrainingState:
        try:
            tensors, metadata = read_tensors(path)
            return TrainingState.of(tensors, json.loads(metadata["state"]))
        except KeyError as error:
            raise self._unreadable(path, f"it lacks {error}") from error
        except ValueError as error:
            raise self._unreadable(path, error) from error

    def _unreadable(self, file: Path, reason: object) -> RunError:
        return RunError(
            f"{file} can't be read ({str(reason).rstrip('.')}): start the run again in another "
            "folder."
        )


def _facts_of(dataset: Dataset) -> dict[str, Any]:
    """What tells a data set from another."""
    return {
        "source": dataset.source,
        "size": dataset.size,
        "classes": len(dataset.labels),
        "photos_sha256": dataset.facts["photos_sha256"],
    }


def _append(path: Path, figures: Mapping[str, Any]) -> None:
    with naming(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(figures) + "\n")


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines: a killed run or a full disk may have cut the last one short."""
    found: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_text("utf-8").splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
    return found


def _keep_lines(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    lines = [line for line in _lines(path) if wanted(line)]
    write_text(path, "".join(f"{json.dumps(line)}\n" for line in lines))


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
