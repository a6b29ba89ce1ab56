"""How fast photos are answered, for those who are told to come back later."""

from __future__ import annotations

import math

# What a batch counts once the next one is known.
_KEPT = 0.9
_LONGEST = 60


class Pace:
    """Seconds for a photo, over the last ten batches or so."""

    def __init__(self) -> None:
        self._photos = 0.0
        self._seconds = 0.0
        self._last = 0.0

    def note(self, photos: int, *, arrived: float, ended: float) -> None:
        """A batch was answered.

        While photos queue, it took what passed since the batch before, whichever of decoding and
        running is the slower, on any number of streams.

        Args:
            photos: how many it held.
            arrived: when its first photo came.
            ended: when it was answered.
        """
        self._photos = _KEPT * self._photos + photos
        self._seconds = _KEPT * self._seconds + ended - min(max(arrived, self._last), ended)
        self._last = ended

    def seconds(self, photos: int) -> int:
        """What so many photos will take: whole seconds, 1 to 60; 1 if nothing is known yet."""
        each = self._seconds / self._photos if self._photos else 0.0
        return min(max(1, math.ceil(photos * each)), _LONGEST)
