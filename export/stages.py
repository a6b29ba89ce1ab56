"""A network of another program that is told as a chain of layers: which config it is.

Caffe's files and the ONNX graphs made of them say how each layer works, and in which order they
come: what has the tensors of AlexNet may still be CaffeNet, which pools before it normalises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.config import Config, ConvConfig, LRNConfig, PoolConfig, Step, preset
from alexnet.geometry import groups
from export.foreign import Foreign, ForeignModelError

_HIDDEN = 2  # fully connected layers with a ReLU: fc6 and fc7


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """A convolution or a fully connected layer."""

    name: str
    tensors: Mapping[str, NDArray[np.floating]]
    """Weights and then biases, by the file's names."""
    full: bool = False
    stride: int = 1
    pad: tuple[int, int] = (0, 0)
    """As in `ConvConfig`."""
    groups: int = 1


@dataclass(frozen=True)
class ReLU:
    """Of whatever comes before it."""


Stage = Weighted | ReLU | LRNConfig | PoolConfig


@dataclass
class _Layer:
    """A layer with weights, and the steps behind it."""

    weighted: Weighted
    steps: list[ReLU | LRNConfig | PoolConfig] = field(default_factory=list)


def chain(path: Path, kind: str, stages: Sequence[Stage], *, crop: int | None = None) -> Foreign:
    """The network of these stages, as a variant of the preset `caffe`.

    Args:
        path: the file.
        kind: which program's file it is.
        stages: its layers, from the crop to the logits.
        crop: side of the crops that the network takes, in pixels; None: the preset's.

    Raises:
        ForeignModelError: the layers work in a way that AlexNet's don't, or the first tensor that
            is missing, superfluous or of another shape.
    """
    convs, fulls = _layers(stages, path)
    base = preset("caffe")
    if crop is not None:
        if crop > base.input.size:
            raise ForeignModelError(
                f"{path} takes crops of {crop} pixels, more than the photo's {base.input.size}."
            )
        base = replace(base, input=replace(base.input, crop=crop))
    named = {f"conv{number}": layer.weighted for number, layer in enumerate(convs, 1)}
    named |= {f"fc{number}": layer.weighted for number, layer in enumerate(fulls, 6)}
    tensors = {
        name: torch.from_numpy(np.array(values, dtype=np.float32))
        for layer in named.values()
        for name, values in layer.tensors.items()
    }
    names = {
        f"{ours}.{part}": theirs
        for ours, layer in named.items()
        for part, theirs in zip(("weight", "bias"), layer.tensors, strict=False)
    }
    output = tensors.get(names.get("fc8.weight", ""))
    if output is not None and output.ndim == 2:
        base = replace(base, network=replace(base.network, classes=len(output)))
    found = Foreign(path=path, kind=kind, config=base, names=names, tensors=tensors)
    found.weights()  # the tensors first: another network's other numbers are no wonder
    return replace(found, config=_config(base, convs, fulls, path))


def _layers(stages: Sequence[Stage], path: Path) -> tuple[list[_Layer], list[_Layer]]:
    """Convolutions and fully connected layers."""
    convs: list[_Layer] = []
    fulls: list[_Layer] = []
    for stage in stages:
        if not isinstance(stage, Weighted):
            if not convs:
                raise ForeignModelError(f"{path} is no AlexNet: it does not begin with conv1.")
            (fulls or convs)[-1].steps.append(stage)
        elif stage.full:
            fulls.append(_Layer(stage))
        elif fulls:
            raise ForeignModelError(
                f"{path} is no AlexNet: the convolution '{stage.name}' comes behind "
                f"'{fulls[-1].weighted.name}', which is fully connected."
            )
        else:
            convs.append(_Layer(stage))
    return convs, fulls


def _config(base: Config, convs: Sequence[_Layer], fulls: Sequence[_Layer], path: Path) -> Config:
    """`base` with everything that the file says of its layers."""
    own = []
    for plain, layer in zip(base.network.convs, convs, strict=True):
        found = layer.weighted.stride, layer.weighted.groups
        expected = plain.stride, groups(base.network, plain)
        if found != expected:
            raise ForeignModelError(
                f"{path}: '{layer.weighted.name}' has the stride {found[0]} and {found[1]} groups, "
                f"and not {expected[0]} and {expected[1]}."
            )
        own.append(_conv(plain, layer, path))
    for place, layer in enumerate(fulls):
        if layer.steps != [ReLU()] * (place < _HIDDEN):
            expected_steps = "a ReLU alone" if place < _HIDDEN else "nothing"
            raise ForeignModelError(
                f"{path} is no AlexNet: behind '{layer.weighted.name}' comes something else than "
                f"{expected_steps}."
            )
    return replace(base, network=replace(base.network, convs=tuple(own)))


def _conv(plain: ConvConfig, layer: _Layer, path: Path) -> ConvConfig:
    steps: list[Step] = []
    lrn = pool = None
    for step in layer.steps:
        if isinstance(step, LRNConfig):
            steps.append("lrn")
            lrn = step
        elif isinstance(step, PoolConfig):
            steps.append("pool")
            pool = step
        else:
            steps.append("relu")
    if steps.count("relu") != 1 or len(set(steps)) < len(steps):
        raise ForeignModelError(
            f"{path} is no AlexNet: behind '{layer.weighted.name}' come {', '.join(steps) or '-'}, "
            "and not one ReLU, and at most one normalisation and one pooling."
        )
    return replace(plain, pad=layer.weighted.pad, steps=tuple(steps), lrn=lrn, pool=pool)
