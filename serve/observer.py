"""Who wants to know what happens to photos: metrics do, and tests."""

from __future__ import annotations

from typing import Literal, Protocol

Stage = Literal["decode", "wait", "run"]


class Observer(Protocol):
    """Told by the batcher, from any of its threads: quick, and safe to call from several."""

    def queue(self, photos: int) -> None:
        """So many photos wait now, to be decoded or to be run."""
        ...

    def batch(self, photos: int) -> None:
        """The backend is given a batch of so many photos."""
        ...

    def spent(self, stage: Stage, seconds: float) -> None:
        """A photo spent so long in a decoder, in the backend (with its batch), or waiting."""
        ...


class Silent:
    """Does nothing with it."""

    def queue(self, photos: int) -> None:
        """See `Observer`."""

    def batch(self, photos: int) -> None:
        """See `Observer`."""

    def spent(self, stage: Stage, seconds: float) -> None:
        """See `Observer`."""
