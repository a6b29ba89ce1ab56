"""Trainings on CIFAR-10 as cuda-convnet made them, an epoch at a time, each kept in one file."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet.checkpoint import read_tensors, write_tensors
from train.experiments.cifar_networks import FIRST_STD, Net, Nonlinearity, network
from train.experiments.cifar_photos import Minibatches, Photos, Splits
from train.experiments.cifar_testing import CENTRE, errors
from train.experiments.experiment import ExperimentError
from train.optimizer import SGD

_VELOCITY = "velocity."


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What the minibatches of an epoch came to, each before the update that it led to."""

    error: float
    """Share of photos that were classified wrongly."""
    loss: float | None
    """Mean cross-entropy; None: it is no number any more."""
    seconds: float
    test_error: float | None = None
    """Of validation photos after the epoch, centre view; None: not measured."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training but for its length and its rates, which whoever runs it chooses."""

    net: Net
    nonlinearity: Nonlinearity = "relu"
    first_std: float = FIRST_STD
    seed: int = 0
    momentum: float = 0.9
    decays: Mapping[str, float] = field(default_factory=dict)
    """Weight decay of layers by name; those that are not named have none, nor has any bias."""
    crop: int | None = None
    """Side of crops at random places, half of them mirrored; None: whole photos."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """An epoch of a training that is to come next."""

    name: str
    """Of the training's file, without its ending."""
    training: Training
    rate: float
    """Of weights."""
    bias_rate: float
    after: int
    """Epochs before it. A file that has more by now is left as it is: a process of a session that
    was killed may have ended its epoch in the meantime."""
    files: int | None = None
    """How many files of photos to read; None: all."""
    tested: bool = False
    """Whether the validation photos are classified after it."""


def train_epoch(net: nn.Module, optimizer: SGD, batches: Minibatches) -> Epoch:
    """An update for each minibatch, and what they came to."""
    began = time.perf_counter()
    count = 0
    wrong: list[Tensor] = []  # added up at the end: a GPU need not be waited for at each step
    costs: list[Tensor] = []
    for photos, labels in batches:
        scores = net(photos)
        cost = F.cross_entropy(scores, labels)
        optimizer.zero_grad()
        torch.autograd.backward(cost)
        optimizer.step()
        count += len(labels)
        wrong.append((scores.detach().argmax(1) != labels).sum())
        costs.append(cost.detach() * len(labels))
    loss = float(torch.stack(costs).double().sum()) / count
    return Epoch(
        error=int(torch.stack(wrong).sum()) / count,
        loss=loss if np.isfinite(loss) else None,
        seconds=time.perf_counter() - began,
    )


def advance(path: Path, step: Step, splits: Splits) -> list[Epoch]:
    """Train the epoch that follows `step.after`, unless `path` has it; all epochs so far.

    `path` is a .safetensors file of weights, velocities and epochs, written anew as a whole.

    Raises:
        AlexNetError: it is damaged, or holds another training.
    """
    training = step.training
    epochs = epochs_of(path, training)
    if len(epochs) > step.after:
        return epochs
    net = network_of(training, splits.train)
    optimizer = _optimizer(net, step)
    if epochs:
        _load(path, net, optimizer)
    epoch = train_epoch(net, optimizer, _batches(step, splits.train, len(epochs)))
    if step.tested and epoch.loss is not None:
        found = errors(net, splits.val, side=training.crop, views={"centre": CENTRE})
        epoch = Epoch(**{**asdict(epoch), "test_error": found["centre"]})
    epochs.append(epoch)
    tensors = dict(net.state_dict())
    for name, weight in net.named_parameters():
        tensors[_VELOCITY + name] = optimizer.state[weight]["velocity"]
    metadata = {"training": _text(training), "epochs": json.dumps([asdict(one) for one in epochs])}
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_tensors(path, whole, metadata)
    return epochs


def epochs_of(path: Path, training: Training) -> list[Epoch]:
    """The epochs that `path` holds; none where it does not exist.

    Raises:
        AlexNetError: it is damaged, or holds another training.
    """
    if not path.exists():
        return []
    _, metadata = read_tensors(path)
    if metadata.get("training") != _text(training):
        raise ExperimentError(f"{path} holds another training: remove it or name another --out.")
    return [Epoch(**epoch) for epoch in json.loads(metadata["epochs"])]


def network_of(training: Training, photos: Photos) -> nn.Sequential:
    """The network of a training with its first weights, where the photos are."""
    made = network(
        training.net,
        nonlinearity=training.nonlinearity,
        first_std=training.first_std,
        seed=training.seed,
        size=training.crop or photos.size,
        classes=photos.classes,
    )
    return made.to(photos.pixels.device)


def load(path: Path, net: nn.Module) -> dict[str, Tensor]:
    """Give a network the weights that `path` holds; the velocities by their weights' names.

    Raises:
        AlexNetError: it is damaged.
    """
    tensors, _ = read_tensors(path)
    velocities = {
        name.removeprefix(_VELOCITY): tensors.pop(name)
        for name in list(tensors)
        if name.startswith(_VELOCITY)
    }
    net.load_state_dict(tensors)
    return velocities


def _load(path: Path, net: nn.Module, optimizer: SGD) -> None:
    velocities = load(path, net)
    for name, weight in net.named_parameters():
        # Like the weight in memory, too, so that the next step rounds as if there had been no file.
        optimizer.state[weight]["velocity"] = torch.zeros_like(weight).copy_(velocities[name])


def _batches(step: Step, photos: Photos, epoch: int) -> Minibatches:
    training = step.training
    if training.crop is None:
        return photos.whole()
    return photos.crops(training.crop, files=step.files, seed=(training.seed, epoch))


def _optimizer(net: nn.Module, step: Step) -> SGD:
    groups: list[dict[str, Any]] = []
    for name, parameter in net.named_parameters():
        layer, kind = name.split(".")
        if kind == "weight":
            rate, decay = step.rate, step.training.decays.get(layer, 0.0)
        else:
            rate, decay = step.bias_rate, 0.0
        groups.append({"params": [parameter], "lr": rate, "weight_decay": decay})
    return SGD(groups, momentum=step.training.momentum)


def _text(training: Training) -> str:
    return json.dumps(asdict(training), sort_keys=True)
