"""The trial of the model before any worker is started, in a process of its own, with a time limit.

As a script, `python -m serve.trial`, it opens and tries the model of the environment's settings and
exits with 0, or with 1 after a sentence.
"""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from alexnet.child_process import environment, python_module
from alexnet.errors import AlexNetError
from serve.settings import read_settings, variable

# Seconds that a process which was killed has for ending: one that waits for a dead disk never does.
_GONE = 5.0
# Exit code of a process that SIGTERM ended, as a shell reports it.
_TERMINATED = 128 + signal.SIGTERM


class TrialError(AlexNetError):
    """A model that can't be opened, gives no answer, or takes too long for it."""


def try_model(*, seconds: float, command: Sequence[str] | None = None) -> None:
    """Open the model in another process and let it answer once.

    A worker that fails would be started again and again, so it is tried before there is any. What
    ends this process meanwhile, SIGTERM or Ctrl-C, ends the other one too.

    Args:
        seconds: that it may take.
        command: what opens and tries it; None: this module.

    Raises:
        TrialError: it can't be opened, or not in time; the message is the sentence.
    """
    trial = subprocess.Popen(
        command or python_module("serve.trial"),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with _ending_by_exception():
            said, complained = trial.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        _kill(trial)
        raise TrialError(
            f"The model has not opened and answered within {seconds:g} seconds: "
            f"{variable('start_timeout')} gives it more."
        ) from error
    except BaseException:
        _kill(trial)
        raise
    if trial.returncode < 0:
        raise TrialError(
            f"Opening the model was ended by signal {-trial.returncode}: it may take more memory "
            "than there is."
        )
    if trial.returncode != 0:
        raise TrialError((said or complained).strip())


def _kill(trial: subprocess.Popen[str]) -> None:
    trial.kill()
    with suppress(subprocess.TimeoutExpired):
        trial.wait(_GONE)


@contextmanager
def _ending_by_exception() -> Iterator[None]:
    """SIGTERM as SystemExit, as Ctrl-C is KeyboardInterrupt: both come to the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(_: int, frame: FrameType | None) -> None:
        sys.exit(_TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _main() -> None:
    from serve.model import ServedModel

    settings = read_settings()
    if hasattr(signal, "alarm"):
        # Its parent kills it sooner, unless that was killed itself; no other process would then.
        signal.alarm(math.ceil(settings.start_timeout) + 1)
    try:
        ServedModel(settings).close()
    except AlexNetError as error:
        print(error)
        sys.exit(1)


if __name__ == "__main__":
    _main()
