"""Runs the Triton kernels on a CPU, in a process of its own: `python -m` with a file to write.

Triton's interpreter is chosen by an environment variable when Triton is imported, and would hold
for the whole test session.
"""

import sys
from dataclasses import dataclass

import torch

from alexnet.config import LRNConfig, PoolConfig
from alexnet.lrn.op import lrn, relu_lrn_pool

PRINTED = LRNConfig(alpha=1e-3)
OVERLAPPING = PoolConfig()


@dataclass(frozen=True)
class Case:
    shape: tuple[int, int, int, int]
    columns: int = 2
    lrn: LRNConfig = PRINTED
    pool: PoolConfig = OVERLAPPING
    dtype: torch.dtype = torch.float32
    channels_last: bool = False

    def inputs(self):
        """Maps, and the gradient at what comes out."""
        generator = torch.Generator().manual_seed(1)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return tuple(
            (scale * torch.randn(self.shape, generator=generator))
            .to(self.dtype)
            .contiguous(memory_format=layout)
            for scale in (60, 1)
        )


_SHAPES = {
    "odd sides": Case((2, 12, 5, 7)),
    "one map a column": Case((1, 2, 4, 3)),
    "one map": Case((1, 1, 3, 3), columns=1),
    "one position": Case((3, 20, 1, 1), pool=PoolConfig(size=1, stride=1)),
    "a column in segments": Case((1, 38, 3, 3), columns=1),
    "a window wider than the column": Case((1, 6, 3, 4), lrn=LRNConfig(size=19, alpha=1e-3)),
    "an even window": Case((1, 10, 3, 4), lrn=LRNConfig(size=4, alpha=1e-3)),
    "a window of one": Case((1, 9, 3, 4), columns=1, lrn=LRNConfig(size=1, alpha=1e-3)),
    "a wide window": Case((1, 24, 3, 3), columns=1, lrn=LRNConfig(size=11, alpha=1e-3)),
    "across columns": Case((1, 12, 4, 3), lrn=LRNConfig(k=1.0, within_columns=False)),
    "another power": Case((1, 8, 4, 4), lrn=LRNConfig(beta=0.6, k=1.5, alpha_of="mean")),
    "no photos": Case((0, 8, 5, 5)),
    "pool without overlap": Case((1, 4, 6, 5), pool=PoolConfig(size=2, stride=2)),
    "pool that drops the edge": Case((1, 4, 6, 6), pool=PoolConfig(ceil=False)),
    "pool that skips rows": Case((1, 4, 7, 7), pool=PoolConfig(size=2, stride=3)),
}
CASES = {
    f"{name}, {'NHWC' if last else 'NCHW'}": Case(
        case.shape, case.columns, case.lrn, case.pool, channels_last=last
    )
    for name, case in _SHAPES.items()
    for last in (False, True)
} | {
    f"{str(dtype)[6:]}, {'NHWC' if last else 'NCHW'}": Case(
        (2, 20, 3, 4), dtype=dtype, channels_last=last
    )
    for dtype in (torch.float16, torch.bfloat16)
    for last in (False, True)
}


def main(path):
    found = {}
    for name, case in CASES.items():
        maps, slopes = case.inputs()
        leaf = maps.clone().requires_grad_()
        values = lrn(leaf, case.lrn, columns=case.columns, implementation="triton")
        (gradient,) = torch.autograd.grad(values, leaf, slopes)
        pooled = relu_lrn_pool(
            maps, case.lrn, case.pool, columns=case.columns, implementation="triton"
        )
        found[name] = {"values": values.detach(), "gradient": gradient, "pooled": pooled}
    maps = CASES["odd sides, NCHW"].inputs()[0]
    maps[0, 3, 2, 2] = torch.nan
    found["nan"] = {
        "values": lrn(maps, PRINTED, columns=2, implementation="triton"),
        "pooled": relu_lrn_pool(maps, PRINTED, OVERLAPPING, columns=2, implementation="triton"),
    }
    sparse = CASES["odd sides, NCHW"].inputs()[0][:, :, ::2, 1:]
    found["not dense"] = {"values": lrn(sparse, PRINTED, columns=2, implementation="triton")}
    torch.save(found, path)


if __name__ == "__main__":
    main(sys.argv[1])
