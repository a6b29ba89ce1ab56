"""LRN as TensorRT plugins: the project's Triton kernels, compiled into the engine.

`alexnet::AlexNetLRN` and `alexnet::AlexNetReluLRNPool` are what NVIDIA calls quickly deployable
plugins, compiled ahead of time: PTX and launch parameters go into the engine, which then needs
neither Python nor a library beside it. An engine keeps no attributes; all of them, and the sizes of
the maps, become constants of the code. Only the batch is left to the launch.
"""

# No `from __future__ import annotations`: NVIDIA's code reads the annotations as objects.

from functools import cache
from typing import Any

from alexnet.config import LRNConfig, PoolConfig
from alexnet.errors import AlexNetError, optional_import
from alexnet.lrn.launch import Launch
from export.plugin_graph import DOMAIN, LRN, RELU_LRN_POOL, plugin_graph
from export.plugin_kernels import Kernel, Maps, kernel_for

__all__ = ["plugin_graph", "register"]

# What the plugins compile for, where TensorRT asks them to.
_target: list[int] = []


def register(target: int | None = None) -> None:
    """Let TensorRT know both plugins, so that its ONNX parser finds them.

    Args:
        target: compute capability that engines are built for, ten times the major plus the minor;
            later GPUs take code for 80 or 89, too. None: this machine's GPU. The last call decides.

    Raises:
        MissingPackageError: TensorRT is not installed.
        AlexNetError: there is no GPU here, and no target was named.
    """
    optional_import("tensorrt", extra="tensorrt")
    _target[:] = [target or _this_device()]
    _register_both()


@cache
def _register_both() -> None:
    """Once in a process: NVIDIA's registry takes each plugin once."""
    _register_lrn()
    _register_relu_lrn_pool()


def _register_lrn() -> None:
    import tensorrt.plugin as trtp

    name = f"{DOMAIN}::{LRN}"

    def describe(
        maps: trtp.TensorDesc, size: int, coefficient: float, beta: float, k: float, columns: int
    ) -> trtp.TensorDesc:
        return maps.like()

    def tune(
        maps: trtp.TensorDesc, outputs: tuple[trtp.TensorDesc]
    ) -> list[trtp.AutoTuneCombination]:
        return _combinations(maps)

    def implement(
        maps: trtp.TensorDesc,
        size: int,
        coefficient: float,
        beta: float,
        k: float,
        columns: int,
        outputs: tuple[trtp.TensorDesc],
        tactic: int,
    ) -> tuple[str | bytes, str | bytes, trtp.KernelLaunchParams, trtp.SymExprs]:
        config = LRNConfig(size=size, alpha=coefficient, beta=beta, k=k)
        made = kernel_for(_maps(maps), config, columns=columns, target=_target[0])
        return _answer(*made, outputs[0])

    _add(name, describe, tune, implement)


def _register_relu_lrn_pool() -> None:
    import tensorrt.plugin as trtp

    name = f"{DOMAIN}::{RELU_LRN_POOL}"

    def describe(
        maps: trtp.TensorDesc,
        size: int,
        coefficient: float,
        beta: float,
        k: float,
        columns: int,
        pool_size: int,
        pool_stride: int,
        pool_spill: int,
    ) -> trtp.TensorDesc:
        batch, channels, *sides = maps.shape_expr
        sides = [_pooled_side(side, pool_size, pool_stride, pool_spill) for side in sides]
        return trtp.from_shape_expr((batch, channels, *sides), maps.dtype)

    def tune(
        maps: trtp.TensorDesc, outputs: tuple[trtp.TensorDesc]
    ) -> list[trtp.AutoTuneCombination]:
        return _combinations(maps)

    def implement(
        maps: trtp.TensorDesc,
        size: int,
        coefficient: float,
        beta: float,
        k: float,
        columns: int,
        pool_size: int,
        pool_stride: int,
        pool_spill: int,
        outputs: tuple[trtp.TensorDesc],
        tactic: int,
    ) -> tuple[str | bytes, str | bytes, trtp.KernelLaunchParams, trtp.SymExprs]:
        config = LRNConfig(size=size, alpha=coefficient, beta=beta, k=k)
        # The graph is padded behind exactly where the network rounds its windows up.
        pool = PoolConfig(size=pool_size, stride=pool_stride, ceil=pool_spill > 0)
        made = kernel_for(_maps(maps), config, columns=columns, pool=pool, target=_target[0])
        return _answer(*made, outputs[0])

    _add(name, describe, tune, implement)


def _add(name: str, describe: Any, tune: Any, implement: Any) -> None:
    """Register one plugin; NVIDIA's code checks each function's signature."""
    import tensorrt.plugin as trtp

    trtp.register(name)(describe)
    trtp.autotune(name)(tune)
    trtp.aot_impl(name)(implement)


def _pooled_side(side: Any, size: int, stride: int, spill: int) -> Any:
    """Windows along a side, an integer or TensorRT's expression, padded by `spill` behind."""
    return (side + (spill - size)) // stride + 1


def _combinations(maps: Any) -> list[Any]:
    """Types and layouts that the kernels take; what comes out is as what goes in.

    HWC8 pads the maps to a multiple of eight. Where there is nothing to pad it is channels-last
    memory like HWC, and the one that TensorRT's half-precision convolutions like best.
    """
    import tensorrt.plugin as trtp

    both = [("FP32|FP16|BF16", "LINEAR"), ("FP32|FP16|BF16", "HWC")]
    if maps.shape[1] % 8 == 0:
        both.append(("FP16|BF16", "HWC8"))
    return [
        trtp.AutoTuneCombination(f"{types}, {types}", f"{layout}, {layout}")
        for types, layout in both
    ]


def _maps(maps: Any) -> Maps:
    """What TensorRT says of a plugin's input."""
    import tensorrt as trt

    kinds = {trt.DataType.FLOAT: "fp32", trt.DataType.HALF: "fp16", trt.DataType.BF16: "bf16"}
    batch, *sizes = maps.shape.opt if maps.shape.is_dynamic else maps.shape
    return Maps(
        shape=(batch, *sizes),
        kind=kinds[maps.dtype],
        channels_last=maps.format != trt.TensorFormat.LINEAR,
    )


def _answer(kernel: Kernel, launch: Launch, output: Any) -> tuple[str, str, Any, Any]:
    """What TensorRT wants to know: entry, code, launch parameters, integers to pass."""
    import tensorrt.plugin as trtp

    batch, _, height, width = output.shape_expr
    _, _, *sides = launch.result
    assert [height.constant_value(), width.constant_value()] == sides, "windows differ"
    positions = batch * (sides[0] * sides[1])
    parameters = trtp.KernelLaunchParams()
    parameters.grid_x = trtp.cdiv(positions, launch.constants["BLOCK"])
    parameters.grid_y = launch.grid[1]
    parameters.block_x = kernel.threads
    parameters.shared_mem = kernel.shared
    integers = trtp.SymIntExprs(1)
    integers[0] = trtp.SymInt32(positions)
    return kernel.name, kernel.ptx, parameters, integers


def _this_device() -> int:
    """Compute capability of this machine's GPU, ten times the major plus the minor."""
    import torch

    if not torch.cuda.is_available():
        raise AlexNetError("The LRN plugins are compiled for a GPU, and there is none here.")
    major, minor = torch.cuda.get_device_capability()
    return 10 * major + minor
