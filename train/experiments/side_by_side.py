"""Several trainings on CIFAR-10 at a time: a process of one thread each on a CPU's cores.

Which of them share a machine changes no result: each computes with one thread, whatever runs
beside it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import torch

from alexnet.console import log
from alexnet.errors import AlexNetError
from alexnet.machine import cores, keep_memory
from train.dataset import Dataset
from train.experiments.cifar_photos import Splits
from train.experiments.cifar_training import Epoch, Step, advance
from train.experiments.experiment import Task
from train.workers import no_locks, start_worker


class SideBySide:
    """Trains epochs; a context manager, which ends its processes."""

    def __init__(self, task: Task, *, jobs: int | None = None) -> None:
        """`jobs`: processes at most; as many as there are cores where None, and one on a GPU."""
        self._task = task
        self._jobs = 1 if task.device != "cpu" else jobs or cores()
        self._pool: ProcessPoolExecutor | None = None
        self._splits = Splits(Dataset(task.data), device=task.device)

    def __enter__(self) -> SideBySide:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def file(self, name: str) -> Path:
        """Where the training `name` is kept."""
        return self._task.out / "runs" / f"{name}.safetensors"

    def train(self, steps: Sequence[Step]) -> Iterator[tuple[str, list[Epoch]]]:
        """Each training's name and all its epochs so far, in no fixed order.

        Steps that have not begun when the task's time is over are left out.

        Raises:
            AlexNetError: a file is damaged, or a process was ended.
        """
        made = self._here(steps) if self._jobs == 1 else self._in_processes(steps)
        for name, epochs in made:
            last = epochs[-1]
            loss = "no number" if last.loss is None else f"{last.loss:.4f}"
            test = "" if last.test_error is None else f", test error {last.test_error:.2%}"
            log(
                f"{name}: epoch {len(epochs)}, error {last.error:.2%}, loss {loss}{test}, "
                f"{last.seconds:.0f} s"
            )
            yield name, epochs

    def _here(self, steps: Sequence[Step]) -> Iterator[tuple[str, list[Epoch]]]:
        for step in steps:
            if self._task.late:
                return
            with one_thread():
                epochs = advance(self.file(step.name), step, self._splits)
            yield step.name, epochs

    def _in_processes(self, steps: Sequence[Step]) -> Iterator[tuple[str, list[Epoch]]]:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            try:
                self._pool = ProcessPoolExecutor(
                    self._jobs, mp_context=context, initializer=_start, initargs=(self._task.data,)
                )
            except OSError as error:
                raise no_locks(error, instead="run it on one core: taskset -c 0 ...") from error
        waiting = list(reversed(steps))
        under_way: dict[Future[list[Epoch]], str] = {}
        try:
            while waiting or under_way:
                while waiting and len(under_way) < self._jobs and not self._task.late:
                    step = waiting.pop()
                    future = self._pool.submit(_advance, self.file(step.name), step)
                    under_way[future] = step.name
                if not under_way:
                    return
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    yield under_way.pop(future), future.result()
        except BrokenProcessPool as error:
            raise AlexNetError(
                "A training process was ended from outside, often because memory ran out: run the "
                "command again; finished epochs are kept."
            ) from error


_splits: Splits | None = None
"""A worker process's own, from `_start` on."""


def _start(data: Path) -> None:
    global _splits
    start_worker()
    keep_memory()
    torch.set_num_threads(1)
    _splits = Splits(Dataset(data, threads=1))


def _advance(path: Path, step: Step) -> list[Epoch]:
    assert _splits is not None
    return advance(path, step, _splits)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: how many there are changes how sums are rounded."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
