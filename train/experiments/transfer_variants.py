"""Ways to learn half of the classes: from scratch, or with layers of the other half's network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from alexnet.config import ConvConfig
from train.layers import ALL_BUT_OUTPUT
from train.recipe import LayersConfig, RunConfig

CONVS = "conv1-conv5"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to learn the second half of the classes."""

    title: str
    against: str = "scratch"
    """The variant that it is compared with; a training from scratch may be its own."""
    keep: str | None = None
    """Layers of the network for the first half that it begins with; None: from scratch."""
    change: Callable[[RunConfig], RunConfig] = lambda config: config
    long: bool = False
    """Whether it has the epochs of the first half's training, too."""


def slow(config: RunConfig) -> RunConfig:
    """Weights of the convolutions learn at a tenth of the rate, as at first in 2012's chain."""
    part = LayersConfig(layers=CONVS, factor=0.1, bias_factor=1.0)
    return replace(config, recipe=replace(config.recipe, layers=(part,)))


def frozen(config: RunConfig) -> RunConfig:
    """The convolutions stay as they are."""
    part = LayersConfig(layers=CONVS, factor=0.0)
    return replace(config, recipe=replace(config.recipe, layers=(part,)))


def sixth(config: RunConfig) -> RunConfig:
    """conv6 after the last pooling, as in `six_conv`: as many maps, all read, no pooling behind.

    He's deviation and no bias, as in `mini`'s other layers: sqrt(2 / (64 * 9)).
    """
    maps = config.network.convs[-1].maps
    conv6 = ConvConfig(maps=maps, kernel=3, pad=(1, 1), reads="all", init_std=0.0589)
    network = replace(config.network, convs=(*config.network.convs, conv6))
    return replace(config, network=network)


VARIANTS: dict[str, Variant] = {
    "scratch": Variant(title="from scratch"),
    "scratch-long": Variant(title="from scratch, epochs of both trainings", long=True),
    "all-but-fc8": Variant(title=f"{ALL_BUT_OUTPUT} kept, all learn", keep=ALL_BUT_OUTPUT),
    "convs": Variant(title=f"{CONVS} kept, all learn", keep=CONVS),
    "convs-slow": Variant(title=f"{CONVS} kept, at a tenth", keep=CONVS, change=slow),
    "convs-frozen": Variant(title=f"{CONVS} kept, frozen", keep=CONVS, change=frozen),
    "six-scratch": Variant(title="with conv6, from scratch", against="six-scratch", change=sixth),
    "six-convs": Variant(
        title=f"with conv6, {CONVS} kept", against="six-scratch", keep=CONVS, change=sixth
    ),
}
"""By the names of their runs."""
