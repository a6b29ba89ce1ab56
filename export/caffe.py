"""Caffe's files: a trained network (.caffemodel) and a mean image (.binaryproto).

Both are messages of protobuf; the numbers of their fields are those of Caffe's caffe.proto
[C src/caffe/proto/caffe.proto].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet.config import LRNConfig, PoolConfig
from export.foreign import Foreign, ForeignModelError
from export.stages import ReLU, Stage, Weighted, chain
from export.wire import Message, WireError


@dataclass(frozen=True)
class _Fields:
    """Numbers of a layer's fields: since 2014, and before (V1)."""

    layers: int
    name: int
    type: int
    blobs: int
    convolution: int
    inner_product: int
    lrn: int
    pooling: int


_LAYER = _Fields(100, 1, 2, 7, convolution=106, inner_product=117, lrn=118, pooling=121)
_V1 = _Fields(2, 4, 5, 6, convolution=10, inner_product=17, lrn=18, pooling=19)
_V0 = 1  # the field of a V1 layer that holds one in the form before that

_V1_TYPES = {
    1: "Accuracy", 4: "Convolution", 5: "Data", 6: "Dropout", 8: "Flatten", 12: "ImageData",
    14: "InnerProduct", 15: "LRN", 17: "Pooling", 18: "ReLU", 20: "Softmax",
    21: "SoftmaxWithLoss", 22: "Split", 24: "WindowData", 29: "MemoryData", 32: "DummyData",
    36: "Silence",
}  # fmt: skip
# What brings photos, measures answers, or does nothing in use.
_PASSED_OVER = {
    "Accuracy", "Data", "Dropout", "DummyData", "Flatten", "HDF5Data", "ImageData", "Input",
    "MemoryData", "Silence", "Softmax", "SoftmaxWithLoss", "Split", "WindowData",
}  # fmt: skip
_ACROSS_MAPS = _MAX = _CEIL = 0


def read_caffemodel(path: Path) -> Foreign:
    """The network of a .caffemodel, in the form of today or the one before.

    Raises:
        ForeignModelError: the file is damaged, or its network no AlexNet.
    """
    try:
        return chain(path, "Caffe", list(_stages(Message(path.read_bytes()), path)))
    except WireError as error:
        raise ForeignModelError(f"{path} is no whole .caffemodel: it {error}") from error


def read_mean_image(path: Path) -> NDArray[np.float32]:
    """The mean image of a .binaryproto, RGB (S, S, 3) on 0-255.

    Raises:
        ForeignModelError: the file is damaged, or no square picture of three channels.
    """
    try:
        values = _array(Message(path.read_bytes()))
    except WireError as error:
        raise ForeignModelError(f"{path} is no whole .binaryproto: it {error}") from error
    maps = _of_rank(values, 3)
    if maps.ndim != 3 or maps.shape[0] != 3 or maps.shape[1] != maps.shape[2]:
        raise ForeignModelError(
            f"{path} has the shape {values.shape}, and a mean image has (1, 3, S, S)."
        )
    return np.ascontiguousarray(maps[::-1].transpose(1, 2, 0), dtype=np.float32)


def _stages(network: Message, path: Path) -> Iterator[Stage]:
    fields = _LAYER if _LAYER.layers in network else _V1
    for layer in network.messages(fields.layers):
        name = layer.text(fields.name)
        if fields is _LAYER:
            kind = layer.text(fields.type)
        elif _V0 in layer:
            raise ForeignModelError(
                f"{path} is in Caffe's form of 2013: bring it up to date with Caffe's "
                "upgrade_net_proto_binary."
            )
        else:
            number = layer.integer(fields.type, 0)
            kind = _V1_TYPES.get(number, f"number {number}")
        match kind:
            case "Convolution":
                yield _convolution(layer, name, fields, path)
            case "InnerProduct":
                yield _inner_product(layer, name, fields)
            case "ReLU":
                yield ReLU()
            case "LRN":
                yield _lrn(layer.message(fields.lrn), name, path)
            case "Pooling":
                yield _pool(layer.message(fields.pooling), name, path)
            case _ if kind not in _PASSED_OVER:
                raise ForeignModelError(
                    f"{path} is no AlexNet: '{name}' is a layer of the type {kind}."
                )


