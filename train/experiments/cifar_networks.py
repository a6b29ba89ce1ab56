"""The small networks on CIFAR-10 that the paper compares, as cuda-convnet's layer files have them.

Their scores are (N, classes), before the softmax. Deviations of first weights are those of the
layer files; all biases begin at 0.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet.config import LRNConfig
from alexnet.lrn.op import lrn

Net = Literal["a", "b", "b-wide", "b-norm"]
"""`a`: layers-19pct; `b`: layers-conv-local-13pct; `b-norm`: layers-conv-local-11pct; `b-wide`:
the same without its norms, which tells what they are good for."""
Nonlinearity = Literal["relu", "tanh"]
NONLINEARITIES: tuple[Nonlinearity, ...] = get_args(Nonlinearity)
FIRST_STD = 1e-4
"""Of conv1's weights in all three layer files."""

_STDS_A = {"conv2": 0.01, "conv3": 0.01, "fc10": 0.01}
_STDS_B = {"conv2": 0.01, "local3": 0.04, "local4": 0.04, "fc10": 0.01}


class Local(nn.Module):
    """A convolution of 3x3, stride 1 and padding 1 with weights of its own at every position.

    `weight` is (height * width, inputs * 9, maps), `bias` (maps, height, width).
    """

    def __init__(self, inputs: int, maps: int, side: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(side * side, inputs * 9, maps))
        self.bias = nn.Parameter(torch.zeros(maps, side, side))

    def forward(self, maps: Tensor) -> Tensor:
        """(N, inputs, side, side) -> (N, maps, side, side)."""
        patches = F.unfold(maps, 3, padding=1).permute(2, 0, 1)  # (positions, N, inputs * 9)
        responses = torch.bmm(patches, self.weight).permute(1, 2, 0)
        return responses.reshape(len(maps), *self.bias.shape) + self.bias


class AcrossMaps(nn.Module):
    """cuda-convnet's cmrnorm(9) [layers-conv-local-11pct.cfg]: scale .001 by the window's size."""

    config = LRNConfig(size=9, alpha=1e-3, beta=0.75, k=1.0, alpha_of="mean", within_columns=False)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) of any height and width, and the same shape back."""
        return lrn(maps, self.config)


def network(
    net: Net,
    *,
    nonlinearity: Nonlinearity = "relu",
    first_std: float = FIRST_STD,
    seed: int = 0,
    size: int = 32,
    classes: int = 10,
) -> nn.Sequential:
    """A network for photos of `size` pixels with Gaussian first weights.

    The same `seed` gives the same first weights for both nonlinearities, and for another
    `first_std` the same but for conv1's scale.
    """
    act = nn.ReLU if nonlinearity == "relu" else nn.Tanh
    layers = _a(act, size, classes) if net == "a" else _b(net, act, size, classes)
    made = nn.Sequential(OrderedDict(layers))
    stds = {"conv1": first_std, **(_STDS_A if net == "a" else _STDS_B)}
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, std in stds.items():
            layer = made.get_submodule(name)
            for parameter, scale in ((layer.weight, std), (layer.bias, 0.0)):
                assert isinstance(parameter, Tensor)
                if scale:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
                else:
                    parameter.zero_()
    # Convolutions of channels that lie together are 1.6 times as fast on CPUs.
    return made.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


Layers = list[tuple[str, nn.Module]]


def _a(act: type[nn.Module], size: int, classes: int) -> Layers:
    """Three convolutions, one max-pooled and two averaged: the file pools conv1 before its ReLU."""
    side = _pooled(_pooled(_pooled(size)))
    return [
        ("conv1", nn.Conv2d(3, 32, 5, padding=2)),
        ("pool1", nn.MaxPool2d(3, 2, ceil_mode=True)),
        ("act1", act()),
        ("conv2", nn.Conv2d(32, 32, 5, padding=2)),
        ("act2", act()),
        ("pool2", nn.AvgPool2d(3, 2, ceil_mode=True, count_include_pad=False)),
        ("conv3", nn.Conv2d(32, 64, 5, padding=2)),
        ("act3", act()),
        ("pool3", nn.AvgPool2d(3, 2, ceil_mode=True, count_include_pad=False)),
        ("flat", nn.Flatten()),
        ("fc10", nn.Linear(64 * side * side, classes)),
    ]


def _b(net: Net, act: type[nn.Module], size: int, classes: int) -> Layers:
    """Two convolutions and two local layers; `b-norm` has response norm, too, and a wider third.

    The file normalises the second layer before it is pooled and the first one after.
    """
    side, maps = _pooled(_pooled(size)), 32 if net == "b" else 64
    norm1: Layers = [("norm1", AcrossMaps())] if net == "b-norm" else []
    norm2: Layers = [("norm2", AcrossMaps())] if net == "b-norm" else []
    return [
        ("conv1", nn.Conv2d(3, 64, 5, padding=2)),
        ("act1", act()),
        ("pool1", nn.MaxPool2d(3, 2, ceil_mode=True)),
        *norm1,
        ("conv2", nn.Conv2d(64, 64, 5, padding=2)),
        ("act2", act()),
        *norm2,
        ("pool2", nn.MaxPool2d(3, 2, ceil_mode=True)),
        ("local3", Local(64, maps, side)),
        ("act3", act()),
        ("local4", Local(maps, 32, side)),
        ("act4", act()),
        ("flat", nn.Flatten()),
        ("fc10", nn.Linear(32 * side * side, classes)),
    ]


def _pooled(side: int) -> int:
    """Side of maps after pooling 3/2, where the last window may hang over: 32, 16, 8, 4."""
    return -(-(side - 3) // 2) + 1
