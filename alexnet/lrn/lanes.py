"""What a lane of the Triton kernels reads and writes: some maps in a row at one position.

Values are a tuple, one tensor (BLOCK,) in float32 for each map. Imports Triton only.
"""

import triton
import triton.language as tl


@triton.jit
def load(base, plane, map, channels, valid, COUNT: tl.constexpr, CHANNELS_LAST: tl.constexpr):
    """COUNT maps from `map` on; zeros outside of the column and where `valid` is false."""
    if CHANNELS_LAST and (COUNT == 4 or COUNT == 8):
        number = map + tl.arange(0, COUNT)
        mask = valid[:, None] & (number < channels)[None, :]
        values = _unpacked(tl.load(base[:, None] + number[None, :], mask=mask, other=0.0))
    else:
        values = ()
        for index in tl.static_range(COUNT):
            offset = (map + index) * (1 if CHANNELS_LAST else plane)
            value = tl.load(base + offset, mask=valid & (map + index < channels), other=0.0)
            values = values + (value.to(tl.float32),)
    return values


@triton.jit
def store(
    base,
    plane,
    map,
    first,
    end,
    valid,
    values,
    CHUNK: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
):
    """Store maps from `map` on, as far as they are from `first` to `end` - 1."""
    kind = base.dtype.element_ty
    if CHANNELS_LAST:
        for index in tl.static_range(0, len(values), CHUNK):
            number = map + index + tl.arange(0, CHUNK)
            mask = valid[:, None] & ((number >= first) & (number < end))[None, :]
            tile = _packed(values[index : index + CHUNK]).to(kind)
            tl.store(base[:, None] + number[None, :], tile, mask=mask)
    else:
        for index in tl.static_range(len(values)):
            number = map + index
            mask = valid & (number >= first) & (number < end)
            tl.store(base + number * plane, values[index].to(kind), mask=mask)


@triton.jit
def _unpacked(tile):
    """The columns of (BLOCK, 4 or 8) in float32; each lane's are its own, so nothing moves."""
    ROWS: tl.constexpr = tile.shape[0]
    even, odd = tl.split(tl.reshape(tile.to(tl.float32), (ROWS, tile.shape[1] // 2, 2)))
    if tile.shape[1] == 8:
        a, c = tl.split(tl.reshape(even, (ROWS, 2, 2)))
        b, d = tl.split(tl.reshape(odd, (ROWS, 2, 2)))
        v0, v4 = tl.split(a)
        v1, v5 = tl.split(b)
        v2, v6 = tl.split(c)
        v3, v7 = tl.split(d)
        values = (v0, v1, v2, v3, v4, v5, v6, v7)
    else:
        v0, v2 = tl.split(even)
        v1, v3 = tl.split(odd)
        values = (v0, v1, v2, v3)
    return values


@triton.jit
def _packed(values):
    """The inverse of `_unpacked`."""
    ROWS: tl.constexpr = values[0].shape[0]
    if len(values) == 8:
        even = tl.join(tl.join(values[0], values[4]), tl.join(values[2], values[6]))
        odd = tl.join(tl.join(values[1], values[5]), tl.join(values[3], values[7]))
        even, odd = tl.reshape(even, (ROWS, 4)), tl.reshape(odd, (ROWS, 4))
    else:
        even, odd = tl.join(values[0], values[2]), tl.join(values[1], values[3])
    return tl.reshape(tl.join(even, odd), (ROWS, len(values)))
