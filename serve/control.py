"""BentoML's supervisor: where it takes orders, and how long it waits for a worker that is to end.

Whoever reaches the socket at which it takes orders may run any command as the service's user; it
asks for no password. BentoML has it listen on a port of 127.0.0.1, where every user and every
container of the host's network is; here it is a folder of this user's, closed to all others.

A worker that does not end is waited for by BentoML for a day; here it is killed after a deadline.
And an order to end that comes while something else is done is lost in BentoML; here it is kept.
"""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import signal
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from alexnet.errors import AlexNetError
from serve.ending import CLOSING
from serve.settings import Settings

_SHORT = 60  # of the 108 characters that the address of a socket may have
# Seconds that a worker has for ending itself with a line in the log, after its own deadline.
_LAST = 2.0
# Seconds until an order to end is given again that the supervisor was too busy for.
_AGAIN = 0.1
# How a worker ends that was told to and has closed everything.
_CLEAN = frozenset({0, -signal.SIGTERM, -signal.SIGINT})
_logger = logging.getLogger("alexnet.serve")


class ControlError(AlexNetError):
    """A BentoML whose supervisor can't be told where to listen."""


def longest_end(settings: Settings) -> float:
    """Seconds from SIGTERM until the whole service has ended, whatever hangs."""
    return settings.timeout + CLOSING + _LAST


def take_control(settings: Settings) -> None:
    """Let the supervisor that this process will start be as the module says.

    Raises:
        ControlError: this BentoML makes its supervisor in another way, so that nobody knows where
            that would listen.
    """
    try:
        circus: Any = importlib.import_module("bentoml._internal.utils.circus")
        conflict: Any = importlib.import_module("circus.exc").ConflictError
        # The function that is called for one looks its class up by this name, when it is called.
        known = circus.Arbiter and "Arbiter" in circus.create_standalone_arbiter.__code__.co_names
    except (ImportError, AttributeError):
        known = False
    if not known:
        raise ControlError(
            f"BentoML {version('bentoml')} may take orders of every user of this machine, and has "
            "no place where that can be closed: install bentoml==1.4.40, which has."
        )
    seconds = longest_end(settings)

    class Arbiter(circus.Arbiter):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            short = len(tempfile.gettempdir()) <= _SHORT
            folder = Path(tempfile.mkdtemp(prefix="alexnet-", dir=None if short else "/tmp"))
            options["endpoint"] = f"ipc://{folder}/orders"
            options["pubsub_endpoint"] = f"ipc://{folder}/events"
            super().__init__(*arguments, **options)
            self.exit_stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self.hung = False
            for watcher in self.watchers:
                watcher.graceful_timeout = seconds
                watcher.hooks["after_signal"] = self.after_signal
                watcher.hooks["after_reap"] = self.after_reap

        def start(self, cb: Any = None) -> None:
            super().start(cb)
            if self.hung:
                raise SystemExit(os.EX_SOFTWARE)

        def stop(self) -> Any:
            try:
                return super().stop()
            except conflict:
                if not self._stopping:  # else it is what goes on already
                    self.loop.call_later(_AGAIN, self.stop)
                return None

        def after_signal(self, *, pid: int, signum: int, **_: Any) -> None:
            if signum == signal.SIGKILL:
                _logger.critical("Worker %s has not ended within %g s: it is killed", pid, seconds)

        def after_reap(self, *, exit_code: int | None, **_: Any) -> None:
            if self._stopping and exit_code not in _CLEAN:
                self.hung = True

    circus.Arbiter = Arbiter
