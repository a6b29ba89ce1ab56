"""The TensorRT plugins' code on a GPU, without TensorRT. `scripts/on_gpu.sh` runs it.

The PTX that an engine would hold is loaded by the CUDA driver and launched as TensorRT would launch
it: input, integer, output, with the plugin's grid. Values are compared with the reference in
float64. Exits with 1 where they differ; without a GPU nothing is run, and the result says so.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import math
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet.config import LRNConfig, PoolConfig
from alexnet.console import sentences
from alexnet.errors import MissingPackageError
from alexnet.files import check_output_file, write_json
from alexnet.lrn.launch import Launch
from alexnet.lrn.reference import local_response_norm
from export.plugin_kernels import Kernel, Maps, kernel_for

# Largest relative error of a value, beside what rounding the result to its type costs.
TYPES = {
    "fp32": (torch.float32, 2e-6),
    "fp16": (torch.float16, 2**-10),
    "bf16": (torch.bfloat16, 2**-7),
}
# Maps, side, columns, constants.
LAYERS = {
    "conv1": (96, 55, 2, LRNConfig()),
    "conv2": (256, 27, 2, LRNConfig(alpha_of="mean")),
    "conv2 of caffe": (256, 27, 1, LRNConfig(alpha_of="mean", k=1.0)),
    "few maps": (24, 9, 2, LRNConfig(size=3, alpha=0.01, beta=0.5)),
}
# The batch that the engine is tuned for, and the one that is launched.
BATCHES = ((8, 8), (8, 3), (1, 40))
GUARD = 4096


class Driver:
    """The CUDA driver in the context that PyTorch has made."""

    device = "cuda"

    def __init__(self) -> None:
        torch.zeros(1, device=self.device)
        self.library = ctypes.CDLL("libcuda.so.1")

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the driver; anything but success is an error."""
        code = getattr(self.library, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self.library.cuGetErrorString(code, ctypes.byref(text))
            raise RuntimeError(f"{name}: {(text.value or b'?').decode()}")

    def launch(self, kernel: Kernel, launch: Launch, maps: Tensor, output: Tensor) -> None:
        """Launch the plugin's kernel for as many photos as `output` has, and wait."""
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuModuleLoadData", ctypes.byref(module), kernel.ptx.encode() + b"\0")
        self.call("cuModuleGetFunction", ctypes.byref(function), module, kernel.name.encode())
        positions = output.shape[0] * output.shape[2] * output.shape[3]
        blocks = -(-positions // int(launch.constants["BLOCK"]))
        values = [
            ctypes.c_void_p(maps.data_ptr()),
            ctypes.c_int32(positions),
            ctypes.c_void_p(output.data_ptr()),
        ]
        pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        sizes = (blocks, launch.grid[1], 1, kernel.threads, 1, 1, kernel.shared)
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        self.call("cuLaunchKernel", function, *sizes, stream, pointers, None)
        torch.cuda.synchronize()
        self.call("cuModuleUnload", module)


def check(
    driver: Driver,
    layer: str,
    kind: str,
    *,
    channels_last: bool,
    pool: PoolConfig | None,
    target: int,
) -> dict[str, Any]:
    """One plugin on one layer, in all batches: the largest relative error."""
    channels, side, columns, config = LAYERS[layer]
    dtype, allowed = TYPES[kind]
    layout = torch.channels_last if channels_last else torch.contiguous_format
    worst = 0.0
    for tuned, batch in BATCHES:
        kernel, launch = kernel_for(
            Maps(shape=(tuned, channels, side, side), kind=kind, channels_last=channels_last),
            config,
            columns=columns,
            pool=pool,
            target=target,
        )
        maps = 67 * torch.randn(batch, channels, side, side, device=driver.device)
        maps = maps.to(dtype).contiguous(memory_format=layout)
        expected = _expected(maps.double(), config, columns=columns, pool=pool)
        # What lies behind the output must stay as it was.
        memory = torch.full((expected.numel() + GUARD,), -1.0, dtype=dtype, device=driver.device)
        strides = torch.empty_like(expected, memory_format=layout).stride()
        output = memory.as_strided(expected.shape, strides)
        driver.launch(kernel, launch, maps, output)
        if not bool((memory[-GUARD:] == -1).all()):
            raise RuntimeError(f"{layer}: values were written behind the output")
        error = (output.double() - expected).abs() / expected.abs().clamp_min(1e-3)
        worst = max(worst, float(error.nan_to_num(nan=math.inf).max()))
    return {"status": "ok" if worst <= allowed else "failed", "error": worst, "allowed": allowed}


def _expected(maps: Tensor, config: LRNConfig, *, columns: int, pool: PoolConfig | None) -> Tensor:
    """The reference in float64; with a pool, of what passes ReLU."""
    if pool is None:
        return local_response_norm(maps, config, columns=columns)
    normalised = local_response_norm(maps.relu(), config, columns=columns)
    return F.max_pool2d(normalised, pool.size, pool.stride, ceil_mode=pool.ceil)


def run_all(driver: Driver, *, target: int) -> dict[str, Any]:
    """Every layer, type and layout, of both plugins; what failed has its reason."""
    found = {}
    pools = {"AlexNetLRN": None, "AlexNetReluLRNPool": PoolConfig()}
    for layer, kind, last, plugin in itertools.product(LAYERS, TYPES, (False, True), pools):
        name = f"{plugin}, {layer}, {kind}, {'channels last' if last else 'NCHW'}"
        try:
            pool = pools[plugin]
            result = check(driver, layer, kind, channels_last=last, pool=pool, target=target)
        except RuntimeError as error:
            result = {"status": "failed", "reason": str(error)}
        found[name] = result
        print(f"{name}: {result}", flush=True)
    return found


def main() -> int:
    """Run everything that can be run here, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/plugin.json"))
    options = parser.parse_args()
    check_output_file(options.out)
    if not torch.cuda.is_available():
        print("not run: there is no GPU here")
        write_json(options.out, {"status": "not run", "reason": "there is no GPU here"})
        return 0
    try:
        major, minor = torch.cuda.get_device_capability()
        found = run_all(Driver(), target=10 * major + minor)
    except MissingPackageError as error:
        print(f"not run: {error}")
        write_json(options.out, {"status": "not run", "reason": str(error)})
        return 0
    failed = any(result["status"] == "failed" for result in found.values())
    device = torch.cuda.get_device_name()
    write_json(
        options.out,
        {"status": "failed" if failed else "ok", "device": device, "checks": found},
    )
    return int(failed)


if __name__ == "__main__":
    with sentences("gpu_plugin"):
        sys.exit(main())
