"""A model in a process of its own, which makes a call when it is told to."""

from __future__ import annotations

import gc
import multiprocessing
import resource
import signal
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from alexnet.backends import Backend
from alexnet.errors import AlexNetError
from bench.interleave import Call, Took
from bench.sessions import Opening, name_of, open_timed
from bench.work import Work

_LONGEST_END = 10.0
"""Seconds that a process has to end by itself."""


class Apart:
    """A model in another process: nothing that the others keep running there slows it down, and
    its memory is its own.

    Raises:
        AlexNetError: the file can't be opened, with the sentence of `open_backend`.
    """

    def __init__(self, opening: Opening) -> None:
        self._path = opening.path
        # A fork would copy this process's memory and locks; a fresh one starts as a user's does.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, opening), daemon=True)
        self._process.start()
        theirs.close()
        self._works = 0
        try:
            self.name, self.info, self.streams, self.startup = self._answer()
        except BaseException:
            self.close()
            raise

    def call(self, work: Work) -> Call:
        """A call that is made and timed there."""
        place = self._works
        self._ask(("bind", work))
        self._works += 1
        return lambda: Took(self._ask(("call", place)))

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
                f"The process that ran {self._path} ended by itself (exit code "
                f"{self._process.exitcode}); -9 is often a lack of memory."
            ) from error
        if not good:
            raise AlexNetError(answer)
        return answer


def _serve(pipe: Connection, opening: Opening) -> None:
    """The other process: does what it is told until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that measures
    with suppress(EOFError, OSError):
        try:
            backend, startup = open_timed(opening)
            name = name_of(opening, backend)
            pipe.send((True, (name, backend.info, backend.streams, startup)))
            _obey(pipe, backend)
        except AlexNetError as error:
            pipe.send((False, str(error)))


def _obey(pipe: Connection, backend: Backend) -> None:
    calls: list[Call] = []
    gc.disable()  # as `interleave` does where it measures
    while True:
        order, what = pipe.recv()
        answer: float | None = None
        if order == "bind":
            calls.append(what.bind(backend))
            gc.collect()
        elif order == "call":
            began = time.perf_counter()
            calls[what]()
            answer = time.perf_counter() - began
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
