"""What a network's training on ImageNet takes, by arithmetic: hours, disk, and bytes sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from alexnet.config import Config
from alexnet.errors import AlexNetError
from alexnet.geometry import layers, totals
from train.recipe import RunConfig

TRAIN_PHOTOS, VAL_PHOTOS = 1_281_167, 50_000
"""Of ILSVRC-2012. In minibatches of 128 the first make 10,010 updates an epoch, as in 2012."""
CLASSES = 1000
ARCHIVES = {
    "ILSVRC2012_img_train.tar": 147_897_477_120,
    "ILSVRC2012_img_val.tar": 6_744_924_160,
    "ILSVRC2012_devkit_t12.tar.gz": 2_568_634,
}
"""Approximate bytes of the archives; image-net.org says 138 GB, 6.3 GB and 2.5 MB, and means powers
of 2."""
BYTES_PER_PIXEL = 0.569
"""Of the JPEGs that `prepare` stores: 37,318 bytes on average for 200 photos of ImageNet at 256
pixels."""
TAR_BYTES = 1792
"""What a photo takes in a shard beside its JPEG: two headers, its class, and rounding up."""
PREPARED_PER_SECOND = 270.0
"""Photos a second that one core prepares for 256 pixels: 200 photos of ImageNet on an AMD EPYC."""
FORWARD = 3.0
"""A forward pass takes a third of a training step: backward makes two products for its one."""
ITEM = {"float64": 8}
"""Bytes of a number that is sent; float32 where the recipe's dtype is not named here."""
_KEPT = 3  # checkpoints that `fit` keeps, each with weights and velocities


@dataclass(frozen=True, kw_only=True)
class Machines:
    """Who takes part."""

    machines: int = 1
    devices: int = 1
    """Of each machine; a process each."""
    columns: int = 1
    """Devices that hold one network together."""

    def __post_init__(self) -> None:
        """Check that whole networks fit."""
        if self.total % self.columns:
            raise AlexNetError(
                f"{self.columns} columns need a multiple of {self.columns} devices, and "
                f"{self.machines} x {self.devices} are {self.total}."
            )

    @property
    def total(self) -> int:
        """All devices."""
        return self.machines * self.devices

    @property
    def replicas(self) -> int:
        """Networks that share each minibatch."""
        return self.total // self.columns


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast devices train a network."""

    steps_per_second: float
    """Of whole minibatches."""
    devices: int = 1
    """With which it was measured."""
    prepared_per_second: float = PREPARED_PER_SECOND
    """Photos that one core prepares."""

    def photos_per_second(self, run: RunConfig, machines: Machines) -> float:
        """With all devices, if as many train as many times as fast."""
        return self.steps_per_second * run.recipe.batch * machines.total / self.devices


def exchanges(config: Config, *, photos: int, columns: int, item: int = 4) -> dict[str, int]:
    """Bytes that a process sends in a step to the other columns, by what is read afterwards.

    Forward it sends its own maps to every other column, backward their gradients to their owners;
    the logits go forward only. Of uneven parts, the first column's.

    Args:
        config: the network.
        photos: of the step, of this replica.
        columns: processes that hold the network; 1 sends nothing.
        item: bytes of a number.
    """
    if columns == 1:
        return {}
    found: dict[str, int] = {}

    def join(layer: str, values: int) -> None:
        own = -(-values // columns)
        ways = own * (columns - 1) + (0 if layer == "logits" else values - own)
        found[layer] = photos * ways * item

    network = config.network
    below = layers(config)
    for number, conv in enumerate(network.convs, 1):
        if conv.reads == "all" and number > 1:
            place = next(i for i, layer in enumerate(below) if layer.name == f"conv{number}")
            maps, height, width = below[place - 1].shape
            join(f"conv{number}", maps * height * width)
    fc6 = next(layer for layer in below if layer.name == "fc6")
    join("fc6", fc6.weights // network.fc6.units)
    join("fc7", network.fc6.units)
    join("fc8", network.fc7.units)
    join("logits", network.classes)
    return found


def gradients(config: Config, machines: Machines, *, item: int = 4) -> int:
    """Bytes that a process sends in a step so that all replicas have the mean gradient.

    By a ring over R replicas, 2 (R - 1) / R of the process's parameters: its column's.
    """
    if machines.replicas == 1:
        return 0
    parameters = -(-totals(config).parameters // machines.columns)
    return 2 * (machines.replicas - 1) * parameters * item // machines.replicas


def steps_of(run: RunConfig, photos: int) -> int:
    """Steps of a whole run: the last minibatch of an epoch is smaller."""
    return run.recipe.epochs * -(-photos // run.recipe.batch)


def fit_hours(run: RunConfig, speed: float, *, train: int, val: int) -> float:
    """Hours of a run at `speed` photos a second, validation after each epoch and at the end."""
    epochs = run.recipe.epochs
    seconds = epochs * (train / speed + evaluate_seconds(speed, val, views=1))
    return (seconds + evaluate_seconds(speed, val, views=10)) / 3600


def evaluate_seconds(speed: float, photos: int, *, views: int) -> float:
    """Seconds of a forward pass of every view, where training takes `speed` photos a second."""
    return views * photos / (FORWARD * speed)


def relative_speed(base: Config, other: Config) -> float:
    """How many times as fast `other` trains, by its multiply-accumulates."""
    return totals(base).macs / totals(other).macs


def disk(run: RunConfig, *, photos: int, runs: int) -> list[dict[str, Any]]:
    """Rows of what lies on the disk: `what`, `bytes`, and where the number comes from."""
    size = run.input.size
    each = BYTES_PER_PIXEL * size**2 + TAR_BYTES
    weights = 4 * totals(run.config).parameters
    published = "approximately, as image-net.org publishes it"
    rows: Sequence[tuple[str, float, str]] = (
        *((name, size, published) for name, size in ARCHIVES.items()),
        (
            f"prepared photos of {size} pixels",
            photos * each,
            f"{each:,.0f} bytes a photo: 200 photos of ImageNet took {BYTES_PER_PIXEL} a pixel",
        ),
        (
            f"runs ({runs})",
            runs * weights * (1 + 2 * _KEPT),
            f"{_KEPT} checkpoints with velocities and a model each",
        ),
    )
    return [{"what": what, "bytes": round(count), "source": words} for what, count, words in rows]
