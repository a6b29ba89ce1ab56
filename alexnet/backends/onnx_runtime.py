"""ONNX Runtime runs an exported graph on the CPU or a GPU."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.backends.base import BackendError, Mode, cuda_index
from alexnet.backends.graph import GraphBackend, first_line
from alexnet.backends.threads import within_cores
from alexnet.config import Views
from alexnet.errors import optional_import
from alexnet.machine import cores, cpu_instructions

# Of the runtime's severities 0 (verbose) to 4. Errors come as exceptions, and make our sentences.
_FATAL_ONLY = 4
# Shapes whose photos keep their place in the GPU's memory.
_KEPT = 8


class OnnxRuntimeBackend(GraphBackend):
    """An `.onnx` file on the CPU or one GPU. Threads may share it."""

    name = "onnxruntime"
    _session: Any | None = None
    _bound: BoundRun | None = None

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
        self._gpu = cuda_index(device)
        side_by_side = mode == "throughput" and self._gpu is None
        self.streams = (threads or cores()) if side_by_side else 1
        # A GPU computes by itself, whatever the threads.
        alone = threads if self._gpu is not None else within_cores(threads)
        self._threads = 1 if side_by_side else alone
        super().__init__(path, views=views)

    def close(self) -> None:
        """Free the session."""
        self._session = self._bound = None

    def _load(self) -> None:
        path, info = self.info.path, self.info
        if info.target == "openvino" and info.precision == "bf16":
            raise BackendError(
                f"{path} was exported for OpenVINO, which rounds to bf16 as it runs; ONNX Runtime "
                "would compute it in float32: take the backend openvino."
            )
        runtime = load_runtime()
        session = _session(runtime, path, threads=self._threads, gpu=self._gpu)
        self._session = session
        if self._gpu is not None:
            self._bound = BoundRun(runtime, session, device=("cuda", self._gpu))

    def _outputs(self, photos: NDArray[np.uint8], names: list[str]) -> list[NDArray[np.float32]]:
        session = self._session
        if session is None:
            raise self._closed()
        if self._bound is not None:
            return self._bound(photos, names)
        outputs: list[NDArray[np.float32]] = session.run(names, {"photos": photos})
        return outputs


class BoundRun:
    """Runs a session on values that stay in a device's memory, one call after the other.

    Photos are copied to a place that their shape keeps, so that only the first call of a batch size
    (or a shape, of dense answers) asks for memory; answers are copied back once all are computed.
    """

    def __init__(self, runtime: ModuleType, session: Any, *, device: tuple[str, int]) -> None:
        """`device`: `cpu` or `cuda`, and which one."""
        self._runtime, self._session, self._device = runtime, session, device
        self._places: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, photos: NDArray[np.uint8], names: list[str]) -> list[NDArray[np.float32]]:
        """The outputs `names` of uint8 photos (N, S, S, 3)."""
        with self._lock:
            place = self._place(photos.shape)
            place.update_inplace(np.ascontiguousarray(photos))
            binding = self._session.io_binding()
            binding.bind_ortvalue_input("photos", place)
            for name in names:
                binding.bind_output(name, *self._device)
            self._session.run_with_iobinding(binding)
            outputs: list[NDArray[np.float32]] = binding.copy_outputs_to_cpu()
        return outputs

    def _place(self, shape: tuple[int, ...]) -> Any:
        if shape not in self._places:
            value = self._runtime.OrtValue.ortvalue_from_shape_and_type(
                shape, np.uint8, *self._device
            )
            self._places[shape] = value
            if len(self._places) > _KEPT:
                self._places.popitem(last=False)
        self._places.move_to_end(shape)
        return self._places[shape]


def load_runtime() -> ModuleType:
    """The runtime, silent, and without telemetry unless the environment asks for it."""
    telemetry = os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read by the import
    runtime = optional_import("onnxruntime")
    if telemetry.strip().lower() not in ("", "0", "false"):
        runtime.disable_telemetry_events()
    runtime.set_default_logger_severity(_FATAL_ONLY)
    return runtime


def session_options(runtime: ModuleType, *, threads: int | None = None) -> Any:
    """Options of every session of ours: silent, and exact in int8 on every processor.

    Processors with AVX2 or AVX-512 but without VNNI add two products of bytes in 16 bits, which
    are too few for large ones. `session.x64quantprecision` takes other instructions there; with
    VNNI it would only cost time (3 % of mini's ten views, its full layers in int8).

    Args:
        runtime: of `load_runtime`.
        threads: for a layer; None: the runtime's own number.
    """
    options = runtime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    if cpu_instructions("int8") is None:
        options.add_session_config_entry("session.x64quantprecision", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def _session(runtime: ModuleType, path: Path, *, threads: int | None, gpu: int | None) -> Any:
    options = session_options(runtime, threads=threads)
    # Threads spin while a call runs, and give their cores back to whoever decodes at its end.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    providers: list[Any] = ["CPUExecutionProvider"]
    if gpu is not None:
        # TF32 rounds inputs to 10 bits: the answers would differ in the third digit.
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": gpu, "use_tf32": 0}))
        if "CUDAExecutionProvider" not in runtime.get_available_providers():
            raise BackendError(
                "This ONNX Runtime has no CUDA: take the device cpu, or install onnxruntime-gpu."
            )
        import torch  # noqa: F401  (loads the CUDA libraries that come with it, which both need)
    try:
        session = runtime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # the runtime's errors share no base class
        if type(error).__name__ == "NotImplemented":
            raise BackendError(
                f"{path} asks for what this ONNX Runtime {runtime.__version__} has no code for on "
                f"this device: {first_line(error)}; another precision may do."
            ) from error
        raise BackendError(
            f"{path} is not a whole ONNX model that this ONNX Runtime {runtime.__version__} can "
            f"run: {first_line(error)}"
        ) from error
    if gpu is not None and session.get_providers()[0] != "CUDAExecutionProvider":
        raise BackendError(
            f"ONNX Runtime {runtime.__version__} can't use CUDA device {gpu}: it needs a driver, "
            "CUDA and cuDNN of the versions it was built for. Take the device cpu, or install them."
        )
    return session
