"""Local response normalisation as the network calls it: the reference's values, less work.

Three implementations: `reference`, `plain` and `triton`. Autograd through the reference keeps and
passes over a dozen maps of conv1's size. In `plain` the gradient is written out, and sums over
neighbouring maps are banded 1x1 convolutions: about 0.6 of the time on CPUs. `triton` reads each
value once, on GPUs.

`plain` is a function of autograd rather than an operator of torch.library as Triton's kernels are:
torch.compile sees into it, and the registry would add 50 to 70 microseconds a training step to each
layer (measured: 154 for 107 microseconds on eight maps of 3x3, one EPYC core).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet.config import LRNConfig, PoolConfig
from alexnet.lrn.operators import (
    DTYPES,
    lrn_operator,
    relu_lrn_pool_operator,
    why_no_triton,
)
from alexnet.lrn.reference import local_response_norm

Implementation = Literal["plain", "triton", "reference"]


def lrn(
    maps: Tensor,
    config: LRNConfig,
    *,
    columns: int = 1,
    implementation: Implementation | None = None,
) -> Tensor:
    """The same function as `reference.local_response_norm`; see there for the arguments.

    Half-precision maps are normalised in float32, also under autocast: squares of 0-255 inputs'
    responses do not fit float16.

    `implementation`: None is `triton` for maps on an NVIDIA or AMD GPU that it can take, and
    `plain` for all others. A window of positions is always the reference's.

    Raises:
        AlexNetError: `triton` was asked for and can't do this here.
    """
    chosen = implementation or _implementation_for(maps, config)
    if chosen == "triton" and config.window == "maps":
        normalised: Tensor = lrn_operator(maps, *_numbers(config, columns))
        return normalised
    half = maps.dtype in (torch.float16, torch.bfloat16)
    with torch.autocast(maps.device.type, enabled=False):
        values = maps.float() if half else maps
        if config.window == "positions" or chosen == "reference":
            result = local_response_norm(values, config, columns=columns)
        else:
            parts = columns if config.within_columns else 1
            result = _AcrossMaps.apply(values, config, parts)  # type: ignore[no-untyped-call]
        return result.to(maps.dtype)


def relu_lrn_pool(
    maps: Tensor,
    config: LRNConfig,
    pool: PoolConfig,
    *,
    columns: int = 1,
    implementation: Implementation | None = None,
) -> Tensor:
    """ReLU, LRN across maps and max-pooling, which follow one another in the layers 1 and 2.

    (N, C, H, W) -> (N, C, H', W'). One kernel in `triton` where no gradient is wanted, as it has
    none; elsewhere three steps. `implementation` is that of `lrn`.

    Raises:
        AlexNetError: `triton` was asked for and can't do this here.
    """
    chosen = implementation or _implementation_for(maps, config)
    wanted = torch.is_grad_enabled() and maps.requires_grad
    if chosen == "triton" and config.window == "maps" and not wanted:
        window = (pool.size, pool.stride, pool.ceil)
        pooled: Tensor = relu_lrn_pool_operator(maps, *_numbers(config, columns), *window)
        return pooled
    responses = lrn(F.relu(maps), config, columns=columns, implementation=chosen)
    return F.max_pool2d(responses, pool.size, pool.stride, ceil_mode=pool.ceil)


def _implementation_for(maps: Tensor, config: LRNConfig) -> Implementation:
    if maps.device.type != "cuda" or maps.dtype not in DTYPES or config.window != "maps":
        return "plain"
    # torch.compile can't look into an import, and needs Triton on a GPU itself.
    works = torch.compiler.is_compiling() or why_no_triton() is None
    return "triton" if works else "plain"


def _numbers(config: LRNConfig, columns: int) -> tuple[int, float, float, float, int]:
    parts = columns if config.within_columns else 1
    return config.size, config.k, config.coefficient, config.beta, parts


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
