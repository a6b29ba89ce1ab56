"""The life of the model in a worker: opened, answering, failing and recovering, closed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from alexnet.errors import AlexNetError
from serve.batcher import Batcher
from serve.ending import Ending
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
_LOOK = 1.0
_logger = logging.getLogger("alexnet.serve")


class Life:
    """A model with its batcher while there is one, and what the probes say of it."""

    def __init__(
        self,
        settings: Settings,
        observer: Observer | None,
        *,
        end: Callable[[], object] | None = None,
    ) -> None:
        """`end` ends the process; without it nothing is done about a backend that is stuck."""
        self._settings = settings
        self._observer = observer
        self._end = end
        self._model: ServedModel | None = None
        self._batcher: Batcher | None = None
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

        Args:
            idle: whether all accepted requests are answered, so that SIGTERM may end the server.
        """
        model = self._open()
        tasks = []
        if self._end is not None:
            tasks.append(asyncio.create_task(self._end_once_dead(self._end)))
        if model is None:
            tasks.append(asyncio.create_task(self._open_later()))
        else:
            self._take(model)
        try:
            with self._ending.on_signal(idle):
                yield
        finally:
            for task in tasks:
                task.cancel()
            self._close()

    async def _end_once_dead(self, end: Callable[[], object]) -> None:
        # Nothing but a new process gets rid of a thread that does not come back.
        dead = _STUCK * self._settings.timeout + _DEAD
        while self._batcher is None or not self._batcher.stuck(dead):
            await asyncio.sleep(_LOOK)
        _logger.critical("A batch has kept the backend busy for %g s: this worker ends", dead)
        end()

    def _open(self) -> ServedModel | None:
        # service.py tried it when the service started, so it has gone since, or there is too little
        # memory now. A worker that ended for that would only be started again and again.
        try:
            return ServedModel(self._settings)
        except AlexNetError as error:
            _logger.error("The model can't be opened: %s", error)
        except Exception:
            _logger.exception("The model can't be opened")
        return None

    async def _open_later(self) -> None:
        model = None
        while model is None:
            await asyncio.sleep(_PAUSE)
            model = await asyncio.to_thread(self._open)  # probes are answered meanwhile
        self._take(model)

    def _take(self, model: ServedModel) -> None:
        self._batcher = Batcher(model.backend, self._settings, observer=self._observer)
        self._model = model

    def _close(self) -> None:
        batcher, model = self._batcher, self._model
        self._batcher = self._model = None
        if batcher is not None:
            batcher.close()
        if model is not None:
            model.close()
