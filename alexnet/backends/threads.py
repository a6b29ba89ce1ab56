"""How many threads a runtime may start when nobody said how many."""

from __future__ import annotations

import os
from pathlib import Path

from alexnet.machine import cores

# Logical cores name those that share a physical one with them.
_CPUS, _SIBLINGS = Path("/sys/devices/system/cpu"), "cpu[0-9]*/topology/thread_siblings_list"


def within_cores(threads: int | None, *, own: int | None = None) -> int | None:
    """`threads`; where that is None, `cores()` if the runtime would start more by itself.

    Runtimes count the machine's cores, and some of them those that the process is pinned to, but
    not a container's quota: threads beyond it are stopped in the middle of a layer, for which the
    others wait.

    Args:
        threads: what was asked for.
        own: threads that the runtime would start; None: one for each physical core.

    Returns:
        How many to ask the runtime for; None leaves it to the runtime.
    """
    if threads is not None:
        return threads
    allowed = cores()
    return allowed if allowed < (own or _physical_cores()) else None


def _physical_cores() -> int:
    """Of the whole machine, whatever this process may use of it; logical ones where not Linux."""
    try:
        siblings = {file.read_text("utf-8") for file in _CPUS.glob(_SIBLINGS)}
    except OSError:
        siblings = set()
    return len(siblings) or os.cpu_count() or 1
