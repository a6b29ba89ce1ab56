"""Numbers of a step on their way from the device."""

from __future__ import annotations

import torch
from torch import Tensor


class Readback:
    """A few numbers that a device has yet to compute.

    Reading a tensor of a GPU waits for all that was asked of the GPU until then, also for the steps
    after the one that computes it. So the copy is asked for at once, into memory that the GPU
    writes by itself, and the event behind it is all that is waited for.
    """

    def __init__(self, values: Tensor):
        self._values, self._arrived = values, None
        if values.device.type == "cuda":
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record()

    def numbers(self) -> list[float]:
        """The numbers, once they are here."""
        if self._arrived is not None:
            self._arrived.synchronize()
        found: list[float] = self._values.tolist()
        return found
