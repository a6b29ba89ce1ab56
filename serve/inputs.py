"""Which photos a command line means: files, folders and globs, in one order on every machine."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from alexnet.console import progress
from alexnet.container import SUFFIXES
from alexnet.errors import AlexNetError


class InputError(AlexNetError):
    """An input that does not exist, matches nothing, or can't be listed."""


def photo_paths(inputs: Sequence[str]) -> Iterator[Path]:
    """The photos that `inputs` mean, in their order, found while they are asked for.

    A file is taken whatever its name. A folder gives the photos in it and in the folders below,
    sorted by the bytes of their paths: those with a photo's ending, hidden ones left out.
    A glob (`*`, `?`, `[...]`, and `**` for any depth) gives the files that it matches, sorted the
    same way. What is named twice comes twice.

    Raises:
        InputError: an input does not exist, a glob matches no file, or a folder can't be read.
    """
    for text in inputs:
        path = Path(text)
        if not text:  # Path("") would be the current folder
            raise InputError("An input is empty: name a file, a folder or a glob.")
        if path.is_dir():
            yield from _inside(path, above=())
        elif path.is_file() or path.is_symlink():  # a broken link gets its row, with an error
            yield path
        elif path.exists():
            raise InputError(f"{text} is neither a file nor a folder.")
        elif any(character in text for character in "*?["):
            yield from _matches(text)
        else:
            raise InputError(f"There is no file or folder {text}.")


def count_photos(inputs: Sequence[str]) -> int:
    """How many photos `inputs` mean; every mistake in them shows here, before any work.

    Raises:
        InputError: as `photo_paths`, or there are none.
    """
    count = 0
    with progress("Listing photos", total=None, unit="photos") as bar:
        for _ in photo_paths(inputs):
            count += 1
            bar.advance()
    if not count:
        raise InputError(
            f"There are no photos in {', '.join(inputs)}: "
            f"folders are searched for {', '.join(sorted(SUFFIXES))}."
        )
    return count


def _inside(folder: Path, *, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """The photos below `folder`; `above` are the device and inode of the folders around it."""
    try:
        status = folder.stat()
        here = (status.st_dev, status.st_ino)
        if here in above:  # a link to a folder that holds it
            return
        with os.scandir(os.fsencode(folder)) as entries:
            # A folder sorts as the beginning of the paths in it: "a-b.jpg" before "a/".
            names = sorted(e.name + b"/" * _is_folder(e) for e in entries if _is_wanted(e))
    except OSError as error:
        raise InputError(f"The folder {folder} can't be read: {error.strerror}.") from error
    for name in names:
        path = folder / os.fsdecode(name)
        if name.endswith(b"/"):
            yield from _inside(path, above=(*above, here))
        else:
            yield path


def _is_wanted(entry: os.DirEntry[bytes]) -> bool:
    if entry.name.startswith(b"."):
        return False
    if _is_folder(entry):
        return True
    if Path(os.fsdecode(entry.name)).suffix.lower() not in SUFFIXES:
        return False
    return entry.is_symlink() or entry.is_file()


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _matches(pattern: str) -> Iterator[Path]:
    # pathlib's own glob takes no absolute pattern and goes into hidden folders.
    found = (Path(name) for name in glob.iglob(pattern, recursive=True))  # noqa: PTH207
    paths = sorted((path for path in found if not path.is_dir()), key=os.fsencode)
    if not paths:
        raise InputError(f"No file matches {pattern}.")
    yield from paths
