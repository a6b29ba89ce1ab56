"""Store photos in several processes, in order and with few of them in memory at once.

Processes and not threads: two thirds of a small photo's time are Python's own, under its lock.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from alexnet.config import InputConfig
from alexnet.errors import AlexNetError
from train.catalogue import Item
from train.shards import Batch, store_batch

Result = tuple[Sequence[Item], Batch]


def store_all(
    batches: Sequence[Sequence[Item]], input: InputConfig, *, max_pixels: int, workers: int
) -> Generator[Result, None, None]:
    """Every batch with what became of it, in the order of `batches`; close it when stopping early.

    At most three batches for each worker are under way.

    Raises:
        AlexNetError: a worker process died.
        OSError: a source can't be read.
    """
    workers = min(workers, len(batches) // 2)  # a process takes longer to start than a few batches
    if workers < 2:
        for items in batches:
            yield items, store_batch(items, input, max_pixels=max_pixels)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy locks held by other threads
    try:
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker)
    except OSError as error:
        raise no_locks(error, instead="use --workers 1") from error
    under_way: deque[tuple[Sequence[Item], Future[Batch]]] = deque()
    try:
        for items in batches:
            under_way.append((items, pool.submit(store_batch, items, input, max_pixels=max_pixels)))
            if len(under_way) == 3 * workers:
                yield _first(under_way)
        while under_way:
            yield _first(under_way)
    except BrokenProcessPool as error:
        raise AlexNetError(
            "A worker process was ended from outside, often because memory ran out: run the "
            "command again, with fewer --workers; finished shards are kept."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def no_locks(error: OSError, *, instead: str) -> AlexNetError:
    """What is said where a pool can't have its locks, which Linux keeps in /dev/shm."""
    reason = error.strerror or error
    return AlexNetError(
        f"Worker processes can't be started ({reason}): /dev/shm, where their locks are kept, is "
        f"full or missing. Give it more room, or {instead}."
    )


def _first(under_way: deque[tuple[Sequence[Item], Future[Batch]]]) -> Result:
    items, future = under_way.popleft()
    return items, future.result()


def start_worker() -> None:
    """Set up a worker process: it leaves Ctrl-C to its parent, and ends when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the pool
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent can't end its workers, and they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
