"""TensorRT runs an engine on a GPU: both flavours, TensorRT's and TensorRT for RTX's."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.backends.base import ArtifactInfo, BackendError, check_photos, cuda_index, no_answers
from alexnet.backends.cuda import Cuda, Work
from alexnet.backends.engine import EngineFacts, read_engine
from alexnet.backends.tensorrt_library import NAMES, load_library, logger_of, reason
from alexnet.config import Views

# Batch sizes that are recorded as CUDA graphs; those that come later are run step by step.
_GRAPHS = 8


class TensorRTBackend:
    """An `.engine` file that `alexnet-export` wrote, on one GPU. Threads may share it.

    Calls run one after the other. More photos than the engine takes at once go in several parts,
    fewer are filled up with black ones.
    """

    name = "tensorrt"
    streams = 1

    def __init__(self, path: Path, *, views: Views | None = None, device: str = "cuda"):
        """See `alexnet.backends.open_backend`."""
        gpu = cuda_index(device)
        self.info, facts = read_engine(path)
        if gpu is None:
            raise BackendError(f"{path} is an engine, which runs on a GPU: take the device cuda.")
        if views is not None and views != self.info.views:
            raise BackendError(
                f"{path} was built with the views '{self.info.views}' and can't take '{views}': "
                f"build it again with --views {views}."
            )
        library = load_library(facts.flavour)
        check_version(facts, str(library.__version__), path)
        cuda = Cuda(gpu)
        check_gpu(facts, cuda, path)
        self._runner: Runner | None = Runner(library, self.info, facts, cuda=cuda)
        self._lock = threading.Lock()

    def run(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (N, classes) of uint8 photos (N, S, S, 3)."""
        check_photos(photos, self.info)
        return self._answers(photos)["probabilities"]

    def run_features(
        self, photos: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities, and fc7 after its ReLU (N, units), averaged over the views."""
        check_photos(photos, self.info)
        if not self.info.has_features:
            raise BackendError(
                f"{self.info.path} was built without features: build it again with --features."
            )
        answers = self._answers(photos)
        return answers["probabilities"], answers["features"]

    def close(self) -> None:
        """Free the engine and its memory on the GPU."""
        with self._lock:
            self._runner = None

    def _answers(self, photos: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        if len(photos) == 0:
            return dict(zip(("probabilities", "features"), no_answers(self.info), strict=True))
        with self._lock:
            runner = self._runner
            if runner is None:
                raise BackendError(f"The model {self.info.path} is closed.")
            most = runner.most
            parts = [
                runner.answers(photos[start : start + most])
                for start in range(0, len(photos), most)
            ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class Runner:
    """An engine on a GPU with memory for its largest batch.

    Each recorded batch size has an execution context of its own, as a recorded graph holds for the
    shapes that its context had; all of them share one piece of working memory, since they run one
    after the other on one stream.
    """

    def __init__(
        self, library: ModuleType, info: ArtifactInfo, facts: EngineFacts, *, cuda: Cuda
    ) -> None:
        self._library, self._cuda, self._path = library, cuda, info.path
        self.least, _, self.most = facts.batch
        side, network = info.config.input.size, info.config.network
        widths = {"probabilities": network.classes}
        if info.has_features:
            widths["features"] = network.fc7.units
        self._logger = logger_of(library)
        self._engine = self._deserialized()
        shape = (self.most, side, side, 3)
        self._photos = [make(*shape, dtype=torch.uint8) for make in (cuda.host, cuda.device)]
        self._outputs = {
            name: [make(self.most, width, dtype=torch.float32) for make in (cuda.host, cuda.device)]
            for name, width in widths.items()
        }
        # One byte where it needs none: an address is asked for all the same.
        size = max(1, int(self._engine.device_memory_size_v2))
        self._scratch = cuda.device(size, dtype=torch.uint8)
        self._launches: dict[int, Work] = {}
        self._spare: Any | None = None

    def answers(self, photos: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """What the engine says of (N, S, S, 3) photos, N from 1 to `most`, by the output's name."""
        count, batch = len(photos), max(len(photos), self.least)
        host = self._photos[0].numpy()
        host[:count] = photos
        host[count:batch] = 0
        if batch not in self._launches and len(self._launches) < _GRAPHS:
            self._launches[batch] = self._launch_of(batch)
        launch = self._launches.get(batch) or self._stepwise(batch)
        launch()
        self._cuda.wait()
        return {name: pair[0][:count].numpy().copy() for name, pair in self._outputs.items()}

    def _deserialized(self) -> Any:
        runtime = self._library.Runtime(self._logger)
        engine = runtime.deserialize_cuda_engine(self._path.read_bytes())
        if engine is None:
            raise BackendError(
                f"{self._path} does not run on {self._cuda.name}: {reason(self._logger)}"
            )
        return engine

    def _launch_of(self, batch: int) -> Work:
        """What runs a batch of this size: recorded, where the engine lets itself be recorded."""
        context = self._context()
        work = partial(self._steps, context, batch)
        self._cuda.run(work)  # once before it is recorded: kernels are loaded or compiled here
        self._cuda.wait()
        capturable = getattr(context, "is_stream_capturable", None)
        if capturable is not None and not capturable(self._cuda.stream):
            return partial(self._cuda.run, work)
        return self._cuda.record(work)

    def _stepwise(self, batch: int) -> Work:
        if self._spare is None:
            self._spare = self._context()
        return partial(self._cuda.run, partial(self._steps, self._spare, batch))

    def _context(self) -> Any:
        strategy = self._library.ExecutionContextAllocationStrategy.USER_MANAGED
        if hasattr(self._library, "DynamicShapesKernelSpecializationStrategy"):  # RTX compiles here
            config = self._engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            # A recorded graph would keep the general kernels that are there until the special ones
            # are compiled: wait for them.
            config.dynamic_shapes_kernel_specialization_strategy = (
                self._library.DynamicShapesKernelSpecializationStrategy.EAGER
            )
            context = self._engine.create_execution_context(config)
        else:
            context = self._engine.create_execution_context(strategy)
        if context is None:
            raise BackendError(f"{self._path} can't be run: {reason(self._logger)}")
        context.set_device_memory(self._scratch.data_ptr(), self._scratch.numel())
        context.set_tensor_address("photos", self._photos[1].data_ptr())
        for name, (_, device) in self._outputs.items():
            context.set_tensor_address(name, device.data_ptr())
        return context

    def _steps(self, context: Any, batch: int) -> None:
        """Photos to the GPU, the network, answers back."""
        host, device = self._photos
        device[:batch].copy_(host[:batch], non_blocking=True)
        context.set_input_shape("photos", (batch, *device.shape[1:]))
        if not context.execute_async_v3(self._cuda.stream):
            raise BackendError(f"{self._path} could not be run: {reason(self._logger)}")
        for host, device in self._outputs.values():
            host[:batch].copy_(device[:batch], non_blocking=True)


def check_version(facts: EngineFacts, installed: str, path: Path) -> None:
    """Raise a `BackendError` unless this version of the library runs the engine.

    It is the one that built it, or, where the engine was made so, a later one.
    """
    if installed == facts.tensorrt:
        return
    name = NAMES[facts.flavour]
    if facts.version_compatible and _numbers(installed) >= _numbers(facts.tensorrt):
        return
    raise BackendError(
        f"{path} was built by {name} {facts.tensorrt}, and {installed} is installed here: build it "
        f"again with this version, or install that one."
    )


def check_gpu(facts: EngineFacts, cuda: Cuda, path: Path) -> None:
    """Raise a `BackendError` where the engine was built for GPUs of other kinds."""
    if not facts.targets or cuda.capability in facts.targets:
        return
    if facts.hardware == "ampere" and _numbers(cuda.capability) >= (8, 0):
        return
    raise BackendError(
        f"{path} was built for compute capability {', '.join(facts.targets)}, and {cuda.name} has "
        f"{cuda.capability}: build it again for this GPU."
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
