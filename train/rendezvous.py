"""Where processes find each other, also those that torchrun starts again after one was lost.

torchrun keeps one store of keys for all its attempts. A process of a new attempt can find there the
address of a dead one and wait for it for half an hour [pytorch/pytorch#135712], and the number of
restarts in the environment does not tell attempts apart: each machine counts its own. So the first
process names each attempt, and the others enter only what was answered to themselves.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from datetime import timedelta

from torch.distributed import DistStoreError
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

# As long as gloo waits for a process by itself.
PATIENCE = timedelta(minutes=30)
_PAUSE = 0.02


def meet() -> tuple[Store, int, int]:
    """The keys of this attempt alone, this process's rank and the number of processes.

    Raises:
        DistError: not all of them came.
    """
    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    name = _lead(store, size) if rank == 0 else _follow(store, rank)
    return PrefixStore(f"attempt/{name}", store), rank, size


def _lead(store: Store, size: int) -> str:
    """Name the attempt and tell everybody; who asked before it, and died, is told for nothing."""
    name = uuid.uuid4().hex
    waiting = set(range(1, size))
    answered: set[str] = set()
    end = time.monotonic() + PATIENCE.total_seconds()
    while waiting:
        for rank in _present(store, {rank: f"asks/{rank}" for rank in waiting}):
            asked = store.get(f"asks/{rank}").decode()
            if asked not in answered:
                store.set(f"answer/{asked}", name)
                answered.add(asked)
        waiting -= set(_present(store, {rank: f"heard/{name}/{rank}" for rank in waiting}))
        if time.monotonic() > end:
            raise DistStoreError(f"timed out waiting for the processes {sorted(waiting)}")
        time.sleep(_PAUSE)
    return name


def _follow(store: Store, rank: int) -> str:
    """Ask under a name that nobody had before, until the first process has answered it."""
    mine = uuid.uuid4().hex
    store.set(f"asks/{rank}", mine)
    name = str(store.get(f"answer/{mine}").decode())  # waits
    store.set(f"heard/{name}/{rank}", "1")
    return name


def _present(store: Store, keys: dict[int, str]) -> Iterable[int]:
    return [rank for rank, key in keys.items() if store.check([key])]
