"""The random streams that a run draws from, each of its own seed.

Every source of randomness has its own stream, so that none moves when another is used more; and
every step has its own, so that a run can go on from any step, in any number of processes.
"""

from __future__ import annotations

import numpy as np
import torch

INIT, ORDER, CROPS, DROPOUT = range(4)


def random_stream(seed: int, *keys: int, device: torch.device | None = None) -> torch.Generator:
    """A generator of `device` that depends on nothing but the run's seed and `keys`."""
    state = np.random.SeedSequence([seed, *keys]).generate_state(1, np.uint64)
    return torch.Generator(device or "cpu").manual_seed(int(state[0] >> np.uint64(1)))
