"""What this machine lets the process use, and the versions that run on it."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
from pathlib import Path

from alexnet import __version__

# M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_TOP_PAD of <malloc.h>. 32 MB is the most that the first
# may be: larger blocks are mapped anew each time.
_KEEP_MEMORY = {-3: 32 * 2**20, -1: 2**31 - 1, -2: 256 * 2**20}


def cores() -> int:
    """Logical cores that this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    """The processor's name, as the kernel tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def share_cores() -> None:
    """Let PyTorch's threads sleep while they wait; call it before torch is imported.

    By default they spin. Two threads on two cores that something else uses too then trained at 157
    photos a second in place of 290; on an idle machine spinning gains a seventh. A value of
    OMP_WAIT_POLICY in the environment is kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def quiet_native_code() -> None:
    """Keep warnings of PyTorch's C++ parts from the terminal; call it before torch is imported.

    They are written for developers, and each process prints its own. A value of
    TORCH_CPP_LOG_LEVEL in the environment is kept.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def keep_memory() -> None:
    """Let the C library keep memory that is freed, where it is glibc; nothing elsewhere.

    A training step frees and takes again hundreds of megabytes, and each page that the system hands
    out anew costs a fault: on two cores `mini` trained 1.25 to 1.45 times as fast so. The process
    does not shrink until it has 2 GB to return, and grows by 256 MB at a time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for parameter, value in _KEEP_MEMORY.items():
        mallopt(parameter, value)


def versions(*packages: str) -> dict[str, str]:
    """Versions of alexnet, Python and `packages`; those that are not installed are left out."""
    found = {"alexnet": __version__, "python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
