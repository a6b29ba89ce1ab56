"""The photos in local folders and behind globs, sorted by the bytes of their paths.

No folder is too deep: nothing here recurses from folder to folder, and a path that is longer than
the system takes (4,096 bytes on Linux) is opened step by step.
"""

from __future__ import annotations

import fnmatch
import heapq
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain, groupby, islice
from pathlib import Path
from typing import IO

from alexnet.container import HEAD, sniff, sniff_other
from alexnet.errors import AlexNetError
from alexnet.junk import is_junk
from alexnet.photo_endings import has_photo_ending
from alexnet.tars import TAR_SUFFIXES

# Names that are sorted in memory at once; a folder with more is sorted by way of the disk.
_IN_MEMORY = 200_000
# Bytes of a path that every system takes at once.
_STEP = 1000
_MAGIC = re.compile(rb"[*?[]")


class InputError(AlexNetError):
    """An input that does not exist, matches nothing, or can't be read or listed."""


@dataclass
class LeftOut:
    """What a search passed over."""

    folders: int = 0
    """Of thumbnails, trash and the like, as `alexnet.junk` knows them, and hidden ones."""
    tars: int = 0
    """In folders: they are read where they are named by themselves."""
    inputs: list[str] = field(default_factory=list)
    """Those that hold no photo, beside others that do."""


def is_photo_name(name: str) -> bool:
    """Whether a file of this name is taken for a photo where a place is searched."""
    name = name.rpartition("/")[2]
    return has_photo_ending(name) and not is_junk(name)


def photos_in(folder: str, left_out: LeftOut) -> Iterator[str]:
    """The photos in a folder and in those below, found while they are asked for.

    Photos are told by their endings, and where a name has none by their first bytes. Hidden files
    and folders are left out, and folders of thumbnails or trash. Links are followed once round; a
    broken link comes, too, and whatever is called a photo. Memory does not grow with the number of
    files.

    Raises:
        InputError: a folder can't be read.
    """

    def is_wanted(folder: bytes, entry: os.DirEntry[bytes]) -> bool:
        if _is_folder(entry):
            return _is_searched(entry, left_out)
        name = os.fsdecode(entry.name)
        if "." not in name:
            return not is_junk(name) and _is_photo(folder, entry)
        left_out.tars += name.lower().endswith(TAR_SUFFIXES) and not is_junk(name)
        return is_photo_name(name)

    top = os.fsencode(Path(folder))
    for path in _walk(b"" if top == b"." else top, is_wanted):
        if not path.endswith(b"/"):
            yield os.fsdecode(path)


_Wanted = Callable[[bytes, os.DirEntry[bytes]], bool]
"""Whether an entry of a folder is to come, or is to be searched."""


@dataclass
class _Level:
    """A folder that is being searched."""

    path: bytes
    identity: tuple[int, int]
    """Device and inode."""
    names: Iterator[bytes]
    """Those that are still to come; a folder's ends with a slash."""


def _walk(top: bytes, is_wanted: _Wanted) -> Iterator[bytes]:
    """The paths below a folder, sorted; that of a folder ends with a slash and comes first.

    Raises:
        InputError: a folder can't be read.
    """
    levels = [_level(top, is_wanted)]
    around = {levels[0].identity}
    while levels:
        name = next(levels[-1].names, None)
        if name is None:
            around.discard(levels.pop().identity)
            continue
        path = _join(levels[-1].path, name)
        if name.endswith(b"/"):
            below = _level(path[:-1], is_wanted)
            if below.identity in around:  # a link to a folder that holds it
                continue
            around.add(below.identity)
            levels.append(below)
        yield path


def _level(folder: bytes, is_wanted: _Wanted) -> _Level:
    try:
        with _scan(folder) as (status, found):
            # A folder sorts as the beginning of the paths in it: "a-b.jpg" before "a/".
            wanted = (entry for entry in found if is_wanted(folder, entry))
            names = in_order(entry.name + b"/" * _is_folder(entry) for entry in wanted)
            first = list(islice(names, 1))  # the whole folder has been read by now
    except OSError as error:
        raise _unreadable(folder, error) from error
    return _Level(folder, (status.st_dev, status.st_ino), chain(first, names))


def _unreadable(folder: bytes, error: OSError) -> InputError:
    name = os.fsdecode(folder)[:_STEP] or "."
    return InputError(f"The folder {name} can't be read: {error.strerror}.")


def _is_searched(folder: os.DirEntry[bytes], left_out: LeftOut) -> bool:
    if is_junk(os.fsdecode(folder.name)):
        left_out.folders += 1
        return False
    return True


def _join(folder: bytes, name: bytes) -> bytes:
    return os.path.join(folder, name)  # noqa: PTH118  # a million Paths are slow


