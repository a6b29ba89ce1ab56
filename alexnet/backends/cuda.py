"""One GPU as a backend needs it: memory on both sides, a stream, recorded work. By PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from alexnet.backends.base import BackendError

Work = Callable[[], None]


class Cuda:
    """A GPU with a stream of its own, on which everything here runs."""

    def __init__(self, index: int) -> None:
        """Take the GPU `cuda:index`.

        Raises:
            BackendError: PyTorch finds no such GPU.
        """
        count = torch.cuda.device_count()
        if index >= count:
            raise BackendError(
                f"PyTorch finds {count} CUDA devices, so there is no 'cuda:{index}': an engine "
                "needs an NVIDIA GPU, its driver, and PyTorch with CUDA."
            )
        self.index = index
        self._stream = torch.cuda.Stream(index)  # type: ignore[no-untyped-call]

    @property
    def capability(self) -> str:
        """Compute capability, such as `8.6`."""
        return ".".join(map(str, torch.cuda.get_device_capability(self.index)))

    @property
    def name(self) -> str:
        """The GPU's name."""
        return torch.cuda.get_device_name(self.index)

    @property
    def stream(self) -> int:
        """The stream's handle."""
        return int(self._stream.cuda_stream)

    def host(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """Memory of the CPU that the GPU copies from and to without waiting."""
        return torch.zeros(shape, dtype=dtype, pin_memory=True)

    def device(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """Memory of the GPU."""
        return torch.zeros(shape, dtype=dtype, device=f"cuda:{self.index}")

    def run(self, work: Work) -> None:
        """Put `work` on the stream."""
        with torch.cuda.stream(self._stream):
            work()

    def record(self, work: Work) -> Work:
        """Record `work` without running it; what is returned puts it on the stream as one piece."""
        graph = torch.cuda.CUDAGraph()
        # Other threads of the process may ask the GPU for memory meanwhile.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            work()
        return lambda: self.run(graph.replay)

    def wait(self) -> None:
        """Wait until the stream has done what was put on it."""
        self._stream.synchronize()
