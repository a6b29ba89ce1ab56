"""How the service ends: SIGTERM first lets what was accepted be answered, until a deadline.

A watchdog in a thread of its own ends the process whatever hangs: the event loop is of no use where
it is what hangs, or where nothing comes back to it.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

CLOSING = 3.0
"""Seconds for closing what is left, once every accepted request had its `timeout`."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LOOK = 0.02
# Seconds between two looks of the watchdog.
_WATCH = 0.25


class Ending:
    """Whether the end has begun."""

    def __init__(self) -> None:
        self.began: float | None = None
        """The moment (of `time.monotonic`) at which it did."""
        self.heard = asyncio.Event()
        """Set in the event loop once a signal has come."""
        self._task: asyncio.Task[None] | None = None

    @property
    def begun(self) -> bool:
        """Whether it has."""
        return self.began is not None

    def begin(self) -> None:
        """It begins now, unless it has."""
        if self.began is None:
            self.began = time.monotonic()

    @contextmanager
    def on_signal(self, idle: Callable[[], bool]) -> Iterator[None]:
        """Hear the signals before the server does, which would close its door at once.

        From the first signal on `begun` is true; once `idle`, the server is told. The second signal
        goes straight to it. For the main thread of a running event loop; elsewhere, and where the
        server hears no signals, nothing is changed.
        """
        handlers: dict[int, Callable[[int, FrameType | None], object]] = {}
        if threading.current_thread() is threading.main_thread():
            for heard in _SIGNALS:
                handler = signal.getsignal(heard)
                if callable(handler) and handler is not signal.default_int_handler:
                    handlers[heard] = handler
        loop = asyncio.get_running_loop()

        async def wait(number: int) -> None:
            while not idle():
                await asyncio.sleep(_LOOK)
            handlers[number](number, None)

        def begin(number: int) -> None:
            self.heard.set()
            self._task = loop.create_task(wait(number))

        def hear(number: int, frame: FrameType | None) -> None:
            if self.begun:
                handlers[number](number, frame)
            else:
                self.begin()
                loop.call_soon_threadsafe(begin, number)

        for number in handlers:
            signal.signal(number, hear)
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


@contextmanager
def watched(overdue: Callable[[], str | None], end: Callable[[str], object]) -> Iterator[None]:
    """Call `end` in another thread, once, as soon as `overdue` gives a sentence that says why."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_WATCH):
            if reason := overdue():
                end(reason)
                return

    thread = threading.Thread(target=watch, name="alexnet-watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
