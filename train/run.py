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
import re
from collections.abc import Mapping, Sequence
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
from alexnet.json_text import to_json
from alexnet.machine import versions
from alexnet.settings import SettingsError, differences, from_dict, to_dict
from train.dataset import Dataset
from train.recipe import Recipe, RunConfig

_NAME = re.compile(r"epoch-(\d+)-step-(\d+)\.safetensors")
_MOST_NAMED = 6
# Kinds of schedule that run through their whole range in the recipe's epochs.
_BY_LENGTH = ("cosine", "dexp")


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
        found = {}
        for path in (self.path / "checkpoints").glob("epoch-*.safetensors"):
            name = _NAME.fullmatch(path.name)
            if name is not None:  # else it is somebody's own
                found[path] = int(name[1]), int(name[2])  # as text, 10000 comes before 9999
        return sorted(found, key=lambda path: found[path], reverse=True)

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

    def resume(
        self, config: RunConfig, dataset: Dataset, *, command: str | None = None
    ) -> TrainingState:
        """The newest checkpoint that can be read; metrics of later steps are dropped.

        Args:
            config: what the run is to go on with: as it was started, but for `recipe.epochs`.
            dataset: the photos it was started with, wherever they lie now.
            command: what asks for another `recipe.epochs`; None: nobody has.

        Raises:
            RunError: the run was started with another config or other photos, or its files can't
                be read.
        """
        facts = self._facts()
        try:
            started = from_dict(RunConfig, facts["run"])
        except SettingsError as error:
            raise self._unreadable(self._config, error) from error
        ours = _facts_of(dataset)
        if any(facts["data"].get(name) != ours[name] for name in ours if name != "source"):
            raise RunError(
                f"{self.path} was started with the data set '{facts['data'].get('source')}', and "
                f"{dataset.path} holds other photos: resume it with the data it was started with."
            )
        self._check_same(started, config)
        state = self._newest_state()
        if started != config:
            self._check_epochs(started.recipe, config.recipe, state, asked=command is not None)
            write_json(self._config, facts | {"run": to_dict(config), "command": command})
        for part in (self.path / "checkpoints").glob(".*.part"):
            part.unlink()  # a killed run was writing it
        _keep_lines(self._metrics, ("epoch",), (state.epoch,))
        _keep_lines(self._steps, ("epoch", "step"), (state.epoch + 1, state.step))
        return state

    def _check_same(self, started: RunConfig, config: RunConfig) -> None:
        """Name all settings that are others now; the number of epochs is looked at by itself."""
        changed = [row for row in differences(started, config) if row[0] != "recipe.epochs"]
        if not changed:
            return
        named = [
            f"{name} is {to_json(before)} there and {to_json(now)} here"
            for name, before, now in changed[:_MOST_NAMED]
        ]
        if len(changed) > _MOST_NAMED:
            named.append(f"{len(changed) - _MOST_NAMED} more are others")
        raise RunError(
            f"{self.path} was started with other settings: {', '.join(named)}. Resume it "
            "with those it was started with, or name another folder with --out."
        )

    def _check_epochs(
        self, started: Recipe, recipe: Recipe, state: TrainingState, *, asked: bool
    ) -> None:
        """Look whether the run may have another length."""
        before, now = started.epochs, recipe.epochs
        if not asked:
            raise RunError(
                f"{self.path} was started with recipe.epochs {before}, and here it is {now}: "
                f"resume it with --epochs {before}, or ask for another length with --epochs."
            )
        schedules = {"schedule": recipe.schedule, "bias_schedule": recipe.bias_schedule}
        for name, schedule in schedules.items():
            if schedule is not None and schedule.kind in _BY_LENGTH:
                raise RunError(
                    f"{self.path} was started with recipe.epochs {before}, and with {now} the "
                    f"rates of its past would have been others: recipe.{name}.kind is "
                    f"{schedule.kind}, which runs through its range in all epochs. Resume it with "
                    f"--epochs {before}, or start another run."
                )
        begun = state.epoch + (state.step > 0)
        if now < begun:
            raise RunError(
                f"{self.path} has begun its epoch {begun}: it can't end after {now}. Resume it "
                f"with --epochs {begun} or more."
            )

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
        lines = read_lines(self._metrics)
        return lines[-1] if lines else {}

    def save_state(self, state: TrainingState, *, for_now: bool = False) -> Path:
        """Keep `state` as the place to continue from; the oldest checkpoint may go.

        `for_now`: only until the next one is there, and no other goes.
        """
        name = f"epoch-{state.epoch:04}-step-{state.step:06}.safetensors"
        path = self.path / "checkpoints" / name
        tensors = {name: tensor.cpu().contiguous() for name, tensor in state.tensors().items()}
        write_tensors(path, tensors, {"state": to_json(state.facts())})
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
        file.write(to_json(figures) + "\n")


def read_lines(path: Path, *, numbers: Sequence[str] = ("epoch",)) -> list[dict[str, Any]]:
    """The whole lines of a .jsonl file; none where there is no such file.

    A killed run or a full disk may have cut the last one short: it is passed over. Others that are
    no JSON, or lack a whole number among `numbers`, are passed over with a sentence.
    """
    found: list[dict[str, Any]] = []
    if not path.is_file():
        return found
    text = path.read_bytes().decode("utf-8", "replace").split("\n")
    damaged = 0
    for line in text:
        with suppress(ValueError):
            figures = json.loads(line)
            if isinstance(figures, dict) and all(type(figures.get(n)) is int for n in numbers):
                found.append(figures)
                continue
        damaged += bool(line) and line is not text[-1]
    if damaged:
        log(f"{path}: damaged lines are left out, {damaged} of {len(found) + damaged}.")
    return found


def _keep_lines(path: Path, numbers: Sequence[str], last: tuple[int, ...]) -> None:
    """Keep the lines up to the one whose `numbers` are `last`."""
    lines = read_lines(path, numbers=numbers)
    kept = [line for line in lines if tuple(line[name] for name in numbers) <= last]
    write_text(path, "".join(f"{to_json(line)}\n" for line in kept))


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
