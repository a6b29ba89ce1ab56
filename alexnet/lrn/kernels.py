"""Local response normalisation across maps as Triton kernels. Imports Triton only.

A lane owns one position (or one window of the pool) and walks along its maps, so that a window of
maps is in its registers and no lane waits for another. Arithmetic is in float32.

Arguments come in the order of an ahead-of-time kernel: pointers, sizes, constants of the
compilation; `alexnet.lrn.launch` has their values and the grid for a shape. Memory is dense: NCHW,
or with the maps innermost (CHANNELS_LAST). `positions` are those of all images, `plane` those of
one image, `maps` are all of them, `channels` those of a column. A program of axis 0 takes BLOCK
positions, one of axis 1 `span` maps of a column (whole CHUNKs). The window of map i is
i - BEFORE .. i + AFTER, cut off at the column's edges.
"""

import triton
import triton.language as tl

from alexnet.lrn.arithmetic import (
    joined,
    larger,
    normalised,
    parts,
    rectified,
    roots,
    squared_responses,
    squares,
)
from alexnet.lrn.lanes import load, store


@triton.jit
def lrn_forward(
    x,
    y,
    positions,
    plane,
    maps,
    channels,
    span,
    BEFORE: tl.constexpr,
    AFTER: tl.constexpr,
    K: tl.constexpr,
    COEFFICIENT: tl.constexpr,
    BETA: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write y = x (K + COEFFICIENT * the window's sum of x^2)^-BETA."""
    DELAY: tl.constexpr = _delay(AFTER, CHUNK, CHANNELS_LAST)
    position, across, first, start = _place(channels, span, BEFORE, CHUNK, BLOCK)
    last, end, valid = first + span, tl.minimum(first + span, channels), position < positions
    image, pixel = position // plane, position % plane
    corner = _corner(image, pixel, plane, maps, across, CHANNELS_LAST)
    nothing = tl.zeros((BLOCK,), tl.float32)
    held, ready = (nothing,) * (BEFORE + AFTER), (nothing,) * (DELAY - AFTER)
    for map in range(start, last, CHUNK):
        held = held + load(x + corner, plane, map, channels, valid, CHUNK, CHANNELS_LAST)
        ready = ready + normalised(held, BEFORE, AFTER, K, COEFFICIENT, BETA)
        done = ready[:CHUNK]
        store(y + corner, plane, map - DELAY, first, end, valid, done, CHUNK, CHANNELS_LAST)
        held, ready = held[CHUNK:], ready[CHUNK:]
    held = held + load(x + corner, plane, last, channels, valid, AFTER, CHANNELS_LAST)
    ready = ready + normalised(held, BEFORE, AFTER, K, COEFFICIENT, BETA)
    store(y + corner, plane, last - DELAY, first, end, valid, ready, CHUNK, CHANNELS_LAST)


@triton.jit
def lrn_backward(
    x,
    dy,
    dx,
    positions,
    plane,
    maps,
    channels,
    span,
    BEFORE: tl.constexpr,
    AFTER: tl.constexpr,
    K: tl.constexpr,
    COEFFICIENT: tl.constexpr,
    BETA: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the gradient at x from the one at y: two tensors read, one written, nothing kept.

    With s the base of the power: dx_i = dy_i s_i^-b - 2 b c x_i sum_j (dy_j x_j s_j^(-b-1)) over
    the maps j whose windows hold i.
    """
    REACH: tl.constexpr = BEFORE + AFTER
    DELAY: tl.constexpr = _delay(REACH, CHUNK, CHANNELS_LAST)
    position, across, first, start = _place(channels, span, REACH, CHUNK, BLOCK)
    last, end, valid = first + span, tl.minimum(first + span, channels), position < positions
    image, pixel = position // plane, position % plane
    corner = _corner(image, pixel, plane, maps, across, CHANNELS_LAST)
    nothing = tl.zeros((BLOCK,), tl.float32)
    held, slopes = (nothing,) * REACH, (nothing,) * AFTER
    direct, spread = (nothing,) * BEFORE, (nothing,) * REACH
    ready = (nothing,) * (DELAY - REACH)
    for map in range(start, last, CHUNK):
        held = held + load(x + corner, plane, map, channels, valid, CHUNK, CHANNELS_LAST)
        slopes = slopes + load(dy + corner, plane, map, channels, valid, CHUNK, CHANNELS_LAST)
        direct, spread = parts(direct, spread, held, slopes, BEFORE, AFTER, K, COEFFICIENT, BETA)
        ready = ready + joined(held, direct, spread, REACH, COEFFICIENT, BETA)
        done = ready[:CHUNK]
        store(dx + corner, plane, map - DELAY, first, end, valid, done, CHUNK, CHANNELS_LAST)
        held, slopes, direct = held[CHUNK:], slopes[CHUNK:], direct[CHUNK:]
        spread, ready = spread[CHUNK:], ready[CHUNK:]
    held = held + load(x + corner, plane, last, channels, valid, REACH, CHANNELS_LAST)
    slopes = slopes + load(dy + corner, plane, last, channels, valid, REACH, CHANNELS_LAST)
    direct, spread = parts(direct, spread, held, slopes, BEFORE, AFTER, K, COEFFICIENT, BETA)
    ready = ready + joined(held, direct, spread, REACH, COEFFICIENT, BETA)
    store(dx + corner, plane, last - DELAY, first, end, valid, ready, CHUNK, CHANNELS_LAST)


@triton.jit
def relu_lrn_pool(
    x,
    y,
    positions,
    plane,
    maps,
    channels,
    span,
    width,
    pooled_height,
    pooled_width,
    BEFORE: tl.constexpr,
    AFTER: tl.constexpr,
    K: tl.constexpr,
    COEFFICIENT: tl.constexpr,
    BETA: tl.constexpr,
    SIZE: tl.constexpr,
    STRIDE: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write y = max-pool(LRN(ReLU(x))); `positions` are y's, `plane` and `width` are x's.

    Squares of responses are compared, which takes one root less; the winner's root is drawn once.
    A square below float32's range counts as 0: responses under 1e-19 may vanish.
    """
    DELAY: tl.constexpr = _delay(AFTER, CHUNK, CHANNELS_LAST)
    position, across, first, start = _place(channels, span, BEFORE, CHUNK, BLOCK)
    last, end, valid = first + span, tl.minimum(first + span, channels), position < positions
    pooled = pooled_height * pooled_width
    image, pixel = position // pooled, position % pooled
    top, left = pixel // pooled_width * STRIDE, pixel % pooled_width * STRIDE
    source = x + _corner(image, top * width + left, plane, maps, across, CHANNELS_LAST)
    target = y + _corner(image, pixel, pooled, maps, across, CHANNELS_LAST)
    # An edge's window keeps so many rows and columns; none where the position does not exist.
    rows, sides = tl.where(valid, plane // width - top, 0), width - left
    nothing = tl.zeros((BLOCK,), tl.float32)
    held = (nothing,) * ((BEFORE + AFTER) * SIZE * SIZE)
    ready = (nothing,) * (DELAY - AFTER)
    for map in range(start, last, CHUNK):
        best, held = _winners(
            held, source, plane, maps, map, channels, rows, sides, width,
            BEFORE, AFTER, K, COEFFICIENT, BETA, SIZE, CHUNK, CHANNELS_LAST,
        )  # fmt: skip
        ready = ready + roots(best)
        done = ready[:CHUNK]
        store(target, pooled, map - DELAY, first, end, valid, done, CHUNK, CHANNELS_LAST)
        ready = ready[CHUNK:]
    best, _ = _winners(
        held, source, plane, maps, last, channels, rows, sides, width,
        BEFORE, AFTER, K, COEFFICIENT, BETA, SIZE, AFTER, CHANNELS_LAST,
    )  # fmt: skip
    ready = ready + roots(best)
    store(target, pooled, last - DELAY, first, end, valid, ready, CHUNK, CHANNELS_LAST)


@triton.jit
def _winners(
    held,
    source,
    plane,
    maps,
    map,
    channels,
    rows,
    sides,
    width,
    BEFORE: tl.constexpr,
    AFTER: tl.constexpr,
    K: tl.constexpr,
    COEFFICIENT: tl.constexpr,
    BETA: tl.constexpr,
    SIZE: tl.constexpr,
    COUNT: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
):
    """Read COUNT maps more: squares of the pool's winners, and what to hold of its positions."""
    REACH: tl.constexpr = BEFORE + AFTER
    kept, best = (), (tl.zeros(rows.shape, tl.float32),) * COUNT
    for tap in tl.static_range(SIZE * SIZE):
        inside = (tap // SIZE < rows) & (tap % SIZE < sides)
        pixel = tap // SIZE * width + tap % SIZE
        base = source + pixel * (maps if CHANNELS_LAST else 1)
        values = rectified(load(base, plane, map, channels, inside, COUNT, CHANNELS_LAST))
        window = held[tap * REACH : (tap + 1) * REACH] + squares(values)
        best = larger(best, squared_responses(window, BEFORE, AFTER, K, COEFFICIENT, BETA))
        kept = kept + window[COUNT:]
    return best, kept


@triton.constexpr_function
def _delay(reach, chunk, channels_last):
    """Maps between the last one read and the last one written; vectors stay aligned."""
    return -(-reach // chunk) * chunk if channels_last else reach


@triton.jit
def _place(channels, span, LEAD: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr):
    """Positions, the column's first map, and within it the first map to write and to read."""
    segments = tl.cdiv(channels, span)
    first = tl.program_id(1) % segments * span
    start = tl.maximum(first - (LEAD + CHUNK - 1) // CHUNK * CHUNK, 0)
    position = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    return position, tl.program_id(1) // segments * channels, first, start


@triton.jit
def _corner(image, pixel, plane, maps, across, CHANNELS_LAST: tl.constexpr):
    """Offset of a position in a column's first map; one image's offsets fit 32 bits."""
    if CHANNELS_LAST:
        offset = (image.to(tl.int64) * plane + pixel) * maps + across
    else:
        offset = (image.to(tl.int64) * maps + across) * plane + pixel
    return offset
