"""A run's folder: what it was started with, what it measured, where it can go on.

    config.json        the run's config, data and command
    metrics.jsonl      one line an epoch
    state.safetensors  weights, velocities and schedule after the last whole epoch
    model.safetensors  the finished checkpoint

Every write is atomic, so that a killed run leaves the state of its last whole epoch.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from alexnet import __version__
from alexnet.checkpoint import Checkpoint, save_checkpoint, write_tensors
from alexnet.config import Config
from alexnet.errors import AlexNetError
from alexnet.files import write_json, write_text
from alexnet.network import AlexNet
from alexnet.settings import from_dict, to_dict
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
        data = {"source": dataset.source, "size": dataset.size, "classes": len(dataset.labels)}
        facts = {"run": to_dict(config), "data": data, "command": command}
        write_json(self._config, facts | {"versions": versions()})
        write_text(self._metrics, "")

    def resume(self, config: RunConfig) -> TrainingState:
        """The state of the last whole epoch; metrics of later, unfinished epochs are dropped.

        Raises:
            RunError: the run was started with another config, or its state can't be read.
        """
        started = from_dict(RunConfig, json.loads(self._config.read_text("utf-8"))["run"])
        if started != config:
            before, now = to_dict(started), to_dict(config)
            changed = ", ".join(key for key in now if now[key] != before[key])
            raise RunError(
                f"{self.path} was started with other settings of {changed}: resume it with the "
                "options it was started with."
            )
        state = self._load_state()
        lines = self._metrics.read_text("utf-8").splitlines()[: state.epoch]
        write_text(self._metrics, "".join(f"{line}\n" for line in lines))
        return state

    def add_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Add one epoch's line."""
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")

    def last_metrics(self) -> dict[str, Any]:
        """The last whole line, or nothing before the first epoch."""
        lines = self._metrics.read_text("utf-8").splitlines()
        return dict(json.loads(lines[-1])) if lines else {}

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
        """Write the finished checkpoint, its weights stored as `store`."""
        facts = json.loads(self._config.read_text("utf-8"))
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
            "versions": versions(),
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

    def _load_state(self) -> TrainingState:
        try:
            with safetensors.safe_open(self._state, framework="pt") as file:
                facts = json.loads((file.metadata() or {})["state"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            raise RunError(
                f"{self._state} can't be read ({error}): start the run again."
            ) from error
        return TrainingState(
            weights=_under("weights.", tensors),
            velocities=_under("velocities.", tensors),
            progress=facts["progress"],
            epoch=facts["epoch"],
        )


def versions() -> dict[str, str]:
    """Versions of what decides a run's numbers."""
    return {
        "alexnet": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
