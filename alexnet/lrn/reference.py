"""Local response normalisation in plain PyTorch: the truth that kernels are compared with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet.config import LRNConfig


def local_response_norm(maps: Tensor, lrn: LRNConfig, *, columns: int = 1) -> Tensor:
    """Normalise `maps` (N, C, H, W) by their neighbours' squares [P §3.3].

    The window is clipped at the first and the last map of a column (or of the layer, where the
    config's windows cross columns), or at the map's edges for a window of positions.

    Args:
        maps: floating point, any device; `C` must be a multiple of `columns`.
        lrn: window, constants and the meaning of alpha.
        columns: into how many equal parts `C` is split.

    Returns:
        A tensor of the same shape and type.
    """
    squares = maps.square()
    if lrn.window == "positions":
        sums = _sum_over_positions(squares, lrn.size)
    else:
        sums = _sum_over_maps(squares, lrn.size, columns if lrn.within_columns else 1)
    return maps / _power(lrn.k + lrn.coefficient * sums, lrn.beta)


def _sum_over_maps(squares: Tensor, size: int, columns: int) -> Tensor:
    batch, channels, height, width = squares.shape
    split = squares.reshape(batch * columns, channels // columns, height, width)
    # Map i sees i - size//2 .. i - size//2 + size - 1.
    before = size // 2
    padded = F.pad(split, (0, 0, 0, 0, before, size - 1 - before))
    total = padded[:, : channels // columns].clone()
    for offset in range(1, size):
        total += padded[:, offset : offset + channels // columns]
    return total.reshape(squares.shape)


def _sum_over_positions(squares: Tensor, size: int) -> Tensor:
    before = size // 2
    padded = F.pad(squares, (before, size - 1 - before, before, size - 1 - before))
    return F.avg_pool2d(padded, size, stride=1, divisor_override=1)


def _power(base: Tensor, beta: float) -> Tensor:
    if beta == 0.75:  # two square roots are several times as fast as a power on CPUs
        root = torch.sqrt(base)
        return root * torch.sqrt(root)
    return base.pow(beta)
