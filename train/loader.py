"""Minibatches of a data set, decoded ahead of the network: by a thread or by worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from alexnet.machine import cores
from train.dataset import Split
from train.mesh import Mesh
from train.photo_workers import AHEAD, LoaderError, PhotoWorkers, Rows, StoppedWaiting
from train.streams import ORDER, random_stream

T = TypeVar("T")
U = TypeVar("U")


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
        self.stop_asked: Callable[[], bool] = lambda: False
        """Whether the training is to stop: then photos that do not come are not waited for."""
        self._thread = ThreadPoolExecutor(1, "ahead")
        self._workers: PhotoWorkers | None = None
        if workers:
            self._workers = PhotoWorkers(
                split,
                count=workers,
                threads=cores() // (workers * self.mesh.neighbours),
                stop_asked=lambda: self.stop_asked(),
            )

    @property
    def steps(self) -> int:
        """Minibatches of an epoch."""
        return -(-len(self.split) // self.batch)

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[Minibatch]:
        """The minibatches of an epoch, from number `first` on.

        Where the training is to stop and worker processes deliver nothing, one process alone gets
        no more of them; of several, none may leave the others.

        Raises:
            DatasetError: a shard is damaged.
            LoaderError: a worker process has ended, or delivers nothing although the training is
                to stop.
        """
        stream = random_stream(self.seed, ORDER, epoch)
        order = torch.randperm(len(self.split), generator=stream).numpy()
        chunks = [order[start : start + self.batch] for start in range(0, len(order), self.batch)]
        places = [self.mesh.part(len(chunk)) for chunk in chunks[first:]]
        rows = [chunk[place] for chunk, place in zip(chunks[first:], places, strict=True)]
        decoded = self._decoded(rows)
        for chunk, place, own in zip(chunks[first:], places, rows, strict=True):
            try:
                photos = next(decoded)
            except StoppedWaiting as error:
                if self.mesh.size == 1:
                    return
                raise LoaderError(
                    "The run is to stop, and no photos come that its step needs: go on with "
                    "--resume from its last checkpoint."
                ) from error
            labels = torch.from_numpy(self.split.labels[own])
            yield Minibatch(photos, labels, place.start, len(chunk))

    def rest(self) -> None:
        """Wait until the decoders have finished what an epoch that was left halfway had begun."""
        self._thread.submit(int).result()
        if self._workers is not None:
            self._workers.rest()

    def _decoded(self, rows: list[Rows]) -> Iterator[Tensor]:
        if self._workers is None:
            for photos in ahead(self.split.photos, rows, pool=self._thread):
                yield torch.from_numpy(photos)
        elif self.mesh.device.type == "cuda":
            yield from self._pinned(self._workers, rows)
        else:
            yield from map(torch.from_numpy, self._workers.batches(rows))

    def _pinned(self, workers: PhotoWorkers, rows: list[Rows]) -> Iterator[Tensor]:
        """The photos in memory from which a GPU copies by itself; what is here is copied ahead."""
        arriving = map(torch.from_numpy, workers.batches(rows))
        pinned: list[Future[Tensor]] = []
        for number in range(len(rows)):
            while not pinned or (
                number + len(pinned) < len(rows) and len(pinned) <= AHEAD and workers.ready()
            ):
                pinned.append(self._thread.submit(Tensor.pin_memory, next(arriving)))
            yield pinned.pop(0).result()


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
