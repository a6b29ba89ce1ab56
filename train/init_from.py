"""Layers of a trained network that a new one begins with; the rest begins as its seed says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet.checkpoint import CheckpointError, load_checkpoint, read_tensors
from alexnet.config import Config
from alexnet.errors import AlexNetError
from alexnet.files import sha256_of
from alexnet.geometry import groups
from alexnet.labels import Label
from alexnet.network import AlexNet
from alexnet.settings import SettingsError, from_dict
from train.layers import ALL_BUT_OUTPUT, check_names, chosen_layers
from train.recipe import RunConfig
from train.trainer import Trainer


class InitError(AlexNetError):
    """A trained network whose layers a run can't begin with."""


@dataclass(frozen=True, kw_only=True)
class InitFrom:
    """What a run begins with."""

    path: Path
    """A model.safetensors, or a run's checkpoint beside its config.json."""
    keep: str = ALL_BUT_OUTPUT
    """Layers by name, see train/layers.py."""

    def __post_init__(self) -> None:
        """Check the names of layers."""
        if self.keep.isdecimal():
            raise InitError(
                f"--keep names layers, such as {ALL_BUT_OUTPUT}: with --keep-checkpoints "
                f"{self.keep} so many checkpoints stay."
            )
        try:
            check_names(self.keep)
        except ValueError as error:
            raise InitError(f"--keep: {error}.") from error


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The weights to begin with."""

    weights: Mapping[str, Tensor]
    """Of the layers that are kept, whole and by the names of `AlexNet.state_dict()`."""
    facts: Mapping[str, Any]
    """Where they are from, as JSON values: for the run's config.json and its model's origin."""


@dataclass(frozen=True, kw_only=True)
class _Source:
    config: Config
    weights: Mapping[str, Tensor]
    labels: tuple[Label, ...] | None
    """None of a run's checkpoint, which holds no names of classes."""


def read_kept(init: InitFrom, config: Config, labels: Sequence[Label]) -> Kept:
    """The layers of `init` that a network of `config` is to begin with.

    Steps after a convolution, its stride and its borders may differ. The mean image and the colours
    are not taken: they are those of the photos to be learnt.

    Raises:
        InitError: a layer is in one of the networks only, or does not fit; the sentence says why.
        CheckpointError: the file is no checkpoint.
    """
    source = _read(init.path)
    try:
        layers = chosen_layers(init.keep, config.network)
    except ValueError as error:
        raise InitError(f"--keep {init.keep}: {error}.") from error
    with torch.device("meta"):
        shapes = {name: w.shape for name, w in AlexNet(config).state_dict().items()}
    for layer in layers:
        reason = _misfit(layer, source, config, shapes)
        if reason:
            raise InitError(f"{layer} of {init.path} can't be kept: {reason}.")
    if "fc8" in layers and source.labels is not None and source.labels != tuple(labels):
        raise InitError(
            f"fc8 of {init.path} can't be kept: its outputs are other classes than these photos "
            f"have. Keep {ALL_BUT_OUTPUT}."
        )
    kept = {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    return Kept(
        weights={name: source.weights[name] for name in shapes if name in kept},
        facts={
            "file": init.path.name,
            "sha256": sha256_of(init.path),
            "preset": source.config.preset,
            "keep": init.keep,
            "layers": list(layers),
        },
    )


def take(trainer: Trainer, kept: Kept | None) -> bool:
    """Let the network begin with what the first process read; to be called in every process.

    All other weights stay as they were drawn. Returns whether there was something to take.
    """
    weights = trainer.mesh.tensors_from_first({} if kept is None else kept.weights)
    own = weights if trainer.exchange is None else trainer.exchange.own(weights)
    trainer.network.load_state_dict(dict(own), strict=False)
    return bool(weights)


def check_same(init: InitFrom, begun_with: Mapping[str, Any] | None, folder: Path) -> None:
    """Look whether a run that goes on began with `init`; a file that is gone is not asked for.

    Raises:
        InitError: it began with something else.
    """
    if begun_with is None:
        raise InitError(f"{folder} was started without --init-from: resume it without.")
    changed = begun_with["keep"] != init.keep
    if changed or (init.path.exists() and sha256_of(init.path) != begun_with["sha256"]):
        raise InitError(
            f"{folder} was started from {begun_with['keep']} of {begun_with['file']} "
            f"({begun_with['sha256'][:12]}): resume it with that, or without --init-from."
        )


def _read(path: Path) -> _Source:
    if path.name.startswith("epoch-") and path.parent.name == "checkpoints":
        return _read_state(path)
    checkpoint = load_checkpoint(path)
    return _Source(config=checkpoint.config, weights=checkpoint.weights, labels=checkpoint.labels)


def _read_state(path: Path) -> _Source:
    """A checkpoint of a run that may still be going on: its config lies in the run's folder."""
    tensors, _ = read_tensors(path)
    facts = path.parent.parent / "config.json"
    try:
        run = from_dict(RunConfig, json.loads(facts.read_text("utf-8"))["run"])
    except (OSError, ValueError, KeyError, TypeError, SettingsError) as error:
        raise CheckpointError(
            f"{path} is a run's checkpoint, and its run's {facts.name} can't be read ({error}): "
            "leave it where its run wrote it."
        ) from error
    prefix = "weights."
    weights = {name.removeprefix(prefix): w for name, w in tensors.items() if prefix in name}
    return _Source(config=run.config, weights=weights, labels=None)


def _misfit(
    layer: str, source: _Source, config: Config, shapes: Mapping[str, torch.Size]
) -> str | None:
    """Why a layer of `source` can't be the same layer of `config`; None where it can."""
    weight = f"{layer}.weight"
    if weight not in source.weights:
        return f"that network ({source.config.preset}) has no {layer}"
    theirs, ours = tuple(source.weights[weight].shape), tuple(shapes[weight])
    if theirs != ours:
        return f"its weights are of shape {theirs}, and here {ours}"
    if layer.startswith("conv"):
        place = int(layer.removeprefix("conv")) - 1
        split = [groups(c.network, c.network.convs[place]) for c in (source.config, config)]
        if split[0] != split[1]:
            return f"it is in {split[0]} column(s) there, and in {split[1]} here"
    if layer == "conv1":
        for name in ("order", "std_rgb"):
            there, here = (getattr(c.input, name) for c in (source.config, config))
            if there != here:
                return f"its photos enter with input.{name}={_said(there)}, here with {_said(here)}"
    return None


def _said(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
