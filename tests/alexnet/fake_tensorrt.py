"""A TensorRT and a GPU that are none: networks run in ONNX Runtime, on memory of the CPU.

What is imitated is the order of calls that the real ones ask for; a call out of order fails.
"""

import ctypes
from types import SimpleNamespace

import numpy as np
import onnxruntime
import torch

from alexnet.backends.onnx_runtime import session_options


class FakeCuda:
    """As alexnet.backends.cuda.Cuda, on the CPU: work on the stream waits until `wait`."""

    stream = 77
    name = "Imaginary GPU"

    def __init__(self, index=0, capability="8.6"):
        self.index, self.capability = index, capability
        self.queue, self.recorded, self.stepwise = [], 0, 0

    def host(self, *shape, dtype):
        return torch.full(shape, 99, dtype=dtype)  # memory holds anything

    device = host

    def run(self, work):
        self.stepwise += 1
        self.queue.append(work)

    def record(self, work):
        assert not self.queue, "recorded while something runs"
        self.recorded += 1
        return lambda: self.queue.append(work)  # recorded, not run

    def wait(self):
        queue, self.queue = self.queue, []
        for work in queue:
            work()


class FakeContext:
    """An execution context; keeps the shape it was last given."""

    def __init__(self, engine):
        self.engine, self.addresses, self.scratch, self.shape = engine, {}, None, None

    def set_device_memory(self, address, size):
        assert size >= self.engine.device_memory_size_v2
        self.scratch = address

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def set_input_shape(self, name, shape):
        least, most = self.engine.batches
        assert name == "photos"
        assert least <= shape[0] <= most
        self.shape = shape

    def is_stream_capturable(self, stream):
        assert stream == FakeCuda.stream
        return self.engine.capturable

    def execute_async_v3(self, stream):
        assert stream == FakeCuda.stream
        assert self.scratch
        if self.engine.fails:
            self.engine.logger.log(1, "out of\n  memory")
            return False
        photos = _memory(self.addresses["photos"], self.shape, ctypes.c_uint8)
        names = [output.name for output in self.engine.session.get_outputs()]
        for name, value in zip(names, self.engine.session.run(None, {"photos": photos}),
                               strict=True):  # fmt: skip
            _memory(self.addresses[name], value.shape, ctypes.c_float)[:] = value
        return True


def _memory(address, shape, kind):
    count = int(np.prod(shape))
    return np.ctypeslib.as_array((kind * count).from_address(address)).reshape(shape)


class FakeEngine:
    """A deserialised engine: its plan is an ONNX file."""

    device_memory_size_v2 = 64

    def __init__(self, library, logger, plan):
        self.session = onnxruntime.InferenceSession(plan, session_options(onnxruntime, threads=1))
        self.logger, self.batches = logger, library.batches
        self.capturable, self.fails = library.capturable, library.fails
        self.contexts = library.contexts

    def create_runtime_config(self):
        self.config = SimpleNamespace(strategy=None)
        self.config.set_execution_context_allocation_strategy = lambda kind: setattr(
            self.config, "strategy", kind
        )
        return self.config

    def create_execution_context(self, config):
        if config is not FakeTensorRT.ExecutionContextAllocationStrategy.USER_MANAGED:
            assert config.strategy is not None
            assert config.dynamic_shapes_kernel_specialization_strategy == "eager"
        self.contexts.append(FakeContext(self))
        return self.contexts[-1]


class FakeTensorRT:
    """The part of the packages tensorrt and tensorrt_rtx that runs engines."""

    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user managed")

    class ILogger:
        ERROR = 1

    def __init__(self, version, *, rtx, batches, capturable=True, fails=False):
        self.__version__, self.batches = version, batches
        self.capturable, self.fails, self.contexts = capturable, fails, []
        if rtx:
            self.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")

    def Runtime(self, logger):  # noqa: N802
        def deserialize_cuda_engine(plan):
            if plan.startswith(b"foreign"):
                logger.log(1, "Serialized engine does\nnot conform")
                logger.log(1, "and more")
                return None
            return FakeEngine(self, logger, plan)

        return SimpleNamespace(deserialize_cuda_engine=deserialize_cuda_engine)
