"""The photos in local folders and behind globs, sorted by the bytes of their paths."""

from __future__ import annotations

import glob
import heapq
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO

from alexnet.errors import AlexNetError
from alexnet.photo_endings import has_photo_ending

# Names that are sorted in memory at once; a folder with more is sorted by way of the disk.
_IN_MEMORY = 200_000


class InputError(AlexNetError):
    """An input that does not exist, matches nothing, or can't be read or listed."""


def is_photo_name(name: str) -> bool:
    """Whether a file of this name is taken for a photo where a place is searched."""
    name = name.rpartition("/")[2]
    return not name.startswith(".") and has_photo_ending(name)


def photos_in(folder: Path, *, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """The photos in a folder and in those below, found while they are asked for.

    Hidden files and folders are left out, links are followed once round; a broken link comes, too.
    Memory does not grow with the number of files.

    Args:
        folder: where to look.
        above: device and inode of the folders around it.

    Raises:
        InputError: a folder can't be read.
    """
    try:
        status = folder.stat()
        here = (status.st_dev, status.st_ino)
        if here in above:  # a link to a folder that holds it
            return
        with os.scandir(os.fsencode(folder)) as entries:
            # A folder sorts as the beginning of the paths in it: "a-b.jpg" before "a/".
            names = in_order(e.name + b"/" * _is_folder(e) for e in entries if _is_wanted(e))
            first = list(islice(names, 1))  # the whole folder has been read by now
    except OSError as error:
        raise InputError(f"The folder {folder} can't be read: {error.strerror}.") from error
    for part in (first, names):
        for name in part:
            path = folder / os.fsdecode(name)
            if name.endswith(b"/"):
                yield from photos_in(path, above=(*above, here))
            else:
                yield path


def matches(pattern: str) -> Iterator[Path]:
    """The files that a glob matches, whatever their names.

    Raises:
        InputError: there are none.
    """
    # pathlib's own glob takes no absolute pattern and goes into hidden folders.
    found = (name for name in glob.iglob(pattern, recursive=True))  # noqa: PTH207
    none = True
    for name in in_order(os.fsencode(Path(name)) for name in found if not Path(name).is_dir()):
        none = False
        yield Path(os.fsdecode(name))
    if none:
        raise InputError(f"No file matches {pattern}.")


def in_order(names: Iterable[bytes], *, in_memory: int = _IN_MEMORY) -> Iterator[bytes]:
    """`names` sorted, at most `in_memory` of them held at once: the rest waits in temporary files.

    Names hold no null character. All are read before the first comes out.
    """
    names = iter(names)
    last = sorted(islice(names, in_memory))
    with ExitStack() as files:
        runs: list[IO[bytes]] = []
        while following := sorted(islice(names, in_memory)):
            runs.append(files.enter_context(tempfile.TemporaryFile()))
            runs[-1].writelines(name + b"\0" for name in last)
            runs[-1].seek(0)
            last = following
        yield from heapq.merge(*map(split_at_nulls, runs), last)


def blocks_of(file: IO[bytes]) -> Iterator[bytes]:
    """The bytes of a file, as soon as there are some."""
    read: Callable[[int], bytes] = getattr(file, "read1", file.read)
    while block := read(2**16):
        yield block


def split(blocks: Iterable[bytes], separator: bytes) -> Iterator[bytes]:
    """The pieces of a text between separators of one byte; one behind the last comes, too."""
    rest = b""
    for block in blocks:
        *whole, rest = (rest + block).split(separator)
        yield from whole
    if rest:
        yield rest


def split_at_nulls(file: IO[bytes]) -> Iterator[bytes]:
    """The pieces of a file between its null characters; one behind the last comes, too."""
    return split(blocks_of(file), b"\0")


def _is_wanted(entry: os.DirEntry[bytes]) -> bool:
    if entry.name.startswith(b"."):
        return False
    if _is_folder(entry):
        return True
    if not is_photo_name(os.fsdecode(entry.name)):
        return False
    return entry.is_symlink() or entry.is_file()


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False