def _convolution(layer: Message, name: str, fields: _Fields, path: Path) -> Weighted:
    options = layer.message(fields.convolution)
    pad = _side(options, name, path, fields=(3, 9, 10), default=0)
    if set(options.integers(18)) - {1}:
        raise ForeignModelError(f"{path} is no AlexNet: '{name}' is dilated.")
    return Weighted(
        name=name,
        tensors=_tensors(layer, name, fields, rank=4),
        stride=_side(options, name, path, fields=(6, 13, 14), default=1),
        pad=(pad, pad),
        groups=options.integer(5, 1),
    )


def _inner_product(layer: Message, name: str, fields: _Fields) -> Weighted:
    tensors = _tensors(layer, name, fields, rank=2)
    if layer.message(fields.inner_product).integer(6, 0):  # transposed
        tensors = {key: values.T for key, values in tensors.items()}
    return Weighted(name=name, tensors=tensors, full=True)


def _lrn(options: Message, name: str, path: Path) -> LRNConfig:
    if options.integer(4, _ACROSS_MAPS) != _ACROSS_MAPS:
        raise ForeignModelError(f"{path} is no AlexNet: '{name}' normalises inside of each map.")
    return LRNConfig(
        size=options.integer(1, 5),
        alpha=options.real(2, 1.0),
        alpha_of="mean",
        beta=options.real(3, 0.75),
        k=options.real(5, 1.0),
        within_columns=False,
    )


def _pool(options: Message, name: str, path: Path) -> PoolConfig:
    if options.integer(1, _MAX) != _MAX or options.integer(12, 0):
        raise ForeignModelError(f"{path} is no AlexNet: '{name}' does not take the maximum of 3x3.")
    if _side(options, name, path, fields=(4, 9, 10), default=0):
        raise ForeignModelError(f"{path} is no AlexNet: '{name}' pads its maps.")
    return PoolConfig(
        size=_side(options, name, path, fields=(2, 5, 6), default=0),
        stride=_side(options, name, path, fields=(3, 7, 8), default=1),
        ceil=options.integer(13, _CEIL) == _CEIL,
    )


def _side(
    options: Message, name: str, path: Path, *, fields: tuple[int, int, int], default: int
) -> int:
    """A number that a layer has for both axes in one field, or for each in its own."""
    both, height, width = fields
    found = {*options.integers(both), *options.integers(height), *options.integers(width)}
    if len(found) > 1:
        raise ForeignModelError(f"{path} is no AlexNet: '{name}' treats height and width apart.")
    return found.pop() if found else default


def _tensors(
    layer: Message, name: str, fields: _Fields, *, rank: int
) -> dict[str, NDArray[np.floating]]:
    """The blobs of a layer: weights of `rank` axes, biases of one."""
    return {
        f"{name}.blobs[{place}]": _of_rank(_array(blob), rank if place == 0 else 1)
        for place, blob in enumerate(layer.messages(fields.blobs))
    }


def _array(blob: Message) -> NDArray[np.floating]:
    values = blob.reals(5) if 5 in blob else blob.reals(8, "<f8")
    if 7 in blob:
        shape = blob.message(7).integers(1)
    else:  # num, channels, height, width: the form of 2014
        shape = [blob.integer(number, 1) for number in (1, 2, 3, 4)]
    if int(np.prod(shape, dtype=np.float64)) != values.size:
        raise WireError(f"has {values.size} numbers where the shape {tuple(shape)} is promised.")
    return values.reshape(shape)


def _of_rank(values: NDArray[np.floating], rank: int) -> NDArray[np.floating]:
    """Without the leading ones by which the form of 2014 makes four axes of every shape."""
    while values.ndim > rank and values.shape[0] == 1:
        values = values[0]
    return values
