"""Minibatches of an epoch, decoded ahead; and the random streams that a run draws from."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.dataset import Split


@dataclass(frozen=True)
class Minibatch:
    """Decoded photos uint8 (N, S, S, 3) and their labels int64 (N,)."""

    photos: Tensor
    labels: Tensor


# Every source of randomness has its own stream, so that none moves when another is used more.
INIT, ORDER, CROPS, DROPOUT = range(4)


def random_stream(seed: int, *keys: int) -> torch.Generator:
    """A generator that depends on nothing but the run's seed and `keys`."""
    state = np.random.SeedSequence([seed, *keys]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def minibatches(split: Split, *, batch: int, seed: int, epoch: int) -> Iterator[Minibatch]:
    """All photos of `split` once, in an order drawn from (seed, epoch); the last may be short.

    The next minibatches are decoded while the network works on this one.
    """
    order = torch.randperm(len(split), generator=random_stream(seed, ORDER, epoch)).numpy()
    chunks = [order[start : start + batch] for start in range(0, len(order), batch)]

    def load(chosen: NDArray[np.int64]) -> Minibatch:
        return Minibatch(
            torch.from_numpy(split.photos(chosen)), torch.from_numpy(split.labels[chosen])
        )

    ahead = 2
    with ThreadPoolExecutor(1, "minibatch") as pool:
        waiting = [pool.submit(load, chunk) for chunk in chunks[:ahead]]
        for position in range(len(chunks)):
            minibatch = waiting.pop(0).result()
            if position + ahead < len(chunks):
                waiting.append(pool.submit(load, chunks[position + ahead]))
            yield minibatch
