"""The photos that a benchmark reads: given ones, scikit-learn's two photographs, or a made one."""

from __future__ import annotations

import importlib.util
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from alexnet.config import InputConfig
from alexnet.errors import AlexNetError
from alexnet.photo import PhotoError, load_photo

MOST = 8
"""Photos taken from a folder; all stay in memory, decoded as well."""
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}


@dataclass(frozen=True)
class PhotoFile:
    """A photo as it lies on the disk."""

    name: str
    data: bytes


def read_photos(source: Path | None) -> list[PhotoFile]:
    """The first `MOST` photos of a folder, one file, or what this machine has.

    Raises:
        AlexNetError: `source` holds no photo.
    """
    if source is None:
        return _photographs() or [_made()]
    if source.is_file():
        paths = [source]
    else:
        found = (p for p in source.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
        paths = sorted(found)[:MOST]
    if not paths:
        raise AlexNetError(f"There are no photos in {source}.")
    return [PhotoFile(path.name, path.read_bytes()) for path in paths]


def square_of(file: PhotoFile, config: InputConfig) -> npt.NDArray[np.uint8]:
    """The photo as the network takes it, (S, S, 3).

    Raises:
        AlexNetError: it is damaged or no photo; the sentence names the file.
    """
    try:
        return load_photo(file.data, config).pixels
    except PhotoError as error:
        raise AlexNetError(f"{file.name}: {error}") from error


def _photographs() -> list[PhotoFile]:
    """Two photographs (640 x 427) that scikit-learn brings, without importing it."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent / "datasets" / "images"
    paths = [folder / name for name in ("china.jpg", "flower.jpg")]
    return [PhotoFile(path.name, path.read_bytes()) for path in paths if path.is_file()]


def _made() -> PhotoFile:
    """A JPEG with the detail of a photograph and ImageNet's usual size, 500 x 375."""
    random = np.random.default_rng(0)
    pixels = np.zeros((375, 500, 3))
    for cells in (3, 12, 50):  # coarse shapes, finer ones, texture
        noise = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        pixels += np.asarray(noise.resize((500, 375), Image.Resampling.BICUBIC)) / 3
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=90)
    return PhotoFile("made.jpg", file.getvalue())
