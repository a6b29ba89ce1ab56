"""The geometry of the network's input: a photo of any shape -> a square, or the whole of it."""

from __future__ import annotations

import math

from PIL import Image

from alexnet.config import InputConfig

MAX_ASPECT = 16
"""More elongated photos have only their middle resized: the whole could take gigabytes."""
MAX_WHOLE = 4
"""A whole photo's longer side is `size` times this at most, so that no photo is more work than four
squares; of a longer one the middle is kept."""

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}
_WIDEST_FILTER = 3  # source pixels that lanczos reads to each side, the most of the four


def to_square(image: Image.Image, input: InputConfig, *, fast: bool = False) -> Image.Image:
    """An RGB picture fitted to (size, size) as `input.fit` and `input.filter` say.

    `crop`: the shorter side becomes `size`, the longer int(size * long / short); then the square
    that begins (long - size) // 2 pixels in is cut out. `fast` allows a coarse first step
    (Pillow's reducing_gap=2) where a picture shrinks to less than a quarter.
    """
    return _fitted(image, input, longest=input.size, fast=fast)


def to_whole(image: Image.Image, input: InputConfig, *, fast: bool = False) -> Image.Image:
    """An RGB picture whose shorter side is `size`, with nothing cut off, for dense answers.

    `crop`: the longer side becomes int(size * long / short); where that is more than MAX_WHOLE *
    size, the middle MAX_WHOLE * size are kept. `warp`: the same square as `to_square`, which has
    the whole photo in it already. `fast` is as there.
    """
    return _fitted(image, input, longest=MAX_WHOLE * input.size, fast=fast)


def _fitted(image: Image.Image, input: InputConfig, *, longest: int, fast: bool) -> Image.Image:
    """The picture with the shorter side at `size`, cut to `longest` in the middle."""
    size, method = input.size, _FILTERS[input.filter]
    gap = 2.0 if fast else None
    if input.fit == "warp":
        return image.resize((size, size), method, reducing_gap=gap)
    short = min(image.size)
    width, height = (size * side // short for side in image.size)
    wide, high = min(width, longest), min(height, longest)
    left, top = (width - wide) // 2, (height - high) // 2
    if max(image.size) <= MAX_ASPECT * short:
        resized = image.resize((width, height), method, reducing_gap=gap)
        return resized.crop((left, top, left + wide, top + high))
    # The same sampling positions, but only of what is kept (within one level of the above).
    x0, x1, x_box = _window(image.width, width, wide)
    y0, y1, y_box = _window(image.height, height, high)
    middle = image.crop((x0, y0, x1, y1))
    box = (x_box[0], y_box[0], x_box[1], y_box[1])
    return middle.resize((wide, high), method, box=box, reducing_gap=gap)


def _window(length: int, resized: int, kept: int) -> tuple[int, int, tuple[float, float]]:
    """Along one axis: the pixels that the central `kept` of `resized` are made from.

    Returns the first, the one past the last, and the window's exact ends counted from the first.
    Whole pixels are cut before, because Pillow holds a box in 32-bit floats.
    """
    scale = length / resized
    begin = (resized - kept) // 2 * scale
    end = begin + kept * scale
    margin = math.ceil(_WIDEST_FILTER * max(scale, 1.0)) + 1
    first = max(0, math.floor(begin) - margin)
    last = min(length, math.ceil(end) + margin)
    return first, last, (begin - first, min(end - first, last - first))
