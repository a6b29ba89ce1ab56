"""Layers, shapes, parameters, multiply-accumulates and neurons, by arithmetic alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from alexnet.config import Config, ConvConfig, NetworkConfig, PoolConfig, Step
from alexnet.errors import AlexNetError

Kind = Literal["input", "conv", "relu", "tanh", "lrn", "pool", "full", "dropout", "softmax"]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One step of the forward pass, for one crop."""

    name: str
    kind: Kind
    shape: tuple[int, ...]
    """Output: (maps, height, width) or (units,)."""
    weights: int = 0
    biases: int = 0
    macs: int = 0
    """Multiply-accumulates of convolutions and fully connected layers; a bias counts none."""
    groups: int = 1
    detail: str = ""
    conv: int | None = None
    """Of a convolution and its steps: its place in `network.convs`."""
    step: Step | None = None
    """Of a convolution's steps: which one."""

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights + self.biases

    @property
    def neurons(self) -> int:
        """Units with weights: what the paper counts, before pooling."""
        return math.prod(self.shape) if self.kind in ("conv", "full") else 0


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Sums over the layers."""

    parameters: int
    weights: int
    biases: int
    macs: int
    neurons: int


def conv_side(side: int, conv: ConvConfig) -> int:
    """Windows along one side: floor((side + padding - kernel) / stride) + 1."""
    return (side + sum(conv.pad) - conv.kernel) // conv.stride + 1


def pool_side(side: int, pool: PoolConfig) -> int:
    """Windows along one side, rounded as the config says; none may begin past the edge."""
    spare = side - pool.size
    if not pool.ceil:
        return spare // pool.stride + 1
    windows = -(-spare // pool.stride) + 1
    return windows - 1 if (windows - 1) * pool.stride >= side else windows


def groups(network: NetworkConfig, conv: ConvConfig) -> int:
    """Groups of the convolution: one per column, unless it reads all columns."""
    return 1 if conv.reads == "all" else network.columns


def layers(config: Config) -> tuple[Layer, ...]:
    """Every step from the crop to the probabilities, in the order of the forward pass.

    Raises:
        AlexNetError: a kernel or a pooling window is larger than the maps that reach it.
    """
    found: list[Layer] = []
    side = config.input.crop
    maps = 3
    found.append(Layer(name="crop", kind="input", shape=(maps, side, side)))
    for number, conv in enumerate(config.network.convs, 1):
        found.extend(_conv_layers(config.network, conv, number, maps=maps, side=side))
        maps, side, _ = found[-1].shape
    found.extend(_full_layers(config.network, inputs=maps * side * side))
    return tuple(found)


def last_side(config: Config) -> int:
    """Side of the last convolutional output of a crop, which fc6 reads."""
    return [layer.shape[-1] for layer in layers(config) if len(layer.shape) == 3][-1]


def feature_count(config: Config) -> int:
    """Values of the last convolutional output, which fc6 reads."""
    flat = next(layer for layer in layers(config) if layer.name == "fc6").weights
    return flat // config.network.fc6.units


def totals(config: Config) -> Totals:
    """Sums over `layers(config)`."""
    found = layers(config)
    return Totals(
        parameters=sum(layer.parameters for layer in found),
        weights=sum(layer.weights for layer in found),
        biases=sum(layer.biases for layer in found),
        macs=sum(layer.macs for layer in found),
        neurons=sum(layer.neurons for layer in found),
    )


def _conv_layers(
    network: NetworkConfig, conv: ConvConfig, number: int, *, maps: int, side: int
) -> list[Layer]:
    out = conv_side(side, conv)
    if side + sum(conv.pad) < conv.kernel:
        raise AlexNetError(
            f"conv{number}'s kernel of {conv.kernel} does not fit maps of {side}: "
            "take a larger crop or fewer poolings."
        )
    split = groups(network, conv)
    weights = conv.maps * (maps // split) * conv.kernel**2
    pad = f" pad {conv.pad[0]}+{conv.pad[1]}" if any(conv.pad) else ""
    found = [
        Layer(
            name=f"conv{number}",
            kind="conv",
            shape=(conv.maps, out, out),
            weights=weights,
            biases=conv.maps,
            macs=weights * out * out,
            groups=split,
            detail=f"{conv.kernel}x{conv.kernel}/{conv.stride}{pad}",
            conv=number - 1,
        )
    ]
    for step in conv.steps:
        detail = ""
        if step == "pool":
            assert conv.pool is not None
            if out < conv.pool.size:
                raise AlexNetError(f"pool{number} does not fit maps of {out}: take a larger crop.")
            out = pool_side(out, conv.pool)
            detail = f"max {conv.pool.size}x{conv.pool.size}/{conv.pool.stride}"
        elif step not in ("relu", "tanh"):
            lrn = conv.lrn_of(step)
            detail = (
                f"n={lrn.size} k={lrn.k:g} c={lrn.coefficient:g} beta={lrn.beta:g} {lrn.window}"
            )
        kind: Kind = "lrn" if step == "same_map_lrn" else step
        found.append(
            Layer(
                name=f"{step}{number}",
                kind=kind,
                shape=(conv.maps, out, out),
                detail=detail,
                conv=number - 1,
                step=step,
            )
        )
    return found


def _full_layers(network: NetworkConfig, *, inputs: int) -> list[Layer]:
    found: list[Layer] = []
    drop_inputs = network.dropout.of == "inputs"
    kinds: dict[int, Kind] = {6: network.fc6.nonlinearity, 7: network.fc7.nonlinearity}
    for number, units in ((6, network.fc6.units), (7, network.fc7.units), (8, network.classes)):
        dropout = Layer(
            name=f"dropout{number}",
            kind="dropout",
            shape=(inputs if drop_inputs else units,),
            detail=f"rate {network.dropout.rate:g}",
        )
        if number < 8 and drop_inputs:
            found.append(dropout)
        found.append(
            Layer(
                name=f"fc{number}",
                kind="full",
                shape=(units,),
                weights=inputs * units,
                biases=units,
                macs=inputs * units,
            )
        )
        if number < 8:
            # Not relu6: that is conv6's, in six_conv.
            kind = kinds[number]
            found.append(Layer(name=f"fc{number}_{kind}", kind=kind, shape=(units,)))
            if not drop_inputs:
                found.append(dropout)
        inputs = units
    found.append(Layer(name="softmax", kind="softmax", shape=(network.classes,)))
    return found
