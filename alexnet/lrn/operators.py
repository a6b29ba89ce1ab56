"""The Triton kernels as PyTorch operators: alexnet::lrn, its gradient and alexnet::relu_lrn_pool.

Importing this registers them; Triton itself is imported when one runs. Operators take a config's
numbers one by one, because a schema knows no dataclasses. Results are laid out as `maps` is:
channels-last, or else NCHW.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import torch
from torch import Tensor

from alexnet.config import LRNConfig, PoolConfig
from alexnet.errors import AlexNetError, install_command
from alexnet.geometry import pool_side
from alexnet.lrn.launch import Launch, Shape, lrn_launch, pool_launch

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@torch.library.custom_op("alexnet::lrn", mutates_args=())
def lrn_operator(
    maps: Tensor, size: int, k: float, coefficient: float, beta: float, columns: int
) -> Tensor:
    """LRN of `maps` (N, C, H, W) across maps, in each of `columns` equal parts of C.

    Args:
        maps: float32, float16 or bfloat16, normalised in float32.
        size: maps of a window.
        k: the base's constant.
        coefficient: of the window's sum of squares.
        beta: the power.
        columns: parts whose edges no window crosses.

    Raises:
        AlexNetError: Triton is missing, too old, without a GPU, or does not take this type.
    """
    maps = _dense(maps)
    result = torch.empty_like(maps)
    if maps.numel():
        config = LRNConfig(size=size, k=k, alpha=coefficient, beta=beta)
        _start(
            lrn_launch("lrn_forward", _shape(maps), config, columns=columns, **_memory(maps)),
            maps,
            result,
        )
    return result


@torch.library.custom_op("alexnet::lrn_gradient", mutates_args=())
def lrn_gradient_operator(
    maps: Tensor,
    slopes: Tensor,
    size: int,
    k: float,
    coefficient: float,
    beta: float,
    columns: int,
) -> Tensor:
    """The gradient at `maps` from `slopes`, the one at the result of `lrn_operator`."""
    maps = _dense(maps)
    slopes = slopes.to(maps.dtype).contiguous(memory_format=_memory_format(maps))
    result = torch.empty_like(maps)
    if maps.numel():
        config = LRNConfig(size=size, k=k, alpha=coefficient, beta=beta)
        _start(
            lrn_launch("lrn_backward", _shape(maps), config, columns=columns, **_memory(maps)),
            maps,
            slopes,
            result,
        )
    return result


@torch.library.custom_op("alexnet::relu_lrn_pool", mutates_args=())
def relu_lrn_pool_operator(
    maps: Tensor,
    size: int,
    k: float,
    coefficient: float,
    beta: float,
    columns: int,
    pool_size: int,
    pool_stride: int,
    pool_ceil: bool,
) -> Tensor:
    """Max-pool of the LRN of the ReLU of `maps`; for inference, it has no gradient."""
    maps = _dense(maps)
    pool = PoolConfig(size=pool_size, stride=pool_stride, ceil=pool_ceil)
    result = _pooled(maps, pool)
    if maps.numel():
        config = LRNConfig(size=size, k=k, alpha=coefficient, beta=beta)
        launch = pool_launch(_shape(maps), config, pool, columns=columns, **_memory(maps))
        _start(launch, maps, result)
    return result


@functools.cache
def why_no_triton() -> str | None:
    """Why the kernels can't be used here, in a sentence; None where they can."""
    try:
        triton = importlib.import_module("triton")
    except ImportError:
        return f"Triton is not installed: run `{install_command('triton')}`."
    major, minor, *_ = triton.__version__.split(".")
    if (int(major), int(minor)) < (3, 6):
        return f"The kernels need Triton 3.6 or newer, and this is {triton.__version__}: update it."
    if not torch.cuda.is_available() and not triton.knobs.runtime.interpret:
        return "Triton's kernels need a GPU, and there is none here: choose another implementation."
    return _trial(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def _trial(device: torch.device) -> str | None:
    """What goes wrong when the kernels are tried on a few numbers, in a sentence.

    A driver, a GPU or a Triton that they were never run on may fail to compile them, or worse.
    """
    maps = torch.linspace(-300, 300, 2 * 8 * 9, device=device).reshape(2, 8, 3, 3)
    config, pool, found = LRNConfig(), PoolConfig(), [torch.empty_like(maps) for _ in range(2)]
    found.append(_pooled(maps, pool))
    # The formula and its gradient, without autograd: an operator that runs is beneath it.
    values, positive = maps.double(), maps.double().clamp(min=0)
    base, band = _base_of(values, config), _band_of(config, device)
    power = base**-config.beta
    spread = torch.einsum("ij,njhw->nihw", band, values**2 * power / base)
    strength = 2 * config.beta * config.coefficient
    slope = values * power - strength * values * spread
    response = positive * _base_of(positive, config) ** -config.beta
    truth = (values * power, slope, response.amax((2, 3), keepdim=True))
    try:
        kinds = {"columns": 2, **_memory(maps)}
        _run(lrn_launch("lrn_forward", _shape(maps), config, **kinds), maps, found[0])
        _run(lrn_launch("lrn_backward", _shape(maps), config, **kinds), maps, maps, found[1])
        _run(pool_launch(_shape(maps), config, pool, **kinds), maps, found[2])
        errors = [
            float((mine.double() - theirs).norm() / theirs.norm())
            for mine, theirs in zip(found, truth, strict=True)
        ]
    except Exception as error:  # whatever compiler, driver and launch may raise
        return f"Triton's kernels do not run here ({type(error).__name__}: {error})."
    if not max(errors) < 1e-5:
        return f"Triton's kernels give wrong values here (by {max(errors):.1e} of themselves)."
    return None


def _base_of(values: Tensor, config: LRNConfig) -> Tensor:
    """The base of the power for values (N, 8, H, W) of two columns."""
    band = _band_of(config, values.device)
    return config.k + config.coefficient * torch.einsum("ij,njhw->nihw", band, values**2)


def _band_of(config: LRNConfig, device: torch.device) -> Tensor:
    """Which of eight maps in two columns are in whose window."""
    index = torch.arange(8, device=device)
    near = (index[:, None] - index).abs() <= config.size // 2
    return (near & (index[:, None] // 4 == index // 4)).double()


def _start(launch: Launch, *tensors: Tensor) -> None:
    problem = why_no_triton()
    if problem is None and tensors[0].dtype not in DTYPES:
        problem = f"Triton's kernels don't take {tensors[0].dtype}: choose another implementation."
    if problem is not None:
        raise AlexNetError(problem)
    _run(launch, *tensors)


def _run(launch: Launch, *tensors: Tensor) -> None:
    from alexnet.lrn import kernels

    with torch.cuda.device_of(tensors[0]):  # type: ignore[no-untyped-call]
        getattr(kernels, launch.kernel)[launch.grid](
            *tensors, **launch.sizes, **launch.constants, num_warps=launch.warps
        )


def _dense(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=_memory_format(maps))


def _memory_format(maps: Tensor) -> torch.memory_format:
    if maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous():
        return torch.channels_last
    return torch.contiguous_format


def _memory(maps: Tensor) -> dict[str, Any]:
    last = _memory_format(maps) == torch.channels_last
    return {"itemsize": maps.element_size(), "channels_last": last}


def _shape(maps: Tensor) -> Shape:
    batch, channels, height, width = maps.shape
    return batch, channels, height, width


def _pooled(maps: Tensor, pool: PoolConfig) -> Tensor:
    sides = (pool_side(side, pool) for side in maps.shape[2:])
    empty = maps.new_empty((*maps.shape[:2], *sides))
    return empty.contiguous(memory_format=_memory_format(maps))


@lrn_operator.register_fake
def _(maps: Tensor, *numbers: float) -> Tensor:
    return torch.empty_like(_dense(maps))


@lrn_gradient_operator.register_fake
def _(maps: Tensor, slopes: Tensor, *numbers: float) -> Tensor:
    return torch.empty_like(_dense(maps))


@relu_lrn_pool_operator.register_fake
def _(maps: Tensor, *numbers: Any) -> Tensor:
    return _pooled(_dense(maps), PoolConfig(size=numbers[5], stride=numbers[6], ceil=numbers[7]))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    maps, *ctx.numbers = inputs
    ctx.save_for_backward(maps)


def _backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
    (maps,) = ctx.saved_tensors
    return lrn_gradient_operator(maps, slopes, *ctx.numbers), None, None, None, None, None


lrn_operator.register_autograd(_backward, setup_context=_keep)
