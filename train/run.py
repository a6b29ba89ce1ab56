"""A run's folder: what it was started with, what it measured, where it can go on.

    config.json        the run's config, data and command
    metrics.jsonl      one line an epoch
    state.safetensors  weights, velocities and schedule after the last whole epoch
    model.safetensors  the finished checkpoint

Every file but metrics.jsonl is replaced as a whole, so that a killed run leaves the state of its
last whole epoch. Lines are appended to metrics.jsonl; one that was cut short is dropped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet.checkpoint import Checkpoint, read_tensors, save_checkpoint, write_tensors
from alexnet.config import Config
from alexnet.errors import AlexNetError
from alexnet.files import write_json, write_text
from alexnet.machine import versions
from alexnet.network import AlexNet
from alexnet.settings import SettingsError, from_dict, to_dict
from train.dataset import Dataset
from train.recipe import RunConfig


class RunError(AlexNetError):
    """A run folder that can't be started or continued."""


@dataclass(frozen=True)
class TrainingState:
    """What a run needs to go on after a whole epoch, beside its config."""

    weights: Mapping[str, Tensor]
    velocities: Mapping[str, Tensor]
    progress: Mapping[str, Any]
    """Of the schedule: its fields beside its config, which is the run's."""
    epoch: int


class RunFolder:
    """Reads and writes the files of one run."""

    def __init__(self, path: Path):
        self.path = path
        self._config = path / "config.json"
        self._metrics = path / "metrics.jsonl"
        self._state = path / "state.safetensors"

    def has_state(self) -> bool:
        """Whether an epoch of an earlier start was saved here."""
        return self._state.is_file()

    def start(self, config: RunConfig, dataset: Dataset, *, command: str) -> None:
        """Begin a run in an empty folder.

        Raises:
            RunError: a run with a saved state is here already.
        """
        if self.has_state():
            raise RunError(
                f"{self.path} holds a run already: continue it with --resume, or name another "
                "folder with --out."
            )
        facts = {"run": to_dict(config), "data": _facts_of(dataset), "command": command}
        write_json(self._config, facts | {"versions": versions("torch")})
        write_text(self._metrics, "")

    def resume(self, config: RunConfig, dataset: Dataset) -> TrainingState:
        """The state of the last whole epoch; metrics of later, unfinished epochs are dropped.

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
        state = self._load_state()
        lines = [line for line in self._metrics_lines() if line["epoch"] <= state.epoch]
        write_text(self._metrics, "".join(f"{json.dumps(line)}\n" for line in lines))
        return state

    def add_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Append one epoch's line."""
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")

    def last_metrics(self) -> dict[str, Any]:
        """The last whole line, or nothing before the first epoch."""
        lines = self._metrics_lines()
        return lines[-1] if lines else {}

    def save_state(self, state: TrainingState) -> None:
        """Keep `state` as the place to continue from."""
        tensors = {f"weights.{name}": w for name, w in state.weights.items()}
        tensors |= {f"velocities.{name}": v for name, v in state.velocities.items()}
        facts = {"epoch": state.epoch, "progress": dict(state.progress)}
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        write_tensors(self._state, contiguous, {"state": json.dumps(facts)})

    def save_model(
        self,
        config: Config,
        network: AlexNet,
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
            "epochs": metrics.get("epoch", 0),
            "validation": {
                "photos": dataset.count("val"),
                "centre": {name: metrics[name] for name in metrics if name.startswith("val_")},
                "ten": metrics["ten_views"],
            },
            "versions": versions("torch"),
        }
        checkpoint = Checkpoint(
            config=config,
            weights=network.state_dict(),
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

    def _metrics_lines(self) -> list[dict[str, Any]]:
        """The whole lines: a killed run or a full disk may have cut the last one short."""
        found: list[dict[str, Any]] = []
        for line in self._metrics.read_text("utf-8").splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
        return found

    def _load_state(self) -> TrainingState:
        try:
            tensors, metadata = read_tensors(self._state)
            facts = json.loads(metadata["state"])
            return TrainingState(
                weights=_under("weights.", tensors),
                velocities=_under("velocities.", tensors),
                progress=facts["progress"],
                epoch=facts["epoch"],
            )
        except KeyError as error:
            raise self._unreadable(self._state, f"it lacks {error}") from error
        except ValueError as error:
            raise self._unreadable(self._state, error) from error

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


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
