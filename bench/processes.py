"""What can be timed in a process of its own: a model, or a way to one as others write it."""

from __future__ import annotations

import gc
import multiprocessing
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from alexnet.backends import Backend
from alexnet.errors import AlexNetError
from bench.interleave import Call, Took
from bench.sessions import Opening, name_of, open_timed

S = TypeVar("S")
T = TypeVar("T", contravariant=True)

Opens = Callable[[], tuple[Any, S]]
"""What is called in the other process, and can be sent to it: gives what the other side wants to
know, and what stays there. Raises AlexNetError where it can't."""

_LONGEST_END = 10.0
"""Seconds that a process has to end by itself."""


class Task(Protocol[T]):
    """Makes calls; can be sent to another process. `bench.work` has those of models."""

    def bind(self, subject: T, /) -> Call:
        """A call that does it once."""
        ...


class Remote(Generic[S]):
    """Something in another process: nothing that the others keep running there slows it down, and
    its memory is its own.

    Raises:
        AlexNetError: it can't be opened, with its own sentence.
    """

    def __init__(self, opens: Opens[S], *, what: str, parent: bool = False) -> None:
        """Start the process, and wait until it is open there.

        Args:
            opens: opens it.
            what: it is called in errors.
            parent: whether it starts processes of its own, which those that end with this one must
                not.
        """
        self._what = what
        # A fork would copy this process's memory and locks; a fresh one starts as a user's does.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, opens), daemon=not parent)
        self._process.start()
        theirs.close()
        self._tasks = 0
        try:
            self.facts = self._answer()
            """What `opens` said."""
        except BaseException:
            self.close()
            raise

    def call(self, task: Task[S]) -> Call:
        """A call that is made and timed there."""
        place = self._tasks
        self._ask(("bind", task))
        self._tasks += 1
        return lambda: Took(self._ask(("call", place)))

    def result(self, task: Task[S]) -> Any:
        """What the task's call returns there, made once."""
        return self._ask(("result", task))

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process.pid is not None, "it was started"
        return self._process.pid

    def peak_mib(self) -> float | None:
        """The most memory that the process has had, in MiB."""
        peak: float | None = self._ask(("peak", None))
        return peak

    def close(self) -> None:
        """End the process."""
        self._pipe.close()  # which it takes for the end
        self._process.join(_LONGEST_END)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ask(self, what: tuple[str, Any]) -> Any:
        with suppress(OSError):  # it is gone; what it said last is still in the pipe
            self._pipe.send(what)
        return self._answer()

    def _answer(self) -> Any:
        try:
            good, answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join(_LONGEST_END)
            raise AlexNetError(
                f"The process that ran {self._what} ended by itself (exit code "
                f"{self._process.exitcode}); -9 is often a lack of memory."
            ) from error
        if not good:
            raise AlexNetError(answer)
        return answer


class Apart(Remote[Backend]):
    """A model in another process: a `bench.sessions.Session`.

    Raises:
        AlexNetError: the file can't be opened, with the sentence of `open_backend`.
    """

    def __init__(self, opening: Opening) -> None:
        super().__init__(partial(_opened, opening), what=str(opening.path))
        self.name, self.info, self.streams, self.startup = self.facts


def _opened(opening: Opening) -> tuple[Any, Backend]:
    backend, startup = open_timed(opening)
    return (name_of(opening, backend), backend.info, backend.streams, startup), backend


def _serve(pipe: Connection, opens: Opens[Any]) -> None:
    """The other process: does what it is told until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that measures
    with suppress(EOFError, OSError):
        try:
            facts, subject = opens()
            pipe.send((True, facts))
            _obey(pipe, subject)
        except AlexNetError as error:
            pipe.send((False, str(error)))


def _obey(pipe: Connection, subject: Any) -> None:
    calls: list[Call] = []
    gc.disable()  # as `interleave` does where it measures
    while True:
        order, what = pipe.recv()
        answer: Any = None
        if order == "bind":
            calls.append(what.bind(subject))
            gc.collect()
        elif order == "call":
            began = time.perf_counter()
            calls[what]()
            answer = time.perf_counter() - began
        elif order == "result":
            answer = what.bind(subject)()
        else:
            answer = peak_mib()
        pipe.send((True, answer))


def peak_mib() -> float:
    """The most memory that this process has had, in MiB."""
    try:
        # What `resource` knows also counts the memory of the process that started this one.
        status = Path("/proc/self/status").read_text("utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, IndexError):
        pass  # not Linux
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
