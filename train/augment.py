"""Random crops, mirrors and colour noise: the enlargement of the training set [P §4.1]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from alexnet.color import ColorPCA
from alexnet.config import InputConfig
from train.recipe import NoiseConfig


@dataclass(frozen=True)
class Draw:
    """Where each photo of a minibatch is cut, and whether it is mirrored."""

    y: Tensor
    x: Tensor
    mirrored: Tensor


def draw_crops(
    count: int, config: InputConfig, *, generator: torch.Generator, shared_by: int = 1
) -> Draw:
    """Offsets 0 to size - crop, both ends included, and a mirror with probability 1/2.

    33 * 33 * 2 = 2178 crops of a 256-pixel photo [S convdata_jpeg.py:239-245]. `shared_by`
    consecutive photos get the same draw.
    """
    draws = -(-count // shared_by)
    reach = config.size - config.crop + 1
    y = torch.randint(reach, (draws,), generator=generator)
    x = torch.randint(reach, (draws,), generator=generator)
    mirrored = torch.rand(draws, generator=generator) < 0.5
    return Draw(*(t.repeat_interleave(shared_by)[:count] for t in (y, x, mirrored)))


def color_shift(factors: Tensor, pca: ColorPCA, noise: NoiseConfig) -> Tensor:
    """The RGB shift (N, 3) of standard normal factors (N, 3), on the scale 0-255.

    Each factor times the coefficient times the component's standard deviation (or eigenvalue),
    summed along the components.
    """
    stds = torch.from_numpy(pca.stds).to(factors)
    sizes = stds if noise.of == "deviations" else stds.square()
    components = torch.from_numpy(pca.components).to(factors)
    return (factors * sizes * noise.coefficient) @ components.T


def rescaled(crops: Tensor, noise: NoiseConfig) -> Tensor:
    """Crops divided by 1 + coefficient, where the recipe does so and there is noise."""
    return crops / (1.0 + noise.coefficient) if noise.rescale and noise.coefficient else crops
