"""Backends: each runs the deployed function of a model file. `open_backend` picks one by the file.

A runtime (PyTorch, ONNX Runtime, OpenVINO, TensorRT) is imported when a backend of it is opened,
not before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from alexnet.backends.base import ArtifactInfo, Backend, BackendError, Mode, warm_up
from alexnet.backends.choice import BACKENDS, Choice, choose, cpu_note
from alexnet.config import Views

__all__ = [
    "BACKENDS",
    "ArtifactInfo",
    "Backend",
    "BackendError",
    "Choice",
    "Mode",
    "choose",
    "open_backend",
    "warm_up",
]


def open_backend(
    path: str | os.PathLike[str] | None = None,
    *,
    backend: str = "auto",
    views: Views | None = None,
    threads: int | None = None,
    device: str | None = None,
    mode: Mode = "latency",
    compiled: bool = False,
    explain: Callable[[str], object] | None = None,
) -> Backend:
    """Load a model file, ready to run.

    Args:
        path: a checkpoint or an exported file; None is the small model that ships.
        backend: a name of `BACKENDS`, or `auto`: the one that runs files with this ending; of the
            two for graphs, the one that the graph was exported for, and for a portable one on a CPU
            OpenVINO where it is installed.
        views: None is the file's own (a checkpoint's: `ten`). Only a checkpoint can take others.
        threads: CPU threads; None leaves it to the runtime, up to the cores that this process may
            use (`alexnet.machine.cores`), or is one per core with `throughput`.
            For PyTorch, threads of a run are a setting of the whole process
            (`torch.set_num_threads`).
        device: `cpu`, `cuda` or `cuda:N`; None is the CPU, and a GPU for an engine, which runs
            nowhere else.
        mode: `latency`: one call at a time, all threads on it. `throughput`: calls from
            `Backend.streams` threads side by side, on a thread each; a GPU makes no difference.
        compiled: let PyTorch compile the network on the CPU: minutes at most to open, then faster.
        explain: is given one sentence that says which backend runs the file and why, before it is
            loaded; and another where this CPU has no instructions for the file's precision.

    Raises:
        AlexNetError: the file is missing, damaged or foreign, or a request can't be met; the
            sentence says which.
    """
    file = _shipped_model() if path is None else Path(path)
    choice = choose(file, backend, device=device or "cpu")
    name = choice.name
    if threads is not None and threads < 1:
        raise BackendError(f"A backend needs at least 1 thread, not {threads}.")
    if compiled and name != "torch":
        raise BackendError(f"Only PyTorch compiles, and {file} runs on {name}.")
    if explain is not None:
        explain(choice.reason)
        note = cpu_note(file, name) if device in (None, "cpu") else None
        if note is not None:
            explain(note)
    if name == "tensorrt":
        from alexnet.backends.tensorrt import TensorRTBackend

        return TensorRTBackend(file, views=views, device=device or "cuda")
    device = device or "cpu"
    if name == "torch":
        from alexnet.backends.pytorch import TorchBackend

        return TorchBackend(
            file, views=views, threads=threads, device=device, mode=mode, compiled=compiled
        )
    if name == "openvino":
        from alexnet.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(file, views=views, threads=threads, device=device, mode=mode)
    from alexnet.backends.onnx_runtime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(file, views=views, threads=threads, device=device, mode=mode)


def _shipped_model() -> Path:
    from alexnet.checkpoint import shipped_model  # here, so that a graph runs without PyTorch

    return shipped_model()
