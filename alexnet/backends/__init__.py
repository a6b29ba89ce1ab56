"""Backends: each runs the deployed function of a model file. `open_backend` picks one by the file.

A runtime (PyTorch, ONNX Runtime, TensorRT) is imported when a backend of it is opened, not before.
"""

from __future__ import annotations

import os
from pathlib import Path

from alexnet.backends.base import ArtifactInfo, Backend, BackendError
from alexnet.config import Views

__all__ = ["BACKENDS", "ArtifactInfo", "Backend", "BackendError", "open_backend"]

BACKENDS = {"torch": ".safetensors", "onnxruntime": ".onnx", "tensorrt": ".engine"}
"""Names of the backends, and the ending of the files that each runs."""


def open_backend(
    path: str | os.PathLike[str] | None = None,
    *,
    backend: str = "auto",
    views: Views | None = None,
    threads: int | None = None,
    device: str | None = None,
) -> Backend:
    """Load a model file, ready to run.

    Args:
        path: a checkpoint or an exported file; None is the small model that ships.
        backend: a name of `BACKENDS`, or `auto`: the one that runs files with this ending.
        views: None is the file's own (a checkpoint's: `ten`). Only a checkpoint can take others.
        threads: CPU threads of one run; None leaves it to the runtime. For PyTorch this is a
            setting of the whole process (`torch.set_num_threads`).
        device: `cpu`, `cuda` or `cuda:N`; None is the CPU, and a GPU for an engine, which runs
            nowhere else.

    Raises:
        AlexNetError: the file is missing, damaged or foreign, or a request can't be met; the
            sentence says which.
    """
    file = _shipped_model() if path is None else Path(path)
    name = _backend_name(file, backend)
    if threads is not None and threads < 1:
        raise BackendError(f"A backend needs at least 1 thread, not {threads}.")
    if name == "torch":
        from alexnet.backends.pytorch import TorchBackend

        return TorchBackend(file, views=views, threads=threads, device=device or "cpu")
    if name == "tensorrt":
        from alexnet.backends.tensorrt import TensorRTBackend

        return TensorRTBackend(file, views=views, device=device or "cuda")
    from alexnet.backends.onnx_runtime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(file, views=views, threads=threads, device=device or "cpu")


def _shipped_model() -> Path:
    from alexnet.checkpoint import shipped_model  # here, so that a graph runs without PyTorch

    return shipped_model()


def _backend_name(file: Path, wanted: str) -> str:
    endings = ", ".join(f"{ending} ({name})" for name, ending in BACKENDS.items())
    fitting = [name for name, ending in BACKENDS.items() if file.suffix == ending]
    if wanted == "auto":
        if not fitting:
            raise BackendError(f"No backend runs {file}: a model file ends in {endings}.")
        return fitting[0]
    if wanted not in BACKENDS:
        raise BackendError(f"There is no backend '{wanted}': choose one of {', '.join(BACKENDS)}.")
    if wanted not in fitting:
        raise BackendError(
            f"The backend {wanted} runs {BACKENDS[wanted]} files, and {file} is not one."
        )
    return wanted
