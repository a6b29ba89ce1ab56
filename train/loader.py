"""Minibatches of a data set, decoded ahead of the network: by a thread or by worker processes."""

from __future__ import annotations

import multiprocessing.util
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from alexnet.errors import AlexNetError
from alexnet.machine import cores
from train.dataset import Split
from train.mesh import Mesh
from train.streams import ORDER, random_stream

AHEAD = 2
"""Minibatches that are decoded while the network works, for each decoder."""

Rows = NDArray[np.int64]
Decoded = tuple[Tensor, Tensor]
T = TypeVar("T")
U = TypeVar("U")


class LoaderError(AlexNetError):
    """Photos that no longer come."""


@dataclass(frozen=True)
class Minibatch:
    """A process's part of a minibatch: photos uint8 (N, S, S, 3) and their labels int64 (N,)."""

    photos: Tensor
    labels: Tensor
    first: int = 0
    """Place of its first photo in the whole minibatch."""
    count: int | None = None
    """Photos of the whole minibatch, of all processes; None: these are all."""

    @property
    def whole(self) -> int:
        """Photos of the whole minibatch."""
        return len(self.labels) if self.count is None else self.count

    @property
    def own(self) -> slice:
        """Its photos' places in the whole minibatch."""
        return slice(self.first, self.first + len(self.labels))


class Loader:
    """Epochs of a split: each photo once, in an order drawn from (seed, epoch).

    Every process of a mesh reads its own part of each minibatch and no more.

    Args:
        split: the photos.
        batch: photos of a whole minibatch; the epoch's last one may be short.
        seed: of the orders.
        mesh: the processes.
        workers: processes that decode for this one; 0: a thread does.
    """

    def __init__(
        self, split: Split, *, batch: int, seed: int, mesh: Mesh | None = None, workers: int = 0
    ):
        self.split = split
        self.batch = batch
        self.seed = seed
        self.mesh = mesh or Mesh()
        self._thread = ThreadPoolExecutor(1, "ahead")
        self._order = _Order()
        self._workers: DataLoader[Decoded | Exception] | None = None
        if workers:
            threads = cores() // (workers * self.mesh.neighbours)
            theirs, ours = multiprocessing.Pipe(duplex=False)
            # Also before this process waits for its children at its end.
            multiprocessing.util.Finalize(self, ours.close, exitpriority=0)
            self._workers = DataLoader(
                _Photos(split),
                batch_size=None,
                sampler=self._order,
                num_workers=workers,
                prefetch_factor=AHEAD,
                persistent_workers=True,
                pin_memory=self.mesh.device.type == "cuda",
                # A fork would copy the locks of other threads, and open connections.
                multiprocessing_context="spawn",
                worker_init_fn=partial(_start_worker, theirs, max(1, threads)),
            )

    @property
    def steps(self) -> int:
        """Minibatches of an epoch."""
        return -(-len(self.split) // self.batch)

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[Minibatch]:
        """The minibatches of an epoch, from number `first` on.

        Raises:
            DatasetError: a shard is damaged.
            LoaderError: a worker process was ended.
        """
        stream = random_stream(self.seed, ORDER, epoch)
        order = torch.randperm(len(self.split), generator=stream).numpy()
        chunks = [order[start : start + self.batch] for start in range(0, len(order), self.batch)]
        places = [self.mesh.part(len(chunk)) for chunk in chunks[first:]]
        rows = [chunk[place] for chunk, place in zip(chunks[first:], places, strict=True)]
        for chunk, place, (photos, labels) in zip(
            chunks[first:], places, self._decoded(rows), strict=True
        ):
            yield Minibatch(photos, labels, place.start, len(chunk))

    def rest(self) -> None:
        """Wait until the decoders have finished what an epoch that was left halfway had begun."""
        self._thread.submit(int).result()
        for _ in self.epoch(1, first=self.steps):
            pass

    def _decoded(self, rows: list[Rows]) -> Iterator[Decoded]:
        if self._workers is None:
            found = ahead(_Photos(self.split).__getitem__, rows, pool=self._thread)
        else:
            found = self._from_workers(self._workers, rows)
        for decoded in found:
            if isinstance(decoded, Exception):
                raise decoded
            yield decoded

    def _from_workers(
        self, workers: DataLoader[Decoded | Exception], rows: list[Rows]
    ) -> Iterator[Decoded | Exception]:
        self._order.rows = rows
        before = signal.getsignal(signal.SIGCHLD)
        try:
            found = iter(workers)
            # PyTorch would raise a lost worker's error in the middle of whatever is under way.
            if signal.getsignal(signal.SIGCHLD) is not before:
                signal.signal(signal.SIGCHLD, before)
            yield from found
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise LoaderError(
                "A process that decodes photos was ended from outside, often because memory or "
                "/dev/shm is full: go on with --resume and fewer --workers."
            ) from error


def ahead(work: Callable[[T], U], inputs: Sequence[T], *, pool: ThreadPoolExecutor) -> Iterator[U]:
    """`work` of each input in turn, done by `pool` while the last result is used.

    The pool is the caller's to shut down: whatever thread collects a generator that was left
    halfway must not have to wait for the pool's.
    """
    waiting = [pool.submit(work, item) for item in inputs[:AHEAD]]
    try:
        for position in range(len(inputs)):
            result = waiting.pop(0).result()
            if position + AHEAD < len(inputs):
                waiting.append(pool.submit(work, inputs[position + AHEAD]))
            yield result
    finally:
        for future in waiting:
            future.cancel()


class _Photos(TorchDataset[Any]):
    """Decodes the photos of some rows at once."""

    def __init__(self, split: Split):
        self.split = split

    def __getitem__(self, rows: Rows) -> Decoded | Exception:
        """Photos and labels, or what is wrong with them: raised in a worker process, the sentence
        would arrive at the end of its traceback."""
        try:
            photos = self.split.photos(rows)
        except (AlexNetError, OSError) as error:
            return error
        return torch.from_numpy(photos), torch.from_numpy(self.split.labels[rows])


class _Order(Sampler[Any]):
    """The rows of the minibatches to come."""

    def __init__(self) -> None:
        self.rows: list[Rows] = []

    def __iter__(self) -> Iterator[Rows]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def _start_worker(training: Connection, threads: int, number: int) -> None:
    """Set up a worker process: signals are for the training process, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    info = get_worker_info()
    assert info is not None
    assert isinstance(info.dataset, _Photos)
    info.dataset.split.dataset.threads = threads
    threading.Thread(target=_end_with, args=(training,), daemon=True).start()
    # Python's own way to end stops threads amid C++, which aborts the process.
    multiprocessing.util.Finalize(None, os._exit, args=(0,), exitpriority=-100)


def _end_with(training: Connection) -> None:
    """End when the training process has closed its end of the pipe, or was killed."""
    training.poll(None)
    os._exit(0)
