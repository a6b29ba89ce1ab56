"""Stretches of consecutive photos: what one predictor of a cluster does in one go.

Each but the last has a whole number of batches and begins where the one before ends, so that any
number of predictors forms the very batches of one.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from alexnet.errors import AlexNetError
from serve.labeller import Labeller
from serve.pipeline import Labelled
from serve.reading import Place
from serve.shards import is_shard

# Photos of a stretch: enough to keep its pipeline busy, few enough to be done again after a crash.
# A shard is cut only when it has more than the second, as each piece reads its headers once more.
_SMALL, _LARGE = 256, 4096


class ChangedShardError(AlexNetError):
    """A shard holds other photos than when it was counted."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Consecutive photos of a listing."""

    number: int
    """0, 1, 2 and so on in their order."""
    entries: tuple[str, ...]
    start: Place
    """Of the first photo, in the listing; it lies in the first of `entries`."""
    end: Place
    """Where the photo after the last one begins."""
    photos: int
    is_whole: bool
    """Whether no photo of the last entry is left for the next stretch."""


def stretches(counted: Iterable[tuple[str, int]], *, start: Place, batch: int) -> Iterator[Stretch]:
    """Cut a listing into stretches.

    Args:
        counted: from the listing's entry `start[0]` on, each with the number of its photos.
        start: photos of its first entry that are done are left out.
        batch: photos of a batch.
    """
    small, large = (-(-size // batch) * batch for size in (_SMALL, _LARGE))
    first, end = start, start
    names: list[str] = []
    number = photos = 0

    def cut(size: int, *, is_whole: bool) -> Stretch:
        return Stretch(
            number=number,
            entries=tuple(names),
            start=first,
            end=end,
            photos=size,
            is_whole=is_whole,
        )

    for place, (name, count) in enumerate(counted, start[0]):
        names.append(name)
        photos += count - (start[1] if place == start[0] else 0)
        while photos >= small:
            # All batches of a few photos, or of a shard with very many as much as fits.
            size = min(photos - photos % batch, large)
            photos -= size
            end = (place, count - photos) if is_shard(name) else (place + 1, 0)
            yield cut(size, is_whole=not photos)
            number += 1
            names, first = ([name], end) if photos else ([], (place + 1, 0))
        if photos:
            end = (place, count) if is_shard(name) else (place + 1, 0)
    if photos:
        yield cut(photos, is_whole=True)


def label_stretch(labeller: Labeller, stretch: Stretch) -> Generator[Labelled]:
    """The rows of a stretch, their places those of the whole listing.

    Raises:
        ChangedShardError: a shard has more or fewer photos than were counted.
    """
    before, members = stretch.start
    count, end = 0, stretch.start
    with closing(labeller.label(stretch.entries, (0, members))) as labelled:
        for photo in islice(labelled, stretch.photos):
            end = (before + photo.next[0], photo.next[1])
            count += 1
            yield Labelled(photo.row, photo.failed, end, photo.folders)
        more = stretch.is_whole and next(labelled, None) is not None
    if more or (count, end) != (stretch.photos, stretch.end):
        shards = [Path(name).name for name in stretch.entries if is_shard(name)]
        raise ChangedShardError(
            f"A shard changed or became readable while it was labelled, one of {', '.join(shards)}:"
            " give the command again."
        )
