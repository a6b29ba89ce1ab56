"""The photos that a benchmark reads: given ones, scikit-learn's two photographs, or a made one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet.console import log
from alexnet.decoder import DecodedPhoto, decode_photo
from alexnet.errors import MissingPackageError
from alexnet.sample_photos import sample_photos

MOST = 8
"""Photos taken from a folder; all stay in memory, decoded as well."""


@dataclass(frozen=True, eq=False)
class PhotoFile:
    """A photo as it lies on the disk, and decoded."""

    name: str
    data: bytes
    decoded: DecodedPhoto


def read_photos(place: Path | None) -> list[PhotoFile]:
    """One photo, up to `MOST` of a folder, or what this machine has; see `each_photo`."""
    return list(each_photo(place, most=MOST))


def each_photo(place: Path | None, *, most: int) -> Iterator[PhotoFile]:
    """One photo, up to `most` of a folder, or what this machine has, one after the other.

    A photo of a folder that can't be read is left out with a line on stderr.

    Raises:
        AlexNetError: there is no photo in `place`.
    """
    try:
        for one in sample_photos(place, count=most, left_out=log):
            yield PhotoFile(one.name, one.path.read_bytes(), one.decoded)
    except MissingPackageError:
        yield _made()


def _made() -> PhotoFile:
    """A JPEG with the detail of a photograph and ImageNet's usual size, 500 x 375."""
    random = np.random.default_rng(0)
    pixels = np.zeros((375, 500, 3))
    for cells in (3, 12, 50):  # coarse shapes, finer ones, texture
        noise = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        pixels += np.asarray(noise.resize((500, 375), Image.Resampling.BICUBIC)) / 3
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=90)
    data = file.getvalue()
    return PhotoFile("made.jpg", data, decode_photo(data))
