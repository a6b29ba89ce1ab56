"""Peaks by PyTorch's matrix products and copies: of a GPU, and of a CPU without a C compiler.

A product never runs at the full peak, so what is found is a lower bound of it. Large products come
near on a GPU (nothing faster is on offer there); on a CPU the compiled probe is the better measure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.probe import Peak, peak_of

if TYPE_CHECKING:
    import torch

Work = Callable[[], object]

# Sides of the matrices: a product should take milliseconds, and not fit the caches.
_SIDE = {"cpu": 1536, "cuda": 8192}
_MEGABYTES = {"cpu": 512, "cuda": 2048}


def torch_peaks(device: str, *, threads: int, seconds: float) -> tuple[dict[str, Peak], Peak]:
    """Multiply-adds per second by precision, and bytes per second of memory.

    float32 is computed without TF32. A precision that PyTorch can't multiply in on this device is
    left out. On a GPU bytes are read and written (a copy), on a CPU read (a sum).

    Args:
        device: `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads, set for the measurement only.
        seconds: for each peak.
    """
    import torch

    place = torch.device(device)
    with _threads(threads), _without_tf32(), torch.inference_mode():
        peaks = {}
        for precision in ("fp32", "bf16", "fp16", "int8"):
            if place.type == "cpu" and precision == "fp16":
                continue  # no network here computes in it on a CPU
            try:
                work, macs = _product(precision, place)
                peaks[precision] = _peak(work, macs, place, seconds=seconds)
            except (RuntimeError, AttributeError):  # not on this device, not in this PyTorch
                continue
        work, size = _transfer(place)
        return peaks, _peak(work, size, place, seconds=seconds)


def _product(precision: str, place: torch.device) -> tuple[Work, int]:
    """A product of two square matrices, and its multiply-adds."""
    import torch

    side = _SIDE[place.type]
    if precision == "int8":
        a, b = (
            torch.randint(-9, 10, (side, side), dtype=torch.int8, device=place) for _ in range(2)
        )
        return lambda: torch._int_mm(a, b), side**3
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    x, y = (torch.randn(side, side, device=place).to(kind) for _ in range(2))
    return lambda: x @ y, side**3


def _transfer(place: torch.device) -> tuple[Work, int]:
    """A pass over memory, and its bytes."""
    import torch

    values = torch.ones(_MEGABYTES[place.type] * 2**20 // 4, device=place)
    size = values.numel() * 4
    if place.type == "cpu":
        return values.sum, size
    other = torch.empty_like(values)
    return lambda: other.copy_(values), 2 * size


def _peak(work: Work, amount: int, place: torch.device, *, seconds: float) -> Peak:
    """The best of as many calls as fit in `seconds`, at least three after two that don't count."""
    import torch

    for _ in range(2):
        work()
    rates: list[float] = []
    began = time.perf_counter()
    while len(rates) < 3 or time.perf_counter() - began < seconds:
        if place.type == "cuda":
            start, end = torch.cuda.Event(True), torch.cuda.Event(True)  # type: ignore[no-untyped-call]
            with torch.cuda.device(place):
                start.record()
                work()
                end.record()
                end.synchronize()
            rates.append(amount / (start.elapsed_time(end) / 1000))
        else:
            start_time = time.perf_counter()
            work()
            rates.append(amount / (time.perf_counter() - start_time))
    return peak_of(rates)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _without_tf32() -> Iterator[None]:
    """TF32 rounds the factors to 10 bits: another precision."""
    import torch

    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
