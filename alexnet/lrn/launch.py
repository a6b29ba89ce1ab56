"""How the kernels are launched: grid, sizes and constants for a shape. Does not import Triton.

The operator, the tests and the TensorRT plugin ask here, so that they launch the same programs.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from alexnet.config import LRNConfig, PoolConfig
from alexnet.geometry import pool_side

Kernel = Literal["lrn_forward", "lrn_backward", "relu_lrn_pool"]
Shape = tuple[int, int, int, int]

POINTERS: dict[Kernel, tuple[str, ...]] = {
    "lrn_forward": ("x", "y"),
    "lrn_backward": ("x", "dy", "dx"),
    "relu_lrn_pool": ("x", "y"),
}
BLOCK = 128
WARPS = 4
# Fewer programs than this would leave multiprocessors idle: columns are then cut into segments.
PROGRAMS = 256
SEGMENT = 16


@dataclass(frozen=True)
class Launch:
    """One launch: `kernel[grid](*pointers, **sizes, **constants, num_warps=warps)`."""

    kernel: Kernel
    sizes: dict[str, int]
    """Arguments of 32 bits that follow the pointers, in the kernel's order."""
    constants: dict[str, int | float | bool]
    """Constants of the compilation, in the kernel's order; they follow the sizes."""
    result: Shape
    """Shape (N, C, H, W) of what the kernel writes."""
    warps: int = WARPS

    @property
    def pointers(self) -> tuple[str, ...]:
        """Names of the pointers: first what is read, last what is written."""
        return POINTERS[self.kernel]

    @property
    def grid(self) -> tuple[int, int]:
        """Programs along positions, and along the segments of all columns."""
        segments = -(-self.sizes["channels"] // self.sizes["span"])
        columns = self.sizes["maps"] // self.sizes["channels"]
        return -(-self.sizes["positions"] // BLOCK), columns * segments

    @property
    def aligned(self) -> tuple[str, ...]:
        """Sizes that are multiples of 16, which lets the compiler read whole vectors."""
        return tuple(name for name, size in self.sizes.items() if size % 16 == 0)


def lrn_launch(
    kernel: Literal["lrn_forward", "lrn_backward"],
    shape: Shape,
    config: LRNConfig,
    *,
    columns: int,
    itemsize: int,
    channels_last: bool,
) -> Launch:
    """The launch of a kernel whose result is as large as what it reads.

    Args:
        kernel: forward or backward.
        shape: (N, C, H, W), none of them 0; an image has less than 2^31 values.
        config: of a window of maps.
        columns: equal parts of C; the window stays in its part where the config says so.
        itemsize: bytes of a value: 2 or 4.
        channels_last: memory is (N, H, W, C), otherwise (N, C, H, W); dense in both.
    """
    batch, _, height, width = shape
    sizes = _sizes(shape, config, columns=columns, positions=batch * height * width)
    constants = _constants(config, sizes["channels"])
    return Launch(kernel, sizes, constants | _layout(channels_last, itemsize), shape)


def pool_launch(
    shape: Shape,
    config: LRNConfig,
    pool: PoolConfig,
    *,
    columns: int,
    itemsize: int,
    channels_last: bool,
) -> Launch:
    """The launch of ReLU, LRN and max-pool in one; see `lrn_launch` for the arguments."""
    batch, maps, height, width = shape
    pooled = pool_side(height, pool), pool_side(width, pool)
    assert min(pooled) > 0, (shape, pool)
    sizes = _sizes(shape, config, columns=columns, positions=batch * prod(pooled))
    sizes |= {"width": width, "pooled_height": pooled[0], "pooled_width": pooled[1]}
    constants = _constants(config, sizes["channels"])
    constants |= {"SIZE": pool.size, "STRIDE": pool.stride}
    constants |= _layout(channels_last, itemsize)
    return Launch("relu_lrn_pool", sizes, constants, (batch, maps, *pooled))


def _sizes(shape: Shape, config: LRNConfig, *, columns: int, positions: int) -> dict[str, int]:
    _, maps, height, width = shape
    assert config.window == "maps", config
    assert min(shape) > 0, shape
    assert maps % columns == 0, (shape, columns)
    assert max(maps * height * width, positions + BLOCK) < 2**31, shape
    channels = maps // columns if config.within_columns else maps
    programs = -(-positions // BLOCK) * (maps // channels)
    segments = min(-(-PROGRAMS // programs), -(-channels // SEGMENT))
    span = -(-channels // (segments * SEGMENT)) * SEGMENT
    return {
        "positions": positions,
        "plane": height * width,
        "maps": maps,
        "channels": channels,
        "span": span,
    }


def _constants(config: LRNConfig, channels: int) -> dict[str, int | float | bool]:
    # A window that is wider than the column ends with it.
    before, after = config.size // 2, config.size - 1 - config.size // 2
    return {
        "BEFORE": min(before, channels - 1),
        "AFTER": min(after, channels - 1),
        "K": config.k,
        "COEFFICIENT": config.coefficient,
        "BETA": config.beta,
    }


def _layout(channels_last: bool, itemsize: int) -> dict[str, int | float | bool]:
    # Where a position's maps are neighbours in memory, 16 bytes of them are read at once.
    chunk = 16 // itemsize if channels_last else 8
    return {"CHANNELS_LAST": channels_last, "CHUNK": chunk, "BLOCK": BLOCK}
