"""What this machine lets the process use, and the versions that run on it."""

from __future__ import annotations

import ctypes
import importlib.metadata
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path

from alexnet import __version__

# M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_TOP_PAD of <malloc.h>. 32 MB is the most that the first
# may be: larger blocks are mapped anew each time.
_KEEP_MEMORY = {-3: 32 * 2**20, -1: 2**31 - 1, -2: 256 * 2**20}

# The instructions by which ONNX Runtime and OpenVINO multiply in a precision, the fastest first: by
# the kernel's names for them (/proc/cpuinfo), and as people call them. Neither runtime multiplies
# in float16 on x86, whatever the CPU has.
_INSTRUCTIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "fp32": (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("sse2", "SSE2"), ("asimd", "NEON")),
    "fp16": (("asimdhp", "NEON's float16"),),
    "bf16": (
        ("amx_bf16", "AMX bf16"),
        ("avx512_bf16", "AVX-512 BF16"),
        ("bf16", "NEON's bf16"),
    ),
    "int8": (
        ("amx_int8", "AMX int8"),
        ("avx512_vnni", "AVX-512 VNNI"),
        ("avx_vnni", "AVX-VNNI"),
        ("i8mm", "NEON's i8mm"),
        ("asimddp", "NEON's dot products"),
    ),
}
# What macOS calls them (`sysctl hw.optional`), and Linux.
_OF_MACOS = {
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.avx512vnni": "avx512_vnni",
    "hw.optional.neon": "asimd",
    "hw.optional.neon_fp16": "asimdhp",
    "hw.optional.arm.FEAT_FP16": "asimdhp",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
}
# What a limit of ONEDNN_MAX_CPU_ISA forbids, by the beginnings of names.
_BEYOND: dict[tuple[str, ...], tuple[str, ...]] = {
    ("SSE41", "AVX", "AVX2"): ("avx512", "avx_vnni", "amx"),
    ("AVX2_VNNI", "AVX2_VNNI_2"): ("avx512", "amx"),
    ("AVX512_CORE",): ("avx512_vnni", "avx512_bf16", "avx_vnni", "amx"),
    ("AVX512_CORE_VNNI",): ("avx512_bf16", "amx"),
}
_WITHOUT = {
    "fp16": "This CPU does not multiply in fp16: an fp16 graph is computed in float32, with casts "
    "around every layer, and is slower than a float32 graph.",
    "bf16": "This CPU has no bf16 instructions: a bf16 graph is slower here than a float32 graph.",
    "int8": "This CPU has no instructions for sums of int8 products (VNNI): an int8 graph is "
    "hardly faster here than a float32 graph.",
}


def cores() -> int:
    """Logical cores that this process may use: fewer than the machine's where it is pinned to some,
    or where a container's quota gives it so much time of them."""
    if hasattr(os, "sched_getaffinity"):
        found = len(os.sched_getaffinity(0))
    else:
        found = os.cpu_count() or 1
    quota = cpu_quota()
    return found if quota is None else max(1, min(found, math.ceil(quota)))


def cpu_quota(
    own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> float | None:
    """Cores' worth of processor time that Linux lets this process have; None: all that there is.

    Args:
        own: names this process's control groups, a line a hierarchy.
        root: where they are files: `cpu.max` (version 2), or `cpu.cfs_quota_us` (version 1).
    """
    try:
        lines = own.read_text("utf-8").splitlines()
    except OSError:
        return None  # not Linux
    quotas = []
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds and "cpu" not in kinds.split(","):
            continue
        top = root / kinds if kinds else root
        # A container may see its own group only, as the top.
        for folder in {top, *(top / part for part in _with_parents(path))}:
            quotas += [quota for quota in (_quota(folder),) if quota is not None]
    return min(quotas, default=None)


def _with_parents(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part]
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _quota(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text("utf-8").split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text("utf-8") for name in ("quota", "period")
            )
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None  # no limit is `max` in version 2 and -1 in version 1


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


def cpu_features(
    cpuinfo: Path = Path("/proc/cpuinfo"), *, sysctl: str | None = None
) -> frozenset[str] | None:
    """Instruction sets of the CPU, by Linux's names: `avx2`, `avx512_vnni`, `asimddp`, ...

    Args:
        cpuinfo: where Linux lists them.
        sysctl: what `sysctl hw.optional` prints on macOS; None: ask it.

    Returns:
        The names; None where the system tells none (Windows).
    """
    try:
        for line in cpuinfo.read_text("utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("flags", "Features"):  # x86, ARM
                return _allowed(frozenset(value.split()))
    except OSError:
        pass  # not Linux
    if sysctl is None and sys.platform == "darwin":
        sysctl = subprocess.run(
            ["/usr/sbin/sysctl", "hw.optional"], capture_output=True, text=True, check=False
        ).stdout
    pairs = [line.partition(":") for line in (sysctl or "").splitlines()]
    found = {name for name, _, value in pairs if value.strip() == "1"}
    return frozenset(_OF_MACOS[name] for name in found & set(_OF_MACOS)) or None


def _allowed(features: frozenset[str]) -> frozenset[str]:
    """Those that ONEDNN_MAX_CPU_ISA lets OpenVINO and PyTorch use, as if the CPU had no others."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").strip().upper()
    beyond = next((names for isas, names in _BEYOND.items() if limit in isas), ())
    return frozenset(name for name in features if not name.startswith(beyond))


def cpu_instructions(precision: str, features: Set[str] | None = None) -> str | None:
    """The instructions by which this CPU multiplies in a precision, as people call them.

    Args:
        precision: `fp32`, `fp16`, `bf16` or `int8`.
        features: of the CPU, as `cpu_features` gives them; None: of this one.

    Returns:
        `AVX-512 VNNI`, say; None where it has none, or the system does not tell.
    """
    features = (cpu_features() or frozenset()) if features is None else features
    return next((words for name, words in _INSTRUCTIONS[precision] if name in features), None)


def precision_note(precision: str, features: Set[str] | None = None) -> str | None:
    """What this CPU makes of a model in a precision that it has no instructions for: a sentence.

    docs/results.md has the measurements behind it.

    Args:
        precision: `fp32`, `fp16`, `bf16` or `int8`.
        features: as in `cpu_instructions`.

    Returns:
        The sentence; None where the CPU has such instructions, or the system does not tell.
    """
    features = cpu_features() if features is None else features
    if features is None or cpu_instructions(precision, features) is not None:
        return None
    return _WITHOUT.get(precision)


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


class _SignalStack(ctypes.Structure):
    """`stack_t` of Linux's <signal.h>."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def keep_signal_stack() -> Iterator[None]:
    """Leave this thread the stack on which its signals are handled, on Linux.

    OpenVINO's CPU plugin gives the thread that loads it another one, and frees the memory of that
    in whatever thread the model is freed: from then on the first SIGTERM or SIGINT with a handler
    ends the process with a segmentation fault (2026.4). Python's own stack is large enough.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    before, sigaltstack = _SignalStack(), ctypes.CDLL(None).sigaltstack
    sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        sigaltstack(ctypes.byref(before), None)


def versions(*packages: str) -> dict[str, str]:
    """Versions of alexnet, Python and `packages`; those that are not installed are left out."""
    found = {"alexnet": __version__, "python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
