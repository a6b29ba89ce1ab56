"""What spoils a photo: occlusion, brightness, contrast, noise, blur and JPEG, each more and more.

Pure functions of a square photo (S, S, 3), uint8 RGB; what is left to chance is drawn from a
generator that the photo's number seeds, so that a photo is always spoilt in the same way.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.errors import AlexNetError
from train.dataset import decode_jpeg

Photo = NDArray[np.uint8]
SEVERITIES = 5
GREY = 128
_REACH = 4.0  # deviations at which a blur's weights are cut off: 6e-5 of them lie beyond


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """A way to spoil a photo, and five values of it."""

    change: Callable[[Photo, float, np.random.Generator], Photo]
    values: tuple[float, float, float, float, float]
    """From mild to severe."""
    meaning: str
    """Of a value."""


def occluded(photo: Photo, share: float, random: np.random.Generator) -> Photo:
    """A grey square of `share` of the photo's side, anywhere inside it.

    The same generator puts squares of every size into about the same place.
    """
    across, down = random.random(2)
    whole = len(photo)
    side = round(share * whole)
    top, left = (int(part * (whole - side + 1)) for part in (down, across))
    spoilt = photo.copy()
    spoilt[top : top + side, left : left + side] = GREY
    return spoilt


def brightened(photo: Photo, share: float, random: np.random.Generator) -> Photo:
    """Every value `share` of 255 higher, up to 255."""
    return _levels(photo + 255.0 * share)


def flattened(photo: Photo, share: float, random: np.random.Generator) -> Photo:
    """Every value as far from its colour's mean over the photo as `share` of before."""
    mean = photo.mean((0, 1))
    return _levels(mean + share * (photo - mean))


def noisy(photo: Photo, share: float, random: np.random.Generator) -> Photo:
    """Every value with noise of its own added: normal, its deviation `share` of 255.

    The same generator makes the same noise of every deviation.
    """
    return _levels(photo + 255.0 * share * random.standard_normal(photo.shape))


def blurred(photo: Photo, share: float, random: np.random.Generator) -> Photo:
    """The mean by a normal distribution of deviation `share` of the side; the edges go on."""
    side = len(photo)
    weights, values = _blur(side, share * side), photo.astype(np.float64)
    for _ in range(2):  # downwards, and on the photo on its side
        values = (weights @ values.reshape(side, -1)).reshape(photo.shape).swapaxes(0, 1)
    return _levels(values)


def jpeg(photo: Photo, quality: float, random: np.random.Generator) -> Photo:
    """Written as a JPEG of Pillow's `quality` and read again."""
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=int(quality))
    return decode_jpeg(file.getvalue())


CORRUPTIONS = {
    "occlusion": Corruption(
        change=occluded,
        values=(0.2, 0.3, 0.4, 0.5, 0.6),
        meaning="side of a grey square, as a share of the photo's",
    ),
    "brightness": Corruption(
        change=brightened,
        values=(0.1, 0.2, 0.3, 0.4, 0.5),
        meaning="added to every value, as a share of 255",
    ),
    "contrast": Corruption(
        change=flattened,
        values=(0.4, 0.3, 0.2, 0.1, 0.05),
        meaning="distance from the photo's mean colour that is left, as a share",
    ),
    "noise": Corruption(
        change=noisy,
        values=(0.04, 0.08, 0.12, 0.18, 0.26),
        meaning="standard deviation of normal noise, as a share of 255",
    ),
    "blur": Corruption(
        change=blurred,
        values=(0.006, 0.009, 0.012, 0.018, 0.027),
        meaning="standard deviation of a normal blur, as a share of the photo's side",
    ),
    "jpeg": Corruption(
        change=jpeg,
        values=(65, 40, 25, 15, 7),
        meaning="JPEG quality, as Pillow counts it",
    ),
}
"""By name. Values of brightness and contrast are ImageNet-C's, and blur's about its pixels of 224;
those of noise and JPEG span what its authors took for photos of 64 and of 224 pixels (Hendrycks and
Dietterich, 2019). Occlusion is ours."""


def corrupted(photo: Photo, name: str, *, severity: int, index: int) -> Photo:
    """Photo number `index`, spoilt by the corruption `name` as much as `severity`, 1 to 5."""
    corruption = CORRUPTIONS[name]
    random = np.random.default_rng((index, list(CORRUPTIONS).index(name)))
    return corruption.change(photo, corruption.values[severity - 1], random)


def parse_corruptions(text: str) -> tuple[str, ...]:
    """The corruptions that `--corrupt` names: `all`, or names between commas.

    Raises:
        AlexNetError: there is none of such a name.
    """
    if text == "all":
        return tuple(CORRUPTIONS)
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in CORRUPTIONS:
            raise AlexNetError(
                f"There is no corruption '{name}': --corrupt takes all, or some of "
                f"{', '.join(CORRUPTIONS)}, with commas between them."
            )
    return names


def _levels(values: NDArray[np.floating]) -> Photo:
    levels: Photo = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return levels


@functools.lru_cache(maxsize=2 * SEVERITIES)
def _blur(side: int, deviation: float) -> NDArray[np.float64]:
    """The matrix (side, side) that blurs a column of pixels; the first and the last go on."""
    reach = int(np.ceil(_REACH * deviation))
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / deviation) ** 2)
    matrix = np.zeros((side, side))
    for offset, weight in zip(offsets, weights / weights.sum(), strict=True):
        sources = np.clip(np.arange(side) + offset, 0, side - 1)
        matrix[np.arange(side), sources] += weight
    return matrix
