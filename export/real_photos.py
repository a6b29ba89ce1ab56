"""Real photos to compare models on: somebody's own, or pieces of scikit-learn's two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet.config import InputConfig
from alexnet.console import log
from alexnet.photo import fit_photo
from alexnet.sample_photos import SamplePhoto, sample_photos

Named = tuple[str, NDArray[np.uint8]]
"""What to call a photo, and its pixels (S, S, 3), or of a whole photo (H, W, 3)."""

# Sides of the pieces as parts of the photo's shorter side, and how many begin along each axis.
_PIECES = ((1.0, 3, 1), (0.6, 4, 2), (0.3, 5, 4))


def real_photos(
    place: Path | None, config: InputConfig, *, count: int, whole: bool = False
) -> list[Named]:
    """Up to `count` photos, fitted to what a model takes, for dense answers `whole`.

    `place` is as in `sample_photos`; a photo of a folder that can't be read is left out with a line
    on stderr. None: pieces of scikit-learn's two photographs.

    Raises:
        AlexNetError: there is no photo, or scikit-learn is not installed.
    """
    if place is None:
        pair = [
            _pieces(photo, config, whole=whole)
            for photo in sample_photos(None, count=2, left_out=log)
        ]
        pieces = (piece for pieces in zip(*pair, strict=True) for piece in pieces)
        return [piece for _, piece in zip(range(count), pieces, strict=False)]
    samples = sample_photos(place, count=count, left_out=log)
    return [(one.name, fit_photo(one.decoded, config, whole=whole).pixels) for one in samples]


def _pieces(photo: SamplePhoto, config: InputConfig, *, whole: bool) -> Iterator[Named]:
    """Pieces of a photo, from the whole down to details, each with its place in its name.

    They are squares, or where they are to stay `whole`, half as high again as they are wide.
    """
    image = photo.decoded.image
    short = min(image.size)
    for part, across, down in _PIECES:
        high = int(short * part)
        side = high * 2 // 3 if whole else high
        for row in range(down):
            for column in range(across):
                x = (image.width - side) * column // max(1, across - 1)
                y = (image.height - high) * row // max(1, down - 1)
                name = f"{photo.name}[{x}:{x + side}, {y}:{y + high}]"
                piece = replace(photo.decoded, image=image.crop((x, y, x + side, y + high)))
                yield name, fit_photo(piece, config, whole=whole).pixels
