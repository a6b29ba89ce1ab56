"""AlexNets as people write them in PyTorch: plain layers in a row, torchvision's ten crops.

Written apart from alexnet.network on purpose: what other code is measured on must not be ours.
"""

from __future__ import annotations

import io
from collections import OrderedDict

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from alexnet.config import Config, ConvConfig, InputConfig, LRNConfig
from alexnet.errors import AlexNetError
from alexnet.geometry import feature_count, groups

NONLINEARITIES: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


class ColumnNorm(nn.Module):
    """`nn.LocalResponseNorm` inside each column."""

    def __init__(self, lrn: LRNConfig, columns: int):
        """`columns` the layer's maps are split into."""
        super().__init__()
        # PyTorch divides alpha by the window's size.
        alpha = lrn.coefficient * lrn.size
        self.norm = nn.LocalResponseNorm(lrn.size, alpha=alpha, beta=lrn.beta, k=lrn.k)
        self.columns = columns if lrn.within_columns else 1

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        if self.columns == 1:
            normed: Tensor = self.norm(maps)
            return normed
        parts = [self.norm(part) for part in maps.chunk(self.columns, dim=1)]
        return torch.cat(parts, dim=1)


class Scale(nn.Module):
    """Dropout of 2012 in use: every value times the probability of keeping it."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, values: Tensor) -> Tensor:
        """Any shape."""
        return values * self.factor


def plain_network(config: Config) -> nn.Sequential:
    """The network from normalised crops (N, 3, C, C) to logits, in evaluation mode.

    Its weights have the names of a checkpoint: `load_state_dict(checkpoint.weights)` fills it.

    Raises:
        AlexNetError: the network normalises over positions of a map, which PyTorch has no layer
            for.
    """
    network = config.network
    steps: OrderedDict[str, nn.Module] = OrderedDict()
    maps = 3
    for number, conv in enumerate(network.convs, 1):
        before, after = conv.pad
        if before != after:
            steps[f"pad{number}"] = nn.ZeroPad2d((before, after, before, after))
        steps[f"conv{number}"] = nn.Conv2d(
            maps,
            conv.maps,
            conv.kernel,
            stride=conv.stride,
            padding=before if before == after else 0,
            groups=groups(network, conv),
        )
        steps |= _after(conv, number, network.columns)
        maps = conv.maps
    steps["flatten"] = nn.Flatten()
    rate = 1.0 if network.dropout.scaled == "in_training" else 1.0 - network.dropout.rate
    inputs = feature_count(config)
    for number, units in ((6, network.fc6.units), (7, network.fc7.units), (8, network.classes)):
        if number < 8 and network.dropout.of == "inputs" and rate < 1:
            steps[f"dropout{number}"] = Scale(rate)
        steps[f"fc{number}"] = nn.Linear(inputs, units)
        if number < 8:
            name = (network.fc6 if number == 6 else network.fc7).nonlinearity
            steps[f"fc{number}_{name}"] = NONLINEARITIES[name]()
            if network.dropout.of == "outputs" and rate < 1:
                steps[f"dropout{number}"] = Scale(rate)
        inputs = units
    return nn.Sequential(steps).eval()


def _after(conv: ConvConfig, number: int, columns: int) -> dict[str, nn.Module]:
    """What follows a convolution, by name."""
    found: dict[str, nn.Module] = {}
    for step in conv.steps:
        if step in NONLINEARITIES:
            found[f"{step}{number}"] = NONLINEARITIES[step]()
        elif step == "pool":
            assert conv.pool is not None
            found[f"pool{number}"] = nn.MaxPool2d(
                conv.pool.size, conv.pool.stride, ceil_mode=conv.pool.ceil
            )
        else:
            lrn = conv.lrn_of(step)
            if lrn.window != "maps":
                raise AlexNetError(
                    f"PyTorch has no layer for conv{number}'s normalisation over positions of a "
                    "map: measure another preset, paper for example."
                )
            found[f"{step}{number}"] = ColumnNorm(lrn, columns)
    return found


# Photos as a user of torchvision's transforms prepares them, one picture at a time


def ten_crops(data: bytes, input: InputConfig) -> Tensor:
    """An encoded photo to normalised crops (10, 3, C, C).

    Resize, CenterCrop, TenCrop, and ToTensor and Normalize for each crop. `input` must have channel
    means and deviations, as torchvision's network has.
    """
    assert input.mean_rgb is not None, "torchvision subtracts channel means"
    assert input.std_rgb is not None, "and divides by their deviations"
    with Image.open(io.BytesIO(data)) as file:
        image = centre(resize(file.convert("RGB"), input.size), input.size)
    mean, std = (torch.tensor(c).view(3, 1, 1) / 255 for c in (input.mean_rgb, input.std_rgb))
    return torch.stack([(to_tensor(crop) - mean) / std for crop in _ten(image, input.crop)])


def ten_crops_less_mean(data: bytes, input: InputConfig, mean: NDArray[np.float32]) -> Tensor:
    """An encoded photo to crops (10, 3, C, C) less their part of the mean image (S, S, 3).

    The same steps for a network with a mean image, which transforms for channel means don't know.
    """
    with Image.open(io.BytesIO(data)) as file:
        image = centre(resize(file.convert("RGB"), input.size), input.size)
    maps = torch.from_numpy(mean).permute(2, 0, 1)
    side, far = input.crop, input.size - input.crop
    places = [(0, 0), (far, 0), (0, far), (far, far), (far // 2, far // 2)]
    means = [maps[:, y : y + side, x : x + side] for x, y in places]
    means += [one.flip(2) for one in means]
    crops = [to_tensor(crop) * 255 for crop in _ten(image, side)]
    return torch.stack([crop - less for crop, less in zip(crops, means, strict=True)])


def resize(image: Image.Image, side: int) -> Image.Image:
    """The shorter side to `side`, the other in proportion, rounded down."""
    width, height = image.size
    short = min(width, height)
    size = (int(side * width / short), int(side * height / short))
    return image.resize(size, Image.Resampling.BILINEAR)


def centre(image: Image.Image, side: int) -> Image.Image:
    """The central square of `side`."""
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def to_tensor(image: Image.Image) -> Tensor:
    """(3, H, W) from 0 to 1."""
    pixels = torch.from_numpy(np.array(image))
    return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255)


def _ten(image: Image.Image, side: int) -> list[Image.Image]:
    far, middle = image.width - side, (image.width - side) // 2
    corners = [(0, 0), (far, 0), (0, far), (far, far), (middle, middle)]
    crops = [image.crop((x, y, x + side, y + side)) for x, y in corners]
    mirror = Image.Transpose.FLIP_LEFT_RIGHT
    return crops + [crop.transpose(mirror) for crop in crops]
