"""Local response normalisation as the network calls it: the reference's values, less work.

Autograd through the reference keeps and passes over a dozen maps of conv1's size. Here the gradient
is written out, and sums over neighbouring maps are banded 1x1 convolutions: about 0.6 of the time
on CPUs.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet.config import LRNConfig
from alexnet.lrn.reference import local_response_norm


def lrn(maps: Tensor, config: LRNConfig, *, columns: int = 1) -> Tensor:
    """The same function as `reference.local_response_norm`; see there for the arguments.

    Half-precision maps are normalised in float32, also under autocast: squares of 0-255 inputs'
    responses do not fit float16.
    """
    half = maps.dtype in (torch.float16, torch.bfloat16)
    with torch.autocast(maps.device.type, enabled=False):
        values = maps.float() if half else maps
        if config.window == "positions":
            result = local_response_norm(values, config, columns=columns)
        else:
            parts = columns if config.within_columns else 1
            result = _AcrossMaps.apply(values, config, parts)  # type: ignore[no-untyped-call]
        return result.to(maps.dtype)


class _AcrossMaps(torch.autograd.Function):
    """b = a s^-beta with s = k + c W a^2, where W sums over each map's window."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, config: LRNConfig, columns: int) -> Tensor:
        band = _band(maps, config.size, columns)
        scale = F.conv2d(maps.square(), band * config.coefficient, groups=columns).add_(config.k)
        factor = _inverse_power(scale, config.beta)
        ctx.save_for_backward(maps, scale, factor, band)
        ctx.config, ctx.columns = config, columns
        return maps * factor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        # da = s^-beta db - 2 beta c a W^T (db a s^-beta-1)
        maps, scale, factor, band = ctx.saved_tensors
        direct = gradients[0] * factor
        spread = (direct * maps).div_(scale)
        transposed = band.unflatten(0, (ctx.columns, -1)).transpose(1, 2).flatten(0, 1)
        summed = F.conv2d(spread, transposed, groups=ctx.columns)
        strength = -2.0 * ctx.config.beta * ctx.config.coefficient
        return direct.addcmul_(maps, summed, value=strength), None, None


def _band(maps: Tensor, size: int, columns: int) -> Tensor:
    """Window sums as weights (C, C / columns, 1, 1) of a 1x1 convolution with a group a column."""
    index = torch.arange(maps.shape[1] // columns, device=maps.device)
    offset = index[None, :] - index[:, None] + size // 2
    band = ((offset >= 0) & (offset < size)).to(maps.dtype)
    return band.repeat(columns, 1)[:, :, None, None]


def _inverse_power(base: Tensor, beta: float) -> Tensor:
    if beta == 0.75:
        root = torch.rsqrt(base)
        return root * torch.sqrt(root)
    return base.pow(-beta)
