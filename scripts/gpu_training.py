"""Training steps on a device: photos per second, against its peak, and what LRN costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F

from alexnet.config import Config, preset
from alexnet.geometry import totals
from alexnet.network import AlexNet
from train.optimizer import optimizer_for, set_rates
from train.recipes import recipe
from train.schedule import Moment, rates

# Arithmetic by name: the type of its operands. bf16 and fp16 run under autocast.
MODES = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


class Clock(Protocol):
    """What the steps are timed with: gpu_checks.Checks."""

    device: torch.device
    quick: bool
    found: dict[str, Any]

    def median_ms(self, work: Callable[[], object], *, runs: int = 20) -> float: ...


def training_steps(clock: Clock) -> dict[str, Any]:
    """Forward, backward and update on random crops that are on the device.

    A step counts three times the forward pass's multiply-accumulates, two operations each; its
    share of the peak is against the matrix product that `ceilings` measured in the same arithmetic.
    """
    name, batches = ("mini", (16,)) if clock.quick else ("net145", (128, 256, 512, 1024, 2048))
    config = preset(name)
    operations = 6 * totals(config).macs
    found: dict[str, Any] = {}
    for mode in ("float32", "tf32", "bf16"):
        rows = {}
        for batch in batches:
            milliseconds = _step_ms(clock, config, batch=batch, mode=mode)
            tflops = operations * batch / milliseconds / 1e9
            peak = clock.found.get("ceilings", {}).get(f"{mode}_tflops")
            rows[str(batch)] = {
                "ms": milliseconds,
                "photos_per_s": 1000 * batch / milliseconds,
                "tflops": tflops,
                "share_of_matrix_peak": tflops / peak if peak else None,
            }
        best = max(rows, key=lambda batch: rows[batch]["photos_per_s"] or 0)
        bare = _step_ms(clock, _without_lrn(config), batch=int(best), mode=mode)
        lrn = 1 - bare / (rows[best]["ms"] or 1)
        found[mode] = {"batches": rows, "best_batch": int(best), "share_of_lrn": lrn}
    return {"network": name, **found}


@contextmanager
def tensor_float32(allowed: bool) -> Iterator[None]:
    """Whether products of float32 may be rounded to TF32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def _step_ms(clock: Clock, config: Config, *, batch: int, mode: str) -> float:
    dtype = None if mode in ("float32", "tf32") else MODES[mode]
    chosen, device = recipe("net145"), clock.device
    network: AlexNet = AlexNet(config).initialise(torch.Generator().manual_seed(0)).to(device)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = optimizer_for(network, chosen)
    set_rates(optimizer, rates(chosen, Moment(1)))
    side = config.input.crop
    crops = 60 * torch.randn(batch, 3, side, side, device=device)
    crops = crops.to(memory_format=torch.channels_last)
    labels = torch.randint(config.network.classes, (batch,), device=device)

    def step() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            logits = network(crops)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    with tensor_float32(mode == "tf32"):
        return clock.median_ms(step)


def _without_lrn(config: Config) -> Config:
    convs = tuple(
        replace(
            conv,
            steps=tuple(step for step in conv.steps if "lrn" not in step),
            lrn=None,
            same_map_lrn=None,
        )
        for conv in config.network.convs
    )
    return replace(config, network=replace(config.network, convs=convs))
