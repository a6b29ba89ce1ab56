"""Real photos to compare models on: a folder of them, or pieces of scikit-learn's two."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.config import InputConfig
from alexnet.console import log
from alexnet.errors import AlexNetError
from alexnet.photo import PhotoError, load_photo

Named = tuple[str, NDArray[np.uint8]]
"""What to call a photo, and its pixels (S, S, 3)."""

# Sides of the pieces as parts of the photo's shorter side, and how many begin along each axis.
_PIECES = ((1.0, 3, 1), (0.6, 4, 2), (0.3, 5, 4))


def real_photos(folder: Path | None, config: InputConfig, *, count: int) -> list[Named]:
    """Up to `count` photos, fitted to what a model takes.

    From `folder` and the folders in it, in order of their paths and evenly spread over all of them;
    what is no photo is skipped with a line on stderr. Without a folder: pieces of china.jpg and
    flower.jpg from scikit-learn.

    Raises:
        AlexNetError: the folder is missing or holds no photo, or scikit-learn is not installed.
    """
    if folder is None:
        pieces = [
            piece for pair in zip(*map(_pieces, _sklearn_photos()), strict=True) for piece in pair
        ]
        return [(name, load_photo(image, config).pixels) for name, image in pieces[:count]]
    if not folder.is_dir():
        raise AlexNetError(f"There is no folder {folder}: name one that holds photos.")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    spread = [files[len(files) * n // count] for n in range(count)] if len(files) > count else files
    found = []
    for path in spread:
        try:
            found.append((str(path), load_photo(path, config).pixels))
        except PhotoError as error:
            log(f"Left out {path}: {error}")
    if not found:
        raise AlexNetError(f"There is no photo in {folder}: name a folder that holds some.")
    return found


def _sklearn_photos() -> list[Path]:
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise AlexNetError(
            "There are no photos to compare on: name a folder with --photos, or run "
            '`pip install "alexnet[demo]"`, which brings two photographs.'
        )
    folder = Path(package.origin).parent / "datasets" / "images"
    return [folder / "china.jpg", folder / "flower.jpg"]


def _pieces(path: Path) -> Iterator[tuple[str, Image.Image]]:
    """Squares of a photo, from the whole down to details, each with its place in its name."""
    with Image.open(path) as image:
        image.load()
        short = min(image.size)
        for part, across, down in _PIECES:
            side = int(short * part)
            for row in range(down):
                for column in range(across):
                    x = (image.width - side) * column // max(1, across - 1)
                    y = (image.height - side) * row // max(1, down - 1)
                    name = f"{path.name}[{x}:{x + side}, {y}:{y + side}]"
                    yield name, image.crop((x, y, x + side, y + side))
