"""The LRN kernels compiled ahead of time, in the form in which TensorRT launches a plugin's kernel.

Nothing here needs a GPU, TensorRT or ONNX.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alexnet.config import LRNConfig, PoolConfig
from alexnet.errors import optional_import
from alexnet.lrn.launch import Launch, lrn_launch, pool_launch

ITEMSIZE = {"fp32": 4, "fp16": 2, "bf16": 2}


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """What an engine keeps of a kernel, but for its grid."""

    name: str
    """The entry of the PTX."""
    ptx: str
    """Takes pointers to the inputs, 32-bit integers, and pointers to the outputs, in this order."""
    threads: int
    """Threads of a block."""
    shared: int
    """Bytes of shared memory of a block."""


@dataclass(frozen=True, kw_only=True)
class Maps:
    """What a plugin reads."""

    shape: tuple[int, int, int, int]
    """(N, C, H, W), with the batch that the engine is tuned for."""
    kind: str
    """fp32, fp16 or bf16."""
    channels_last: bool


def kernel_for(
    maps: Maps, lrn: LRNConfig, *, columns: int, pool: PoolConfig | None = None, target: int
) -> tuple[Kernel, Launch]:
    """The compiled kernel, whose one integer is `positions`, and how it is launched.

    Args:
        maps: what is read; every size but the batch becomes part of the code.
        lrn: of a window of maps.
        columns: equal parts of C.
        pool: with it, ReLU comes before and max-pooling behind.
        target: compute capability, such as 90.
    """
    from alexnet.lrn import kernels

    launch = launch_for(maps, lrn, columns=columns, pool=pool)
    fixed = {name: size for name, size in launch.sizes.items() if name != "positions"}
    kernel = compiled(
        getattr(kernels, launch.kernel),
        dict.fromkeys(launch.pointers, maps.kind),
        ["positions"],
        constants=fixed | launch.constants,
        warps=launch.warps,
        target=target,
    )
    return kernel, launch


def launch_for(
    maps: Maps, lrn: LRNConfig, *, columns: int, pool: PoolConfig | None = None
) -> Launch:
    """How the kernel is launched on `maps`; see `kernel_for` for the arguments."""
    itemsize, last = ITEMSIZE[maps.kind], maps.channels_last
    if pool is None:
        return lrn_launch(
            "lrn_forward", maps.shape, lrn, columns=columns, itemsize=itemsize, channels_last=last
        )
    return pool_launch(
        maps.shape, lrn, pool, columns=columns, itemsize=itemsize, channels_last=last
    )


def compiled(
    function: Any,
    pointers: Mapping[str, str],
    integers: Sequence[str],
    *,
    constants: Mapping[str, Any],
    warps: int,
    target: int,
) -> Kernel:
    """Compile a `triton.jit` function for a GPU of compute capability `target`, such as 90.

    Args:
        function: its parameters are pointers (inputs, then the one output), integers, constants.
        pointers: Triton's element type of each pointer, such as fp32; all are aligned to 16 bytes.
        integers: parameters whose values are known at launch only.
        constants: values of all other parameters, which become part of the code.
        warps: groups of 32 threads that share a block's work.
        target: ten times the major plus the minor compute capability.

    Raises:
        MissingPackageError: Triton is not installed.
    """
    triton = optional_import("triton", extra="triton")
    compiler = optional_import("triton.compiler")
    backends = optional_import("triton.backends.compiler")

    signature = dict.fromkeys(function.arg_names, "constexpr")
    signature |= {name: f"*{kind}" for name, kind in pointers.items()}
    signature |= dict.fromkeys(integers, "i32")
    assert set(signature) == set(function.arg_names), "a parameter that the kernel doesn't have"
    source = compiler.ASTSource(
        fn=function,
        signature=signature,
        constexprs=dict(constants),
        attrs={
            (index,): [["tt.divisibility", 16]]
            for index, name in enumerate(function.arg_names)
            if name in pointers
        },
    )
    gpu = backends.GPUTarget("cuda", target, 32)
    with triton.knobs.compilation.scope():
        # Which source line an instruction comes from is four fifths of the PTX.
        triton.knobs.compilation.disable_line_info = True
        result = triton.compile(source, target=gpu, options={"num_warps": warps})
    facts = result.metadata
    # TensorRT has no memory of its own to give to a kernel.
    assert facts.global_scratch_size == facts.profile_scratch_size == 0, "needs scratch memory"
    last = len(pointers) - 1
    order = [*range(last), *range(last + 1, last + 1 + len(integers)), last]
    return Kernel(
        name=facts.name,
        ptx=reordered(result.asm["ptx"], facts.name, order=order),
        threads=32 * warps,
        shared=facts.shared,
    )


def reordered(ptx: str, name: str, *, order: Sequence[int]) -> str:
    """The same kernel, taking its parameters in another order, and no others.

    TensorRT passes inputs, integers, outputs. The code below calls parameters by name, so that only
    their declarations move. Those that are left out are Triton's two pointers to scratch memory, at
    the end, which a kernel without any never reads.

    Raises:
        ValueError: a parameter that the code reads is left out.
    """
    found = re.search(rf"\.entry {re.escape(name)}\(\n(.*?)\n\)", ptx, re.DOTALL)
    assert found is not None, f"no entry {name}"
    declarations = found[1].split(",\n")
    body = ptx[found.end() :]
    for index, declaration in enumerate(declarations):
        parameter = declaration.split()[-1]
        if index not in order and re.search(rf"\b{re.escape(parameter)}\b", body):
            raise ValueError(f"{name} reads its parameter {index}, which TensorRT does not pass.")
    moved = ",\n".join(declarations[index] for index in order)
    return ptx[: found.start(1)] + moved + ptx[found.end(1) :]
