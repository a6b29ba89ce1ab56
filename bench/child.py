"""One of this project's commands as a process of its own, watched while it runs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

from alexnet.errors import AlexNetError
from bench.process_tree import Watch


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A command that has ended well."""

    stdout: str
    stderr: str
    seconds: float
    """From before its start until after its end."""
    peak_mib: float | None
    """The most memory that was seen, of its own children, too."""


class ChildError(AlexNetError):
    """A command failed; the sentence is its own."""


def run_child(module: str, *arguments: str | os.PathLike[str], name: str) -> Finished:
    """Run `python -m MODULE ARGUMENTS` and wait for its end.

    Args:
        module: the room whose command it is.
        arguments: the command line.
        name: what people call the command.

    Raises:
        ChildError: it ended with another exit code than 0.
    """
    command = [sys.executable, "-m", module, *(os.fspath(word) for word in arguments)]
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as child:
            watch = Watch(child.pid, every=0.2)
            try:
                assert child.stdout is not None
                stdout = child.stdout.read().decode("utf-8", "replace")
                code = child.wait()
                seconds = time.perf_counter() - began
            except BaseException:
                child.terminate()
                raise
            finally:
                watch.stop()
        said.seek(0)
        stderr = said.read().decode("utf-8", "replace")
    lines = stderr.strip().splitlines()
    if code != 0:
        how = f"exit code {code}" if code > 0 else f"signal {-code}"
        raise ChildError(f"{name} ended with {how}: {lines[-1] if lines else 'it said nothing.'}")
    return Finished(stdout=stdout, stderr=stderr, seconds=seconds, peak_mib=watch.peak())
