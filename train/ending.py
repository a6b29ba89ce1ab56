"""SIGTERM, which schedulers send before SIGKILL: a run ends after the step that is under way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from train.trainer import Trainer


@contextmanager
def sigterm_heard(trainer: Trainer) -> Iterator[None]:
    """A block in which SIGTERM asks `trainer` to stop, and ends nothing by itself."""

    def ask(number: int, frame: FrameType | None) -> None:
        trainer.stop_asked = True

    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        if not trainer.stopping:  # else the process ends by itself, however often it is asked
            signal.signal(signal.SIGTERM, before)
