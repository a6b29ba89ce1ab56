"""Names of what systems and programs put beside photos: thumbnails, trash, notes of their own."""

from __future__ import annotations

import re

_JUNK = re.compile(
    r"""
    \..*                                    # hidden: .Trash-1000, .thumbnails, ._photo.jpg
    | @eadir | @tmp | \#recycle | \#snapshot  # Synology
    | @recycle | @recently-snapshot | @__thumb  # QNAP
    | \$recycle\.bin | recycler | system\ volume\ information | thumbs\.db | desktop\.ini  # Windows
    | __macosx | icon\r                       # macOS
    | synophoto_.* | synofile_thumb.*
    | lost\+found
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def is_junk(part: str) -> bool:
    """Whether a file or folder of this name is left out where a place is searched for photos.

    Args:
        part: one part of a path, not all of it.
    """
    return _JUNK.fullmatch(part) is not None and part not in (".", "..")
