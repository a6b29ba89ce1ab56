"""OpenVINO runs an exported graph on the CPU."""

from __future__ import annotations

import queue
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.backends.base import ArtifactInfo, BackendError, Mode
from alexnet.backends.graph import GraphBackend
from alexnet.backends.openvino_cache import Compiled, compile_cached
from alexnet.backends.threads import within_cores
from alexnet.config import Views
from alexnet.errors import optional_import
from alexnet.machine import cores, cpu_features, cpu_instructions


class OpenVinoBackend(GraphBackend):
    """An `.onnx` file on the CPU. Threads may share it.

    It computes in float32 unless the file is for bf16, or for int8 with bf16 for the layers that
    are not quantised. A processor without bf16 computes those in float32.

    OpenVINO compiles for a number of photos, which is a twentieth faster than for any number. There
    are two: photos go in fours, and what is left one by one. The mode's own is compiled at once
    (`latency`: one, `throughput`: four), the other when it is first needed.
    """

    SIZES = (4, 1)
    name = "openvino"

    def __init__(
        self,
        path: Path,
        *,
        views: Views | None = None,
        threads: int | None = None,
        device: str = "cpu",
        mode: Mode = "latency",
    ):
        """See `alexnet.backends.open_backend`."""
        if device != "cpu":
            raise BackendError(f"The backend openvino runs on the CPU: take cpu, not '{device}'.")
        self._threads = within_cores(threads)
        self.streams = (threads or cores()) if mode == "throughput" else 1
        self._models: dict[int, _Model] = {}
        self._open, self._compiling = True, threading.Lock()
        super().__init__(path, views=views)

    def close(self) -> None:
        """Free the model, once what runs has ended."""
        with self._compiling:
            self._open = False
            models, self._models = self._models, {}
        for model in models.values():
            model.close()

    @property
    def precision(self) -> str:
        """What layers that are not quantised are computed in: `f32` or `bf16`.

        Raises:
            BackendError: the model is closed.
        """
        return self._model(self._own).precision

    def _load(self) -> None:
        self._own = 1 if self.streams == 1 else self.SIZES[0]
        self._model(self._own)

    def _outputs(self, photos: NDArray[np.uint8], names: list[str]) -> list[NDArray[np.float32]]:
        parts, start = [], 0
        while start < len(photos):
            size = self.SIZES[0] if len(photos) - start >= self.SIZES[0] else 1
            answers = self._model(size)(photos[start : start + size])
            if answers is None:
                raise self._closed()
            parts.append(answers)
            start += size
        return [np.concatenate([part[name] for part in parts]) for name in names]

    def _model(self, size: int) -> _Model:
        """The model for so many photos a call, compiled now where it is not there yet."""
        model = self._models.get(size)
        if model is not None:
            return model
        with self._compiling:
            if not self._open:
                raise self._closed()
            if size not in self._models:
                self._models[size] = self._compiled(size)
            return self._models[size]

    def _compiled(self, size: int) -> _Model:
        openvino = load_openvino()
        config = settings(self.info, threads=self._threads, streams=self.streams)
        try:
            compiled = compile_cached(openvino, self.info.path, config, batch=size)
            return _Model(compiled, streams=self.streams)
        except RuntimeError as error:
            raise BackendError(
                f"{self.info.path} is not a whole ONNX model that this OpenVINO "
                f"{openvino.get_version().split('-')[0]} can run: {_reason(error)}."
            ) from error


# Calls that begin side by side before any has ended can wait for each other for ever: one holds the
# GIL and wants what OpenVINO's bindings set up once, the other sets it up and wants the GIL.
_first_call, _was_called = threading.Lock(), threading.Event()


def _infer(request: Any, photos: NDArray[np.uint8]) -> Any:
    """The outputs of a request; the first call of this process runs alone."""
    with nullcontext() if _was_called.is_set() else _first_call:
        answers = request.infer({"photos": photos})
    _was_called.set()
    return answers


class _Model:
    """A compiled model and its requests, each for one caller at a time; the others wait."""

    def __init__(self, compiled: Compiled, *, streams: int) -> None:
        self.compiled = compiled
        self.precision = str(
            compiled.model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        )
        self._streams = streams
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(streams):
            self._free.put(compiled.model.create_infer_request())

    def __call__(self, photos: NDArray[np.uint8]) -> Any:
        """The outputs by their names, copies of OpenVINO's; None once it is closed."""
        request = self._free.get()
        try:
            return None if request is None else _infer(request, photos)
        finally:
            self._free.put(request)

    def close(self) -> None:
        """Take back every request; whoever waits or comes later gets None."""
        for _ in range(self._streams):
            self._free.get()
        self._free.put(None)


def settings(info: ArtifactInfo, *, threads: int | None, streams: int) -> dict[str, Any]:
    """How OpenVINO compiles the graph.

    Its own choice of precision is the fastest that the processor has, whatever the graph says: on
    many that is bf16, which is 1e-3 off. So it is always named here: bf16 where the file asks for
    it and the processor has instructions for it, else float32.
    """
    rounded = info.precision == "bf16" or (info.precision, info.target) == ("int8", "openvino")
    features = cpu_features()
    if features is not None and cpu_instructions("bf16", features) is None:
        rounded = False  # with AVX-512 alone it would imitate bf16
    config: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": "bf16" if rounded else "f32",
        "EXECUTION_MODE_HINT": "PERFORMANCE" if rounded else "ACCURACY",
        "NUM_STREAMS": streams,
        # Pinned threads of two processes would lie on the same cores and leave others free.
        "ENABLE_CPU_PINNING": False,
    }
    if streams > 1 or threads is not None:
        config["INFERENCE_NUM_THREADS"] = streams if streams > 1 else threads
    return config


def load_openvino() -> ModuleType:
    """OpenVINO without its telemetry, which begins with the import.

    The import alone writes an id and counts to the home folder. It does without where the package
    that sends is not there, and so does NNCF when it is imported after this.

    Raises:
        MissingPackageError: it is not installed.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return optional_import("openvino", extra="openvino")


def _reason(error: Exception) -> str:
    """What OpenVINO says, without the places in its source."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [
        line
        for line in lines
        if line and not line.startswith(("Exception from ", "Check '", "FrontEnd API failed"))
    ]
    return " ".join(told).rstrip(".") or "it does not say why"