@contextmanager
def _scan(folder: bytes) -> Iterator[tuple[os.stat_result, Iterator[os.DirEntry[bytes]]]]:
    """Yield what is known of a folder, and its entries."""
    folder = folder or b"."
    if len(folder) <= _STEP:
        with os.scandir(folder) as entries:
            yield os.stat(folder), entries  # noqa: PTH116
        return
    handle = open_at(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(handle) as named:
            yield os.fstat(handle), (_Bytes(entry) for entry in named)  # type: ignore[misc]
    finally:
        os.close(handle)


class _Bytes:
    """An entry of a folder that was opened by its number, with a name in bytes like any other."""

    def __init__(self, entry: os.DirEntry[str]) -> None:
        self.name = os.fsencode(entry.name)
        self.is_dir, self.is_file, self.is_symlink = entry.is_dir, entry.is_file, entry.is_symlink


def open_at(path: bytes, flags: int) -> int:
    """A descriptor for a path of any length.

    Raises:
        OSError: there is none, or it can't be opened.
    """
    above: int | None = None
    try:
        while len(path) > _STEP and (cut := path.rfind(b"/", 1, _STEP)) > 0:
            step, path = path[:cut], path[cut:].lstrip(b"/")
            handle = os.open(step, os.O_RDONLY | os.O_DIRECTORY, dir_fd=above)
            if above is not None:
                os.close(above)
            above = handle
        return os.open(path, flags, dir_fd=above)
    finally:
        if above is not None:
            os.close(above)


def is_long(path: str) -> bool:
    """Whether a path may be too long to be opened at once."""
    return len(path) > _STEP and len(os.fsencode(path)) > _STEP


def open_file(path: str) -> IO[bytes]:
    """Open a file to read, its path as long as it likes; without a buffer.

    Raises:
        OSError: there is none, or it can't be opened.
    """
    if not is_long(path):
        return Path(path).open("rb", buffering=0)
    return os.fdopen(open_at(os.fsencode(path), os.O_RDONLY), "rb", buffering=0)


def matches(pattern: str, left_out: LeftOut) -> Iterator[str]:
    """The files that a glob matches, whatever their names, each once.

    `*`, `?` and `[...]` stand for parts of a name, and `**` for folders at any depth. What begins
    with a dot and folders of thumbnails or trash are matched by their own names only.

    Raises:
        InputError: there are none, or a folder can't be read.
    """
    parts = [part for part, _ in groupby(os.fsencode(pattern).split(b"/"))]
    start = b"/" if pattern.startswith("/") else b""
    names = [part for part in parts if part not in (b"", b".")]
    # One that ends with a slash matches folders only.
    found = iter(()) if pattern.endswith("/") else _matched(start, names, left_out)
    none = True
    for name, _ in groupby(in_order(found)):
        none = False
        yield os.fsdecode(name)
    if none:
        raise InputError(f"No file matches {pattern}.")


def _matched(base: bytes, parts: list[bytes], left_out: LeftOut) -> Iterator[bytes]:
    """The files below `base` whose path from there fits `parts`, in no order."""
    part, *rest = parts
    if part == b"**":
        for folder in _folders_below(base, left_out):
            yield from _matched(folder, rest or [b"*"], left_out)
    elif not _MAGIC.search(part):
        path = _join(base, part)
        if rest:
            yield from _matched(path, rest, left_out)
        elif _is_file(path):
            yield path
    else:
        fits = re.compile(fnmatch.translate(os.fsdecode(part))).match
        for entry in _entries(base):
            name, is_folder = os.fsdecode(entry.name), _is_folder(entry)
            if not fits(name) or is_folder != bool(rest):
                continue
            if is_junk(name) and not (name.startswith(".") and part.startswith(b".")):
                left_out.folders += is_folder
                continue
            path = _join(base, entry.name)
            if rest:
                yield from _matched(path, rest, left_out)
            else:
                yield path


def _folders_below(base: bytes, left_out: LeftOut) -> Iterator[bytes]:
    """`base` and the folders at every depth below."""
    yield base
    if os.path.isdir(base or b"."):  # noqa: PTH112
        for path in _walk(base, lambda _, one: _is_folder(one) and _is_searched(one, left_out)):
            yield path[:-1]


def _entries(folder: bytes) -> Iterator[os.DirEntry[bytes]]:
    """The entries of a folder; none where there is no folder."""
    try:
        with _scan(folder) as (_, found):
            yield from found
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _unreadable(folder, error) from error


def _is_file(path: bytes) -> bool:
    """Whether there is something else than a folder; a broken link is."""
    return os.path.lexists(path) and not os.path.isdir(path)  # noqa: PTH112


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


def _is_photo(folder: bytes, entry: os.DirEntry[bytes]) -> bool:
    """Whether a file without an ending is a photo by its first bytes."""
    try:
        if not entry.is_file():  # a pipe would be waited for
            return False
        with open_file(os.fsdecode(_join(folder, entry.name))) as file:
            head = file.read(HEAD)
    except OSError:
        return False
    return sniff(head) is not None or sniff_other(head) is not None


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False
