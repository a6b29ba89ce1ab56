"""How the service ends: SIGTERM first lets what was accepted be answered."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LOOK = 0.02


class Ending:
    """Whether the end has begun."""

    def __init__(self) -> None:
        self.begun = False
        self._task: asyncio.Task[None] | None = None

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
            self._task = loop.create_task(wait(number))

        def hear(number: int, frame: FrameType | None) -> None:
            if self.begun:
                handlers[number](number, frame)
            else:
                self.begun = True
                loop.call_soon_threadsafe(begin, number)

        for number in handlers:
            signal.signal(number, hear)
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
