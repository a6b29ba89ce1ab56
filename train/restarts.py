"""What a restart by torchrun must know of a run: that it is its own, and that it diverged.

    launch.json    torchrun's id of the launch that has the run under way
    diverged.json  where the loss or the weights were lost

torchrun starts its processes again whatever they ended with: a process that was killed, a folder
that holds another run, a loss that is no number. Only the first is mended by going on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from alexnet.files import write_json
from train.run import RunError


def restarted() -> bool:
    """Whether torchrun has started these processes again after it lost one (--max-restarts)."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


class Restarts:
    """Reads and writes what restarts must know, in a run's folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._launch = folder / "launch.json"
        self._diverged = folder / "diverged.json"

    @property
    def own(self) -> bool:
        """Whether the launch that this process belongs to began the run, or went on with it.

        The launch is known by torchrun's --rdzv-id; on one machine torchrun draws one.
        """
        here = _id()
        return here is not None and _read(self._launch).get("rdzv_id") == here

    def take(self) -> None:
        """Note that this launch has the run now; that it diverged before is forgotten.

        Raises:
            OSError: the folder can't be written.
        """
        self._diverged.unlink(missing_ok=True)
        if _id() is None:
            self._launch.unlink(missing_ok=True)
        else:
            write_json(self._launch, {"rdzv_id": _id()})

    def note_divergence(self, facts: Mapping[str, Any]) -> None:
        """Keep restarts from replaying it; `facts`: epoch, step, rate.

        On a disk that is full there is no note: what the person must read comes after this.
        """
        with suppress(OSError):
            write_json(self._diverged, facts)

    def check(self) -> None:
        """Look whether going on leads anywhere.

        Raises:
            RunError: the run diverged, and from the same checkpoint it would do so again.
        """
        if self._diverged.is_file():
            where = _read(self._diverged)
            raise RunError(
                f"{self.folder} is not gone on with by itself: it diverged in epoch "
                f"{where.get('epoch')}, step {where.get('step')}, at a learning rate of "
                f"{where.get('rate')}, and would again. Start another run with a lower recipe.lr, "
                "or use --resume all the same."
            )


def _id() -> str | None:
    return os.environ.get("TORCHELASTIC_RUN_ID")


def _read(path: Path) -> dict[str, Any]:
    """What a note says; nothing where there is none, or none that can be read."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text("utf-8"))
        if isinstance(found, dict):
            return found
    return {}
