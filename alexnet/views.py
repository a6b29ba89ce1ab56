"""From photos to the network's input: views, crops and the mean.

Deployment (fixed views) and training (a random crop of each photo) share this code, so that they
can't normalise differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet.config import InputConfig, Views
from alexnet.errors import AlexNetError


@dataclass(frozen=True)
class View:
    """A crop of the square photo: its top left corner, and whether it is mirrored afterwards."""

    y: int
    x: int
    mirrored: bool


def views_of(config: InputConfig, views: Views) -> tuple[View, ...]:
    """The views whose answers are averaged, in the order of 2012.

    `ten`: the four corners and the centre in reading order, then their mirrors in the same order
    [P §4.1, S convdata_jpeg.py:226-233]. `centre`: the centre alone.

    Raises:
        AlexNetError: `dense`, which is no set of crops.
    """
    if views == "dense":
        raise AlexNetError(
            "Dense answers are of the whole photo, which has no views to tell apart: take the "
            "views ten or centre."
        )
    far = config.size - config.crop
    middle = far // 2
    if views == "centre":
        return (View(middle, middle, False),)
    corners = ((0, 0), (0, far), (middle, middle), (far, 0), (far, far))
    return tuple(View(y, x, mirrored) for mirrored in (False, True) for y, x in corners)


class Crops(nn.Module):
    """Cuts and normalises crops: uint8 RGB (N, S, S, 3) -> float (M, 3, C, C).

    The result has the type of the `mean` buffer; its channels are in the config's order.
    """

    mean: Tensor
    std: Tensor | None

    def __init__(self, config: InputConfig, mean: NDArray[np.float32] | None):
        """`mean`: the mean image, RGB (S, S, 3) on 0-255, where the config needs one.

        Raises:
            AlexNetError: the mean image is missing, superfluous, or of another size.
        """
        super().__init__()
        self.config = config
        self.register_buffer("mean", _mean_tensor(config, mean))
        std = None if config.std_rgb is None else torch.tensor(config.std_rgb).view(3, 1, 1)
        self.register_buffer("std", std)

    def forward(self, photos: Tensor, views: Sequence[View]) -> Tensor:
        """The same views of every photo, view by view: (len(views) * N, 3, C, C)."""
        side = self.config.crop
        maps = self._maps(photos)
        cut = [maps[:, :, v.y : v.y + side, v.x : v.x + side] for v in views]
        turned = [c.flip(3) if v.mirrored else c for c, v in zip(cut, views, strict=True)]
        return self._finish(torch.cat(turned))

    def whole(self, photos: Tensor) -> Tensor:
        """Photos of any one shape (N, H, W, 3), whole, then their mirrors: (2 * N, 3, H, W).

        What the network subtracts of a square photo or a crop is stretched over the photo; where
        it has the photo's size already, this is what a crop of that size gets.
        """
        mean = self.mean
        if mean.shape[1:] != (1, 1):
            height, width = photos.shape[1:3]
            mean = F.interpolate(
                mean[None], size=(height, width), mode="bilinear", align_corners=False
            )[0]
        maps = self._maps(photos, mean)
        return self._finish(torch.cat((maps, maps.flip(3))), mean=mean)

    def each(
        self,
        photos: Tensor,
        y: Tensor,
        x: Tensor,
        *,
        mirrored: Tensor,
        shift: Tensor | None = None,
    ) -> Tensor:
        """A crop of its own for each photo: (N, 3, C, C).

        Args:
            photos: uint8 (N, S, S, 3).
            y, x: int64 (N,), top left corners, 0 to S - C.
            mirrored: bool (N,).
            shift: (N, 3), added to every pixel's RGB after the mean is subtracted (colour noise).
        """
        maps = self._maps(photos)
        reach = torch.arange(self.config.crop, device=maps.device)
        rows = y[:, None] + reach
        columns = x[:, None] + torch.where(mirrored[:, None], reach.flip(0), reach)
        number = torch.arange(len(maps), device=maps.device)
        # Channels last: one copy of each crop, whatever its offset.
        cut = maps.permute(0, 2, 3, 1)[number[:, None, None], rows[:, :, None], columns[:, None, :]]
        return self._finish(cut.permute(0, 3, 1, 2), shift)

    def _maps(self, photos: Tensor, mean: Tensor | None = None) -> Tensor:
        """Photos as (N, 3, H, W), less the mean image where it is aligned with the photo."""
        maps = photos.permute(0, 3, 1, 2).to(self.mean.dtype)
        if self.config.mean != "aligned":
            return maps
        return maps - (self.mean if mean is None else mean)

    def _finish(
        self, crops: Tensor, shift: Tensor | None = None, *, mean: Tensor | None = None
    ) -> Tensor:
        """What is done to a crop after it is cut and mirrored."""
        if self.config.mean != "aligned":
            crops = crops - (self.mean if mean is None else mean)
        if shift is not None:
            crops = crops + shift[:, :, None, None]
        if self.std is not None:
            crops = crops / self.std
        return crops.flip(1) if self.config.order == "bgr" else crops


def _mean_tensor(config: InputConfig, mean: NDArray[np.float32] | None) -> Tensor:
    if config.mean_rgb is not None:
        if mean is not None:
            raise AlexNetError("This network subtracts channel means: it takes no mean image.")
        return torch.tensor(config.mean_rgb).view(3, 1, 1)
    shape = (config.size, config.size, 3)
    if mean is None or mean.shape != shape:
        found = "none" if mean is None else f"one of shape {mean.shape}"
        raise AlexNetError(
            f"This network needs a mean image of shape {shape}, and there is {found}."
        )
    maps = torch.from_numpy(np.ascontiguousarray(mean.transpose(2, 0, 1), dtype=np.float32))
    if config.mean == "centred":
        start, side = (config.size - config.crop) // 2, config.crop
        maps = maps[:, start : start + side, start : start + side].contiguous()
    return maps
