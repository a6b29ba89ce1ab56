"""The geometry of the network's input: a photo of any shape -> a square of `input.size` pixels."""

from __future__ import annotations

import math

from PIL import Image

from alexnet.config import InputConfig

MAX_ASPECT = 16
"""More elongated photos have only their middle resized: the whole could take gigabytes."""

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
    size, method = input.size, _FILTERS[input.filter]
    gap = 2.0 if fast else None
    if input.fit == "warp":
        return image.resize((size, size), method, reducing_gap=gap)
    short = min(image.size)
    width, height = (size * side // short for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    if max(image.size) <= MAX_ASPECT * short:
        resized = image.resize((width, height), method, reducing_gap=gap)
        return resized.crop((left, top, left + size, top + size))
    # The same sampling positions, but only of the square (within one level of the above).
    x0, x1, x_box = _window(image.width, width, size)
    y0, y1, y_box = _window(image.height, height, size)
    middle = image.crop((x0, y0, x1, y1))
    box = (x_box[0], y_box[0], x_box[1], y_box[1])
    return middle.resize((size, size), method, box=box, reducing_gap=gap)


def _window(length: int, resized: int, size: int) -> tuple[int, int, tuple[float, float]]:
    """Along one axis: the pixels that the central `size` of `resized` are made from.

    Returns the first, the one past the last, and the window's exact ends counted from the first.
    Whole pixels are cut before, because Pillow holds a box in 32-bit floats.
    """
    scale = length / resized
    begin = (resized - size) // 2 * scale
    end = begin + size * scale
    margin = math.ceil(_WIDEST_FILTER * max(scale, 1.0)) + 1
    first = max(0, math.floor(begin) - margin)
    last = min(length, math.ceil(end) + margin)
    return first, last, (begin - first, min(end - first, last - first))
