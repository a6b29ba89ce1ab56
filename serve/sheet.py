"""A sheet of queries and their neighbours, after Figure 4 (right) of the paper: HTML or PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from alexnet.files import atomic_path, write_text
from serve.feature_index import FeatureIndex
from serve.neighbours import Answer
from serve.sheet_html import page
from serve.sheet_png import draw
from serve.thumbnails import thumbnails


def write_sheet(
    path: Path, answers: Sequence[Answer], *, index: FeatureIndex, folder: Path | None
) -> int:
    """Write the sheet; a photo that is gone has a grey tile with its path.

    Args:
        path: ends in .html or .png.
        answers: one row of the sheet each.
        index: what was searched.
        folder: where relative paths of the index begin; None is what the index says. Those of
            query photos begin at the current folder.

    Returns:
        How many of the photos are gone.

    Raises:
        AlexNetError: a PNG would be too large.
    """
    near = [one.path for answer in answers for one in answer.neighbours]
    rows = [answer.query.path for answer in answers if answer.query.row is not None]
    found = thumbnails([*near, *rows], index.folder if folder is None else folder)
    asked = thumbnails((a.query.path for a in answers if a.query.row is None), Path())
    pictures = [
        [
            (asked if answer.query.row is None else found)[answer.query.path],
            *(found[one.path] for one in answer.neighbours),
        ]
        for answer in answers
    ]
    if path.suffix.lower() == ".html":
        jpegs = [[_jpeg(picture) for picture in row] for row in pictures]
        write_text(path, page(answers, jpegs, rows=index.rows, name=index.path.name))
    else:
        image = draw(answers, pictures)
        with atomic_path(path) as temporary:
            image.save(temporary, "PNG")
    missing = {name for name, picture in {**found, **asked}.items() if picture is None}
    return len(missing)


def _jpeg(picture: Image.Image | None) -> bytes | None:
    if picture is None:
        return None
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()
