"""What this machine lets the process use, and the versions that run on it."""

from __future__ import annotations

import importlib.metadata
import os
import platform

from alexnet import __version__


def cores() -> int:
    """Logical cores that this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_cores() -> None:
    """Let PyTorch's threads sleep while they wait; call it before torch is imported.

    By default they spin. Two threads on two cores that something else uses too then trained at 157
    photos a second in place of 290; on an idle machine spinning gains a seventh. A value of
    OMP_WAIT_POLICY in the environment is kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def versions(*packages: str) -> dict[str, str]:
    """Versions of alexnet, Python and `packages`; those that are not installed are left out."""
    found = {"alexnet": __version__, "python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
