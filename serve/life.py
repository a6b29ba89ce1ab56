"""The life of the model in a worker: opened, answering, failing and recovering, closed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress

from alexnet.errors import AlexNetError
from serve.batcher import Batcher
from serve.ending import CLOSING, Ending, watched
from serve.model import ServedModel, smallest_photo
from serve.observer import Observer
from serve.problems import Problem, not_ready, shutting_down
from serve.settings import Settings

# Seconds after which a model that could not be opened is tried again.
_PAUSE = 5.0
# How many times `timeout` a batch may take before the process counts as dead.
_STUCK = 2.0
# Seconds for which it is dead before it ends, so that whoever asks /livez may be first.
_DEAD = 5.0
# Seconds of `CLOSING` in which the threads may end.
_JOINING = 2.0
_logger = logging.getLogger("alexnet.serve")


class Life:
    """A model with its batcher while there is one, and what the probes say of it."""

    def __init__(
        self,
        settings: Settings,
        observer: Observer | None,
        *,
        end: Callable[[str], object] | None = None,
    ) -> None:
        """`end` logs a sentence and ends the process; without it what hangs is left alone."""
        self._settings = settings
        self._observer = observer
        self._end = end
        self._model: ServedModel | None = None
        self._batcher: Batcher | None = None
        self._opening: float | None = None
        self._tried = asyncio.Event()
        self._ending = Ending()

    @property
    def ready(self) -> bool:
        """Whether the model is open and answers, and the service is not about to end."""
        batcher = self._batcher
        if batcher is None or self._ending.begun:
            return False
        return batcher.healthy and not batcher.stuck(self._settings.timeout)

    async def check_ready(self) -> bool:
        """The same, after a backend that failed again and again got a photo to recover with."""
        batcher = self._batcher
        if batcher is not None and not batcher.healthy and batcher.idle:
            with suppress(Problem):
                soon = time.monotonic() + self._settings.timeout
                await batcher.answer([smallest_photo()], top_k=1, deadline=soon)
        return self.ready

    @property
    def alive(self) -> bool:
        """Whether the network gives answers, be they errors: false once a batch takes for ever."""
        batcher = self._batcher
        return batcher is None or not batcher.stuck(_STUCK * self._settings.timeout)

    @property
    def model(self) -> ServedModel:
        """The open model.

        Raises:
            Problem: there is none.
        """
        if self._model is None:
            raise not_ready()
        return self._model

    @property
    def batcher(self) -> Batcher:
        """What answers photos.

        Raises:
            Problem: there is nothing that could, or the end has begun.
        """
        if self._ending.begun:
            raise shutting_down()
        if self._batcher is None:
            raise not_ready()
        return self._batcher

    @asynccontextmanager
    async def lived(self, *, idle: Callable[[], bool]) -> AsyncIterator[None]:
        """Open the model for the running event loop, and close it at the end.

        A signal ends the waiting for the model: nothing was accepted yet.

        Args:
            idle: whether all accepted requests are answered, so that SIGTERM may end the server.
        """
        end = self._end
        watchdog = nullcontext() if end is None else watched(self._overdue, end)
        with watchdog, self._ending.on_signal(idle):
            opening = asyncio.create_task(self._open_now_or_later())
            heard = asyncio.create_task(self._ending.heard.wait())
            tried = asyncio.create_task(self._tried.wait())
            waited = (heard, tried, opening)
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                opening.result()
            try:
                yield
            finally:
                self._ending.begin()
                for task in (opening, heard, tried):
                    task.cancel()
                await self._close()

    def _overdue(self) -> str | None:
        """Why this process has to end: nothing but a new one gets rid of what does not come back.

        For the watchdog's thread.
        """
        now, settings = time.monotonic(), self._settings
        batcher, opening, began = self._batcher, self._opening, self._ending.began
        if began is not None and now - began > settings.timeout + CLOSING:
            return f"The service has not ended {settings.timeout + CLOSING:g} s after it was told"
        if opening is not None and now - opening > settings.start_timeout:
            return f"The model has not opened within {settings.start_timeout:g} s"
        dead = _STUCK * settings.timeout + _DEAD
        if batcher is not None and batcher.stuck(dead):
            return f"A batch has kept the backend busy for {dead:g} s"
        return None

    def _open(self) -> ServedModel | None:
        # service.py tried it when the service started, so it has gone since, or there is too little
        # memory now. A worker that ended for that would only be started again and again.
        self._opening = time.monotonic()
        try:
            return ServedModel(self._settings)
        except AlexNetError as error:
            _logger.error("The model can't be opened: %s", error)
        except Exception:
            _logger.exception("The model can't be opened")
        finally:
            self._opening = None
        return None

    async def _open_now_or_later(self) -> None:
        # In a thread, so that signals are heard and later, between two tries, probes are answered.
        while (model := await asyncio.to_thread(self._open)) is None:
            self._tried.set()
            await asyncio.sleep(_PAUSE)
        self._batcher = Batcher(model.backend, self._settings, observer=self._observer)
        self._model = model
        self._tried.set()

    async def _close(self) -> None:
        batcher, model = self._batcher, self._model
        if batcher is None or model is None:
            return
        began = self._ending.began or 0.0
        # Before the watchdog's own deadline, so that the log says what it is that hangs.
        left = await asyncio.to_thread(
            batcher.close, deadline=began + self._settings.timeout + _JOINING
        )
        self._batcher = self._model = None
        if not left:
            await asyncio.to_thread(model.close)
            return
        # The model is not freed under a thread that uses it.
        reason = f"What does not come back when the service ends: {', '.join(left)}"
        if self._end is None:
            _logger.critical("%s", reason)
        else:
            self._end(reason)
