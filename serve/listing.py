"""A list of paths on the disk, which a run keeps so that it can be resumed from any place in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from alexnet.files import atomic_path
from serve.folders import split_at_nulls


def write_listing(path: Path, entries: Iterable[str]) -> str:
    """Write `entries` to `path`, atomically; returns the SHA-256 of what was written.

    Each path ends with a null character, the one that no path holds. One that holds it all the same
    is cut there and will be missing, which its row then says.
    """
    digest = hashlib.sha256()
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for entry in entries:
            line = os.fsencode(entry).partition(b"\0")[0] + b"\0"
            digest.update(line)
            file.write(line)
    return digest.hexdigest()


def read_listing(path: Path) -> Iterator[str]:
    """The paths in a listing, read bit by bit."""
    with path.open("rb") as file:
        yield from map(os.fsdecode, split_at_nulls(file))
