"""What a number was measured on: the machine, the versions, and what else was running."""

from __future__ import annotations

import datetime
import os
import platform
from typing import Any

from alexnet.machine import cores, cpu_model, versions

# Distributions whose versions change a measurement.
_PACKAGES = (
    *("torch", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt"),
    *("numpy", "pillow"),
)


def conditions(device: str = "cpu") -> dict[str, Any]:
    """Processor, memory, system, versions and load, as JSON values; unknown ones are None."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cores": cores(),
        "memory_gib": memory_gib(),
        "gpu": gpu_model(device),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "system": platform.platform(),
        "load_average": load_average(),
        "versions": versions(*_PACKAGES),
    }


def one_line(machine: dict[str, Any]) -> str:
    """The machine in words, for people."""
    parts = [
        machine["cpu"],
        f"{machine['cores']} cores",
        None if machine["memory_gib"] is None else f"{machine['memory_gib']} GiB",
        machine["gpu"],
        *(f"{name} {version}" for name, version in machine["versions"].items()),
        None if machine["load_average"] is None else f"load {machine['load_average']:g} before",
        machine["date"],
    ]
    return ", ".join(part for part in parts if part)


def memory_gib() -> float | None:
    """Main memory in GiB, to one decimal."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
    return round(size / 2**30, 1)


def gpu_model(device: str) -> str | None:
    """The name of the GPU behind `cuda` or `cuda:N`; None for `cpu`."""
    if device == "cpu":
        return None
    import torch

    return str(torch.cuda.get_device_name(device)) if torch.cuda.is_available() else None


def load_average() -> float | None:
    """Processes that ran or wanted to, averaged over the last minute."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None
