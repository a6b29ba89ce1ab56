"""Trainings in processes of one thread each, which end with a checkpoint when they are to stop."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import TextIOBase
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, TextIO

import torch

from alexnet.console import log
from alexnet.errors import AlexNetError
from alexnet.machine import keep_memory
from train.dataset import Dataset
from train.experiments.experiment import ExperimentError, Task
from train.workers import start_worker

Work = Callable[[Task, str, Any, Dataset], object]
"""Trains what it is given under the name that it is given, and writes down what came of it."""

PATIENCE = 60.0
"""Seconds in which a training that is to stop ends its step or validation and writes a checkpoint,
and in which all of them end."""
_POLL = 1.0


@dataclass
class _Worker:
    """A process, and the training that it is at."""

    process: BaseProcess
    connection: Connection
    name: str = ""


class Processes:
    """Processes that train what they are told, one training after the other."""

    def __init__(
        self, task: Task, work: Work, *, count: int, forgiven: type[AlexNetError] | None = None
    ) -> None:
        """`work`: a function of a module; `forgiven`: errors that end no training but their own."""
        self._task, self._forgiven = task, forgiven
        self._stopped = False
        self._stopped_at: float | None = None
        self._workers: list[_Worker] = []
        context = multiprocessing.get_context("spawn")  # a fork would copy PyTorch's locks
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(task, work, theirs), daemon=True)
            process.start()
            theirs.close()
            self._workers.append(_Worker(process, ours))

    def train(self, runs: Mapping[str, Any]) -> None:
        """Train until all is done, the time is over, a training fails or SIGTERM says stop.

        Raises:
            AlexNetError: a training failed; the others were stopped.
        """
        waiting, idle = list(runs.items()), list(self._workers)
        busy: dict[Connection, _Worker] = {}
        try:
            with self._sigterm():
                while True:
                    while waiting and idle and not (self._stopped or self._task.late):
                        worker = idle.pop()
                        worker.name, run = waiting.pop(0)
                        try:
                            worker.connection.send((worker.name, run))
                        except OSError as lost:
                            raise _ended(worker) from lost
                        busy[worker.connection] = worker
                    if not busy or self._given_up():
                        break
                    for ready in wait(list(busy), _POLL):
                        assert isinstance(ready, Connection)
                        idle.append(busy.pop(ready))
                        self._hear(idle[-1])
        finally:
            self._end()

    def _hear(self, worker: _Worker) -> None:
        """Take in how a training ended."""
        try:
            error = worker.connection.recv()
        except (EOFError, OSError) as lost:
            if self._stopped:  # it was not far enough to end by itself
                return
            raise _ended(worker) from lost
        if error is None:
            return
        if self._forgiven is None or not isinstance(error, self._forgiven):
            raise error
        log(str(error))

    def _given_up(self) -> bool:
        """Whether a training that was to stop has not in its time: its disk hangs, say."""
        if self._stopped and self._stopped_at is None:
            self._stopped_at = time.monotonic()
        late = self._stopped_at is not None and time.monotonic() >= self._stopped_at + PATIENCE
        return self._stopped and late

    def _end(self) -> None:
        """End the processes; those that train write down where they are."""
        for worker in self._workers:
            worker.connection.close()
            worker.process.terminate()
        end = time.monotonic() + PATIENCE
        for worker in self._workers:
            worker.process.join(max(0.0, end - time.monotonic()))
            worker.process.kill()
            worker.process.join(_POLL)

    @contextmanager
    def _sigterm(self) -> Iterator[None]:
        """Pass SIGTERM on: trainings end with a checkpoint, and no other begins."""

        def stop(number: int, frame: FrameType | None) -> None:
            self._stopped = True
            for worker in self._workers:
                worker.process.terminate()

        before = signal.signal(signal.SIGTERM, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


def _ended(worker: _Worker) -> ExperimentError:
    worker.process.join(_POLL)
    return ExperimentError(
        f"The process that trained {worker.name} ended with {worker.process.exitcode}, from "
        "outside and often because memory ran out, or by the defect shown above: the same command "
        "goes on."
    )


class _Named(TextIOBase):
    """A stream whose lines begin with the name of the training that wrote them."""

    encoding = "utf-8"

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.name = ""

    def write(self, text: str) -> int:
        """Write whole lines."""
        if not isinstance(text, str):  # how click finds out what takes bytes
            raise TypeError("this is a stream of text")
        self._stream.write("".join(f"{self.name}: {line}\n" for line in text.splitlines()))
        self._stream.flush()
        return len(text)


def _work(task: Task, work: Work, connection: Connection) -> None:
    """Train what comes through `connection`, and answer with the error that ended it, or None."""
    start_worker()
    keep_memory()
    torch.set_num_threads(1)
    sys.stderr = named = _Named(sys.stderr)
    dataset = Dataset(task.data, threads=1)
    while True:
        try:
            named.name, run = connection.recv()
        except (EOFError, OSError):  # nothing more is to be done
            return
        answer: AlexNetError | None = None
        try:
            work(task, named.name, run, dataset)
        except AlexNetError as error:
            answer = error
        except OSError as error:
            answer = ExperimentError(f"The training {named.name} failed: {error}.")
        with suppress(OSError):  # nobody may hear it any more
            connection.send(answer)
