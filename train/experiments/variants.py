"""`mini` with one thing of the paper taken away at a time, and what that cost in the paper."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from alexnet.config import NetworkConfig, PoolConfig
from train.recipe import RunConfig, ScheduleConfig
from train.recipes import recipe, run_config, stretched

Name = Literal["tanh", "no-lrn", "plain-pooling", "one-column", "no-dropout", "no-noise"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A change of the network or its training."""

    title: str
    change: Callable[[RunConfig], RunConfig]
    paper: tuple[float | None, float | None] = (None, None)
    """What the change added to the top-1 and the top-5 error with ten views, in points; None: the
    paper has no number."""
    says: str
    """What the paper says of it, and where."""
    at_least: bool = False
    """Whether the paper says that it was more than that."""
    tuned: bool = False
    """Whether signals are of another size than those that `mini`'s learning rate was found for, so
    that it needs one of its own: with that one, ReLUs without normalisation or without dropout were
    all closed for good after a hundred steps."""


def baseline(*, epochs: int, classes: int, seed: int) -> RunConfig:
    """`mini` by its own recipe in so many epochs, which the experiment `ensemble` trains, too."""
    return run_config("mini", stretched(recipe("mini"), epochs), classes=classes, seed=seed)


def with_tanh(config: RunConfig) -> RunConfig:
    """tanh in place of every ReLU; weights begin where they do with ReLUs."""
    network = config.network
    convs = tuple(
        replace(conv, steps=tuple("tanh" if step == "relu" else step for step in conv.steps))
        for conv in network.convs
    )
    fc6, fc7 = (replace(full, nonlinearity="tanh") for full in (network.fc6, network.fc7))
    return _with(config, replace(network, convs=convs, fc6=fc6, fc7=fc7))


def at_rate(config: RunConfig, lr: float) -> RunConfig:
    """Another learning rate of the weights; the biases' is twice as much, as in `mini`'s recipe."""
    return replace(config, recipe=replace(config.recipe, lr=lr, bias_lr=2 * lr))


def trial(config: RunConfig, epochs: int) -> RunConfig:
    """The beginning of a training: its first rate in all of so many epochs."""
    schedule = ScheduleConfig(kind="constant")
    return replace(config, recipe=replace(config.recipe, epochs=epochs, schedule=schedule))


def without_normalisation(config: RunConfig) -> RunConfig:
    """No response normalisation, as in #148."""
    convs = tuple(
        replace(conv, steps=tuple(step for step in conv.steps if step != "lrn"), lrn=None)
        for conv in config.network.convs
    )
    return _with(config, replace(config.network, convs=convs))


def plain_pooling(config: RunConfig) -> RunConfig:
    """Windows of 2x2 that do not overlap, as in #147.

    There, and with `mini`'s maps as well, conv2's padding of 1 and none of conv5 let the maps have
    nearly the sizes that they had: 55, 28, 26, 13, 11, 6.
    """
    pool = PoolConfig(size=2, stride=2)
    convs = [
        conv if conv.pool is None else replace(conv, pool=pool) for conv in config.network.convs
    ]
    convs[1], convs[4] = replace(convs[1], pad=(1, 1)), replace(convs[4], pad=(0, 0))
    return _with(config, replace(config.network, convs=tuple(convs)))


def one_column(config: RunConfig) -> RunConfig:
    """One column with half the maps, but for conv5 and the full layers, as in #145-half.

    conv3 reads half as many maps, so that He's deviation for it is larger; every other layer reads
    as many as it did.
    """
    network = config.network
    last = len(network.convs) - 1
    convs = [
        replace(conv, maps=conv.maps if number == last else conv.maps // 2, reads="all")
        for number, conv in enumerate(network.convs)
    ]
    assert convs[2].init_std is not None
    convs[2] = replace(convs[2], init_std=round(convs[2].init_std * math.sqrt(2), 4))
    return _with(config, replace(network, columns=1, convs=tuple(convs)))


def without_dropout(config: RunConfig) -> RunConfig:
    """Nothing is dropped, and nothing halved in use."""
    dropout = replace(config.network.dropout, rate=0.0)
    return _with(config, replace(config.network, dropout=dropout))


def without_noise(config: RunConfig) -> RunConfig:
    """No colour noise."""
    noise = replace(config.recipe.noise, coefficient=0.0)
    return replace(config, recipe=replace(config.recipe, noise=noise))


def _with(config: RunConfig, network: NetworkConfig) -> RunConfig:
    return replace(config, network=network)


VARIANTS: dict[Name, Variant] = {
    "tanh": Variant(
        title="tanh instead of ReLU",
        change=with_tanh,
        tuned=True,
        says="no error; six times as many epochs to 25 % training error on CIFAR-10 (3.1)",
    ),
    "no-lrn": Variant(
        title="no response normalisation",
        change=without_normalisation,
        tuned=True,
        paper=(1.4, 1.2),
        says="1.4 and 1.2 (3.3)",
    ),
    "plain-pooling": Variant(
        title="pooling without overlap",
        change=plain_pooling,
        paper=(0.4, 0.3),
        says="0.4 and 0.3 (3.4)",
    ),
    "one-column": Variant(
        title="one column of half the maps",
        change=one_column,
        paper=(1.7, 1.2),
        says="1.7 and 1.2 on LSVRC-2010 (3.2)",
    ),
    "no-dropout": Variant(
        title="no dropout",
        change=without_dropout,
        tuned=True,
        says='no number; "substantial overfitting" (4.2)',
    ),
    "no-noise": Variant(
        title="no colour noise",
        change=without_noise,
        paper=(1.0, None),
        at_least=True,
        says="over 1 in top-1 (4.1)",
    ),
}
"""By the names of their runs, in the order in which each seed trains them after `baseline`."""

ONE_VIEW = Variant(
    title="one view instead of ten",
    change=lambda config: config,
    paper=(1.5, 1.3),
    says="1.5 and 1.3: 39.0 and 18.3 against 37.5 and 17.0 on LSVRC-2010 (footnote of 6)",
)
"""No training of its own: the baseline's networks, looked at once."""
