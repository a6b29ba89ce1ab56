"""Response normalisation on a device: its values against the reference, its time against a copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from gpu_training import Clock
from torch import Tensor

from alexnet.config import LRNConfig, PoolConfig
from alexnet.errors import AlexNetError
from alexnet.lrn.op import Implementation, lrn, relu_lrn_pool
from alexnet.lrn.operators import why_no_triton
from alexnet.lrn.reference import local_response_norm

CONFIG, POOL = LRNConfig(), PoolConfig()
LAYERS = {"conv1": (96, 55, 55), "conv2": (256, 27, 27)}
# The largest error allowed, relative to the values' norm.
ERRORS = {torch.float32: 1e-6, torch.float16: 5e-4, torch.bfloat16: 4e-3}
CALLS = 10
"""Calls that are timed together: one is shorter than Python needs to start it."""


def lrn_against_reference(clock: Clock) -> dict[str, Any]:
    """Values and gradients of the operator against the reference in float64; time per pass."""
    maps = 67 * torch.randn((4 if clock.quick else 128), *LAYERS["conv1"], device=clock.device)
    errors = _errors(maps, None)
    _require(max(errors.values()) < ERRORS[torch.float32], f"LRN differs: {errors}")
    with torch.inference_mode():
        milliseconds = clock.median_ms(lambda: lrn(maps, CONFIG, columns=2))
    gigabytes = 2 * maps.nbytes / 1e9
    return errors | {"forward_ms": milliseconds, "gb_per_s": 1000 * gigabytes / milliseconds}


def lrn_kernels(clock: Clock) -> dict[str, Any]:
    """The Triton kernels: errors, and times beside what else computes the same.

    A pass has to read its tensors once and to write its result once; `share_of_copy` is how near
    it comes to doing that at the rate of a copy, which `ceilings` measured.
    """
    problem = why_no_triton()
    if problem is None and clock.device.type != "cuda":
        problem = "Triton's kernels need a GPU; this is the check of another device."
    if problem is not None:
        raise AlexNetError(problem)
    found = {}
    for name, maps in _tensors(32, clock.device):
        errors = _errors(maps, "triton")
        _require(max(errors.values()) < ERRORS[maps.dtype], f"{name} differs: {errors}")
        found[name] = errors
    for name, maps in _tensors(32 if clock.quick else 512, clock.device):
        found[name] |= _times(clock, maps)
    return found


def _tensors(batch: int, device: torch.device) -> Iterator[tuple[str, Tensor]]:
    for layer, shape in LAYERS.items():
        for dtype in ERRORS:
            for layout in (torch.contiguous_format, torch.channels_last):
                maps = (67 * torch.randn(batch, *shape, device=device)).to(dtype)
                letters = "NHWC" if layout == torch.channels_last else "NCHW"
                yield f"{layer} {str(dtype)[6:]} {letters}", maps.contiguous(memory_format=layout)


def _errors(maps: Tensor, implementation: Implementation | None) -> dict[str, float]:
    weights = torch.randn_like(maps)
    truth, true_slope = _with_gradient(
        lambda m: local_response_norm(m, CONFIG, columns=2), maps.double(), weights.double()
    )
    mine, slope = _with_gradient(
        lambda m: lrn(m, CONFIG, columns=2, implementation=implementation), maps, weights
    )
    pooled = relu_lrn_pool(maps, CONFIG, POOL, columns=2, implementation=implementation)
    responses = local_response_norm(maps.double().relu(), CONFIG, columns=2)
    return {
        "error": _error(mine, truth),
        "gradient_error": _error(slope, true_slope),
        "pooled_error": _error(pooled, _pool(responses)),
    }


def _times(clock: Clock, maps: Tensor) -> dict[str, Any]:
    slopes, pooled = torch.randn_like(maps), _pool(maps)
    numbers = (CONFIG.size, CONFIG.k, CONFIG.coefficient, CONFIG.beta, 2)
    theirs = torch.nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
    gradient = torch.ops.alexnet.lrn_gradient
    passes: dict[str, tuple[Callable[[], object], int]] = {
        "forward": (lambda: _triton(maps), 2 * maps.nbytes),
        "backward": (lambda: gradient(maps, slopes, *numbers), 3 * maps.nbytes),
        "fused": (
            lambda: relu_lrn_pool(maps, CONFIG, POOL, columns=2, implementation="triton"),
            maps.nbytes + pooled.nbytes,
        ),
        "fused_as_three_steps": (lambda: _pool(_triton(F.relu(maps))), maps.nbytes + pooled.nbytes),
        "plain_forward": (
            lambda: lrn(maps, CONFIG, columns=2, implementation="plain"),
            2 * maps.nbytes,
        ),
        "torch_forward": (lambda: theirs(maps), 2 * maps.nbytes),
        "torch_three_steps": (lambda: _pool(theirs(F.relu(maps))), maps.nbytes + pooled.nbytes),
    }
    copy = clock.found.get("ceilings", {}).get("copy_gb_per_s")
    found = {}
    for name, (work, size) in passes.items():
        milliseconds = _repeated_ms(clock, work)
        rate = size / milliseconds / 1e6
        found[name] = {
            "ms": milliseconds,
            "gb_per_s": rate,
            "share_of_copy": rate / copy if copy else None,
        }
    return found


def _repeated_ms(clock: Clock, work: Callable[[], object]) -> float:
    """Milliseconds of one of several calls that the device runs without waiting for Python."""
    with torch.inference_mode():
        for _ in range(3):
            work()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(CALLS):
                work()
        return clock.median_ms(graph.replay) / CALLS


def _triton(maps: Tensor) -> Tensor:
    return lrn(maps, CONFIG, columns=2, implementation="triton")


def _pool(maps: Tensor) -> Tensor:
    return F.max_pool2d(maps, POOL.size, POOL.stride, ceil_mode=POOL.ceil)


def _with_gradient(
    function: Callable[[Tensor], Tensor], maps: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    leaf = maps.clone().requires_grad_()
    values = function(leaf)
    (gradient,) = torch.autograd.grad(values, leaf, weights)
    return values.detach(), gradient


def _error(value: Tensor, truth: Tensor) -> float:
    return float((value.double() - truth).norm() / truth.norm())


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise RuntimeError(sentence)
