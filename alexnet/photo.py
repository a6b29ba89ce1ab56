"""Bytes, a path or a PIL image -> the RGB photo that every network of this project reads.

Two steps: `decode_photo` of alexnet.decoder, then `fit_photo`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alexnet.config import InputConfig
from alexnet.decoder import MAX_PIXELS, DecodedPhoto, Source, decode_photo
from alexnet.photo_error import (
    CorruptPhotoError,
    MissingPhotoError,
    OutOfMemoryError,
    PhotoError,
    TooManyPixelsError,
    UnreadablePhotoError,
    UnsupportedFormatError,
    needing_memory,
)
from alexnet.square import to_square, to_whole

__all__ = [
    "MAX_PIXELS",
    "CorruptPhotoError",
    "MissingPhotoError",
    "OutOfMemoryError",
    "Photo",
    "PhotoError",
    "Source",
    "TooManyPixelsError",
    "UnreadablePhotoError",
    "UnsupportedFormatError",
    "fit_photo",
    "load_photo",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Photo:
    """A decoded photo, fitted to the network's size, and what is known of the file it came from."""

    pixels: npt.NDArray[np.uint8]
    """RGB, (size, size, 3), whole (height, width, 3); 0-255, C-contiguous and writable."""
    width: int
    """Of the upright original, in pixels."""
    height: int
    format: str
    """As in `DecodedPhoto`."""
    frames: int
    """As in `DecodedPhoto`."""


def load_photo(
    source: Source,
    input: InputConfig,
    *,
    whole: bool = False,
    fast: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Photo:
    """Decode a photo, turn it upright, convert it to RGB and fit it to `input.size`.

    `fit="crop"`: the shorter side is resized to `input.size`, the other in proportion, rounded
    down, and the central square is cut out (half an odd rest goes to the right and bottom).
    `fit="warp"`: both sides are resized to `input.size`. A photo of that size stays as it is.
    `whole=True`, for dense answers: nothing is cut out (see `to_whole`).

    `fast=True` lets the JPEG decoder shrink the photo while it decodes, never below twice
    `input.size`, and shrinks any photo in two steps (Pillow's `draft` and `reducing_gap=2`). Photos
    whose shorter side (`warp`: longer) is under about 4 * size come out the same to the bit; larger
    ones differ, at 256 pixels by about one level of 255 on average, at 64 by up to four
    (scripts/fast_decoding.py). At 12 megapixels a JPEG takes a fifth of the time (122 -> 25 ms),
    other formats gain little.

    A PIL image is used as it is now (its current frame) and is not altered.

    Raises:
        PhotoError: the photo cannot be used; the subclass and `code` say why.
        OutOfMemoryError: there is no memory for it.
        TypeError: `source` is none of the four kinds.
    """
    # Pillow's `draft`: at least twice the size, so that resizing still has pixels to average.
    decoded = decode_photo(source, smallest=2 * input.size if fast else None, max_pixels=max_pixels)
    return fit_photo(decoded, input, whole=whole, fast=fast)


def fit_photo(
    decoded: DecodedPhoto, input: InputConfig, *, whole: bool = False, fast: bool = False
) -> Photo:
    """The second step of `load_photo`: a decoded photo, fitted to `input.size`.

    Raises:
        OutOfMemoryError: there is no memory for it.
    """
    fit = to_whole if whole else to_square
    with needing_memory():
        pixels = np.array(fit(decoded.image, input, fast=fast))
    return Photo(
        pixels=pixels,
        width=decoded.width,
        height=decoded.height,
        format=decoded.format,
        frames=decoded.frames,
    )
