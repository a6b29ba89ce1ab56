"""Photos that are read, decoded and labelled at the same time, and what people see of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from alexnet.console import Progress
from alexnet.predictor import Prediction, Predictor
from serve.reading import START, Item, Place, ReadAhead
from serve.records import Row, RowMaker


@dataclass(frozen=True, slots=True)
class Labelled:
    """A photo that is done. Can be pickled."""

    row: Row
    failed: bool
    next: Place
    """Where the photo after it begins."""
    folders: int = 0
    """See `Item.folders`."""


class Answers:
    """Items and their predictions, in order; read, decoded and run ahead. To be closed."""

    def __init__(
        self, source: Iterator[Item], predictor: Predictor, rows: RowMaker, *, readers: int
    ) -> None:
        ahead = max(2 * predictor.batch, 2 * readers)
        self._photos = ReadAhead(source, ahead=ahead)
        self._passed: deque[Item] = deque()
        """Items whose answers are due: no more than are under way."""
        sources = map(self._pass, self._photos)
        answers = predictor.predict(sources, top_k=rows.top_k, features=rows.features)
        self._answers = (answer for answer in answers)

    def __iter__(self) -> Iterator[tuple[Item, Prediction]]:
        return self

    def __next__(self) -> tuple[Item, Prediction]:
        prediction = next(self._answers)
        return self._passed.popleft(), prediction

    def close(self) -> None:
        """End the threads."""
        self._answers.close()
        self._photos.close()

    def _pass(self, item: Item) -> Any:
        self._passed.append(item)
        return item.source


class Extent:
    """How many photos are to come, where shards hide it: each is taken for the mean of those read.

    Nobody knows before the first shard is at its end.
    """

    def __init__(self, *, photos: int, shards: int, start: Place = START) -> None:
        """What a listing holds from `start` on: photos that are entries of it, and shards."""
        self._photos, self._shards, self._skipped = photos, shards, start[1]
        self._place = start
        self._read = self._photos_read = 0

    def add(self, place: Place) -> int | None:
        """The photo before `place` is done. How many it will be in all, where that is news."""
        before, self._place = self._place, place
        if place[0] == before[0] or not before[1]:
            return None
        self._read, self._photos_read = self._read + 1, self._photos_read + before[1]
        mean = self._photos_read / self._read
        return round(self._photos + self._shards * mean) - self._skipped


class Note:
    """Counts failures, and tells the bar what it can't know."""

    def __init__(
        self, bar: Progress, *, failed: int = 0, files: int = 0, extent: Extent | None = None
    ) -> None:
        """`files` and `extent`: of the listing, where nobody knows how many photos it holds."""
        self.failed = failed
        self._bar, self._files, self._file, self._extent = bar, files, -1, extent

    def add(self, photo: Labelled) -> None:
        """One more photo is done."""
        self._bar.advance()
        if self._extent is not None and (total := self._extent.add(photo.next)) is not None:
            self._bar.expect(total)
        file = photo.next[0]
        if photo.failed:
            self.failed += 1
        elif self._extent is None or file == self._file:
            return
        self._file = file
        notes = [f"{self.failed:,} failed"] if self.failed else []
        if self._extent is not None:
            notes.append(f"file {min(file + 1, self._files):,} of {self._files:,}")
        self._bar.note(", ".join(notes))
