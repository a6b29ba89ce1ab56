"""Compile the LRN kernels ahead of time and say what they take. Needs Triton, but no GPU.

Registers, spilled bytes and shared memory of a lane or a block are ptxas's own words. A kernel is
compiled as PyTorch's operators start it, for layer 1 of the paper and for a tensor of one value.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from alexnet.config import LRNConfig, PoolConfig
from alexnet.json_text import to_json
from alexnet.lrn import kernels
from alexnet.lrn.launch import Launch, Shape, lrn_launch, pool_launch

SHAPES: dict[str, tuple[Shape, int]] = {"conv1": ((128, 96, 55, 55), 2), "one": ((1, 1, 1, 1), 1)}
ITEMSIZE = {"fp32": 4, "fp16": 2, "bf16": 2}


def launches(shape: Shape, columns: int, **memory: Any) -> Iterator[Launch]:
    config = LRNConfig()
    yield lrn_launch("lrn_forward", shape, config, columns=columns, **memory)
    yield lrn_launch("lrn_backward", shape, config, columns=columns, **memory)
    pool = PoolConfig(size=min(3, shape[2]))
    yield pool_launch(shape, config, pool, columns=columns, **memory)


def ptx_of(launch: Launch, kind: str, target: int) -> str:
    function = getattr(kernels, launch.kernel)
    # Triton makes a 1 a constant, and knows of multiples of 16.
    constants = dict(launch.constants)
    constants |= {name: size for name, size in launch.sizes.items() if size == 1}
    signature = {
        name: f"*{kind}" if name in launch.pointers else "constexpr" if name in constants else "i32"
        for name in function.arg_names
    }
    places = {name: (index,) for index, name in enumerate(function.arg_names)}
    source = ASTSource(
        function,
        signature,
        {places[name]: value for name, value in constants.items()},
        {places[name]: [["tt.divisibility", 16]] for name in (*launch.pointers, *launch.aligned)},
    )
    compiled = triton.compile(
        source, target=GPUTarget("cuda", target, 32), options={"num_warps": launch.warps}
    )
    return str(compiled.asm["ptx"])


def assembled(ptx: str) -> dict[str, int]:
    found = re.search(r"\.target (sm_\w+)", ptx)
    assert found, "PTX without a target"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(ptx)
        done = subprocess.run(
            [_ptxas(found[1]), "-v", f"-arch={found[1]}", source, "-o", Path(folder, "cubin")],
            capture_output=True,
            text=True,
            check=True,
        )
    said = done.stderr + done.stdout
    numbers = {
        "registers": r"Used (\d+) registers",
        "spilled": r"(\d+) bytes spill stores",
        "shared": r"(\d+) bytes smem",
    }
    values = {name: re.search(pattern, said) for name, pattern in numbers.items()}
    return {name: int(value[1]) if value else 0 for name, value in values.items()}


def _ptxas(architecture: str) -> str:
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    newer = tools / "ptxas-blackwell"
    blackwell = int(re.sub(r"\D", "", architecture)) >= 100
    return str(newer if blackwell and newer.exists() else tools / "ptxas")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", type=int, nargs="+", default=[80, 90, 120])
    parser.add_argument("--kinds", nargs="+", choices=ITEMSIZE, default=list(ITEMSIZE))
    parser.add_argument("--layouts", nargs="+", default=["NCHW", "NHWC"], choices=["NCHW", "NHWC"])
    options = parser.parse_args()
    rows = []
    for target in options.targets:
        for kind in options.kinds:
            for layout in options.layouts:
                memory = {"itemsize": ITEMSIZE[kind], "channels_last": layout == "NHWC"}
                for name, (shape, columns) in SHAPES.items():
                    for launch in launches(shape, columns, **memory):
                        taken = assembled(ptx_of(launch, kind, target))
                        rows.append(
                            {"kernel": launch.kernel, "maps": name, "layout": layout, "kind": kind}
                            | {"target": target, **taken}
                        )
                        print(*rows[-1].values(), sep="\t", file=sys.stderr, flush=True)
    print(to_json(rows, ascii=True))
    return int(any(row["spilled"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
