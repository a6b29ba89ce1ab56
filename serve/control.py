"""BentoML's supervisor takes orders at a socket: in a folder of this user's, not for all others.

Whoever reaches it may run any command as the service's user; it asks for no password. BentoML has
it listen on a port of 127.0.0.1, where every user and every container of the host's network is.
"""

from __future__ import annotations

import importlib
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from alexnet.errors import AlexNetError

_SHORT = 60  # of the 108 characters that the address of a socket may have


class ControlError(AlexNetError):
    """A BentoML whose supervisor can't be told where to listen."""


def take_no_orders() -> None:
    """Let the supervisor that this process will start listen in a new folder, closed to others.

    Raises:
        ControlError: this BentoML makes its supervisor in another way, so that nobody knows where
            that would listen.
    """
    try:
        circus: Any = importlib.import_module("bentoml._internal.utils.circus")
        # The function that is called for one looks its class up by this name, when it is called.
        known = circus.Arbiter and "Arbiter" in circus.create_standalone_arbiter.__code__.co_names
    except (ImportError, AttributeError):
        known = False
    if not known:
        raise ControlError(
            f"BentoML {version('bentoml')} may take orders of every user of this machine, and has "
            "no place where that can be closed: install bentoml==1.4.40, which has."
        )

    class Arbiter(circus.Arbiter):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            short = len(tempfile.gettempdir()) <= _SHORT
            folder = Path(tempfile.mkdtemp(prefix="alexnet-", dir=None if short else "/tmp"))
            options["endpoint"] = f"ipc://{folder}/orders"
            options["pubsub_endpoint"] = f"ipc://{folder}/events"
            super().__init__(*arguments, **options)
            self.exit_stack.callback(shutil.rmtree, folder, ignore_errors=True)

    circus.Arbiter = Arbiter
