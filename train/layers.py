"""Layers by their names: one (`fc8`), a range (`conv1-conv5`), and several of them with commas."""

from __future__ import annotations

import re
from collections.abc import Iterator

from alexnet.config import NetworkConfig

Span = tuple["Place", "Place"]
Place = tuple[int, int]
"""A layer's place among all: every convolution is before every fully connected layer."""

ALL_BUT_OUTPUT = "conv1-fc7"
"""All but the layer that knows the classes."""


def layer_names(network: NetworkConfig) -> tuple[str, ...]:
    """The layers with weights, from the first to the last."""
    return (*(f"conv{number}" for number in range(1, len(network.convs) + 1)), "fc6", "fc7", "fc8")


def check_names(text: str) -> None:
    """Look whether `text` names layers, of whatever network.

    Raises:
        ValueError: it does not; the sentence says why.
    """
    list(_spans(text))


def names(text: str, layer: str) -> bool:
    """Whether `text` names `layer`; what is no layer's name is never named."""
    place = _place(layer)
    return place is not None and any(first <= place <= last for first, last in _spans(text))


def overlap(one: str, other: str) -> bool:
    """Whether two texts name the same layer, or would in a network that is deep enough."""
    return any(
        first <= end and begin <= last
        for first, last in _spans(one)
        for begin, end in _spans(other)
    )


def chosen_layers(text: str, network: NetworkConfig) -> tuple[str, ...]:
    """The layers of `network` that `text` names, in the network's order.

    Raises:
        ValueError: `text` names no layers, or one that `network` does not have.
    """
    known = layer_names(network)
    check_names(text)
    for name in re.split("[-,]", text):
        if name.strip() not in known:
            convs = f"conv1-conv{len(network.convs)}"
            raise ValueError(f"there is no {name.strip()} in this network: it has {convs}, fc6-fc8")
    return tuple(layer for layer in known if names(text, layer))


def _spans(text: str) -> Iterator[Span]:
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin, end = _place(first.strip()), _place((last if dash else first).strip())
        if begin is None or end is None:
            raise ValueError(
                f"'{part.strip()}' names no layers: name one (fc8), a range (conv1-conv5), or "
                "several with commas"
            )
        if begin > end:
            raise ValueError(f"{part.strip()} is backwards: {first.strip()} comes later")
        yield begin, end


def _place(layer: str) -> Place | None:
    found = re.fullmatch(r"conv([1-9]\d*)|fc([678])", layer)
    if found is None:
        return None
    return (0, int(found[1])) if found[1] else (1, int(found[2]))
