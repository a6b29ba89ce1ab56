"""Photos in tar shards (WebDataset), read from front to back without unpacking anything."""

from __future__ import annotations

import io
import os
import sys
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice

from alexnet import tars
from alexnet.container import HEAD, sniff, sniff_other
from alexnet.junk import is_junk
from alexnet.photo_endings import has_photo_ending
from alexnet.photo_error import CorruptPhotoError, PhotoError
from alexnet.tars import TAR_SUFFIXES, Entry, Stream, TarDamageError, compression, entries, open_tar
from serve.folders import LeftOut, open_file
from serve.remote import MAX_BYTES, is_url, open_url, too_large, unreadable

# Tars in tars in tars: ImageNet's is one of the second level. A tar that holds itself has no end.
_DEPTH = 4
# Files of a tar that a hard link may lead to, and folders that were counted: the last ones.
_REMEMBERED = 100_000


class CorruptShardError(CorruptPhotoError):
    """A shard that can't be read, or not to its end."""

    code = "corrupt_shard"


class EmptyShardError(PhotoError):
    """A shard without a photo."""

    code = "empty_shard"


def is_shard(name: str) -> bool:
    """Whether a path or URL is read as a shard."""
    return (name.partition("?")[0] if is_url(name) else name).lower().endswith(TAR_SUFFIXES)


def photos_in_shard(
    shard: str, *, skip: int = 0, left_out: LeftOut | None = None
) -> Iterator[tuple[str, bytes | PhotoError]]:
    """Path (`shard.tar/key.jpg`) and bytes of each photo in a shard, in the shard's order.

    Photos are told by their endings, and where a name has none by their first bytes; hidden ones,
    thumbnails and trash are left out. Tars inside are read as folders of their name would be. A
    photo that can't be read, a link to nowhere say, has an error in the place of its bytes. So has
    the shard itself, under its own name, when it can't be opened, is damaged or holds no photo;
    nothing follows then.

    Args:
        shard: a path or URL. What it is compressed with, its first bytes say.
        skip: pairs at the beginning that are left out, their bytes not looked at.
        left_out: counts the folders that were passed over so far, also before what is skipped.
    """
    return islice(_pairs(shard, skip, left_out), skip, None)


def count_photos(shard: str) -> int:
    """How many pairs `photos_in_shard` gives. The photos' bytes are not looked at."""
    return sum(1 for _ in _pairs(shard, sys.maxsize))


def is_empty(shard: str, left_out: LeftOut | None = None) -> bool:
    """Whether a shard can be read and holds no photo; it is read as far as the first one."""
    return any(isinstance(content, EmptyShardError) for _, content in _pairs(shard, 1, left_out))


def _pairs(
    shard: str, skip: int, left_out: LeftOut | None = None
) -> Iterator[tuple[str, bytes | PhotoError]]:
    """All pairs, the first `skip` without their bytes."""
    count = 0
    try:
        with open_url(shard) if is_url(shard) else open_file(shard) as file:
            stream = open_tar(file)
            # The descriptor of a local tar that is not compressed.
            disk = stream.fileno() if isinstance(stream, io.FileIO) else None
            reading = _Shard(skip, left_out or LeftOut())
            for pair in reading.pairs(shard, stream, entries(stream), disk=disk, depth=1):
                count += 1
                yield pair
        if not count:
            yield shard, EmptyShardError("This tar holds no photo.")
    except PhotoError as error:
        yield shard, error
    except TarDamageError as error:
        yield shard, _damaged(error, count)
    except Exception as error:  # a disk, or a store with errors of its own
        yield shard, unreadable(shard, error)


def _damaged(error: TarDamageError, count: int) -> CorruptShardError:
    rest = f" {count:,} photos of it were read, the rest is missing." if count else ""
    return CorruptShardError(f"This tar can't be read to its end: {error}.{rest}")


class _Shard:
    """One reading of a tar, and of the tars in it."""

    def __init__(self, skip: int, left_out: LeftOut) -> None:
        self._skip, self._left_out = skip, left_out
        # Folders that were counted, as each photo in them is an entry of its own.
        self._passed: OrderedDict[str, None] = OrderedDict()
        # What a hard link may lead to: files before it, by their paths.
        self._files: OrderedDict[str, Entry] = OrderedDict()

    def pairs(
        self, folder: str, stream: Stream, found: Iterator[Entry], *, disk: int | None, depth: int
    ) -> Iterator[tuple[str, bytes | PhotoError]]:
        """What `photos_in_shard` gives.

        Args:
            folder: the tar's name.
            stream: what it is read from.
            found: its entries.
            disk: a descriptor of the file where the bytes lie as they are, if they do.
            depth: 1, in a tar 2, and so on.

        Raises:
            TarDamageError: the tar is damaged.
        """
        for entry in found:
            path = f"{folder}/{entry.name}"
            if any(map(is_junk, entry.name.split("/"))):
                self._count_folder(folder, entry)
                continue
            if entry.kind == "folder":
                continue
            if entry.kind == "file" and disk is not None:
                self._remember(path, entry)
            if entry.kind == "file" and is_shard(entry.name):
                yield from self._inner(path, stream, entry, disk=disk, depth=depth + 1)
            elif has_photo_ending(entry.name):
                yield path, self._content(path, folder, stream, entry, disk=disk)
            elif entry.kind == "file" and "." not in entry.name.rpartition("/")[2]:
                peeked = _Peeked(stream, entry, HEAD)
                if sniff(peeked.head) or sniff_other(peeked.head):
                    yield path, self._content(path, folder, peeked, entry, disk=disk)

    def _inner(
        self, path: str, stream: Stream, entry: Entry, *, disk: int | None, depth: int
    ) -> Iterator[tuple[str, bytes | PhotoError]]:
        """The pairs of a tar in a tar. Where that is damaged, the outer one goes on behind it."""
        count = 0
        try:
            if depth > _DEPTH:
                raise TarDamageError(f"more than {_DEPTH} tars lie in each other")
            peeked = _Peeked(stream, entry, tars.HEAD)
            inside: Stream = peeked
            if compression(peeked.head):
                inside, disk = open_tar(_Limited(peeked, entry.length)), None
                found = entries(inside)
            else:
                found = entries(peeked, start=entry.offset, end=entry.offset + entry.length)
            for pair in self.pairs(path, inside, found, disk=disk, depth=depth):
                count += 1
                yield pair
        except TarDamageError as error:
            yield path, _damaged(error, count)
        else:
            if not count:
                yield path, EmptyShardError("This tar holds no photo.")

    def _content(
        self, path: str, folder: str, stream: Stream, entry: Entry, *, disk: int | None
    ) -> bytes | PhotoError:
        self._skip -= 1
        if entry.kind == "hard_link" and disk is not None:
            linked = self._files.get(f"{folder}/{entry.target}")
            if linked is not None:
                self._remember(path, linked)
                if linked.length > MAX_BYTES:
                    return too_large(path)
                return os.pread(disk, linked.length, linked.offset) if self._skip < 0 else b""
        if entry.kind != "file":
            return _no_bytes(path, entry)
        if entry.length > MAX_BYTES:
            return too_large(path)
        # Of what is skipped the last byte is read, to know that it is there.
        size = entry.length if self._skip < 0 else min(1, entry.length)
        stream.seek(entry.offset + entry.length - size)
        data = stream.read(size)
        if len(data) < size:
            raise TarDamageError("it ends early")
        return data

    def _count_folder(self, folder: str, entry: Entry) -> None:
        """Count what is left out, if it is a folder or lies in one that was not counted yet."""
        parts = entry.name.split("/")
        size = 1 + next(place for place, part in enumerate(parts) if is_junk(part))
        if size == len(parts) and entry.kind != "folder":  # a hidden file
            return
        path = "/".join([folder, *parts[:size]])
        self._left_out.folders += path not in self._passed
        self._passed[path] = None
        if len(self._passed) > _REMEMBERED:
            self._passed.popitem(last=False)

    def _remember(self, path: str, entry: Entry) -> None:
        self._files[path] = entry
        if len(self._files) > _REMEMBERED:
            self._files.popitem(last=False)


def _no_bytes(path: str, entry: Entry) -> PhotoError:
    kinds = {"symbolic_link": "a link", "hard_link": "a link", "sparse": "stored with holes"}
    what = kinds.get(entry.kind, "a special entry")
    to = f" to '{entry.target}', whose bytes can't be gone back to" if what == "a link" else ""
    return PhotoError(
        f"'{path}' is {what}{to} in its tar: unpack that to read it.", code="unreadable_file"
    )


class _Peeked:
    """A stream that stands at an entry, of which the first bytes are known."""

    def __init__(self, stream: Stream, entry: Entry, size: int) -> None:
        stream.seek(entry.offset)
        self.head = self._waiting = stream.read(min(size, entry.length))
        self._stream, self._at = stream, entry.offset

    def tell(self) -> int:
        """Bytes before the place where it stands."""
        return self._at

    def read(self, size: int, /) -> bytes:
        """`size` bytes, fewer only at the end."""
        data, self._waiting = self._waiting[:size], self._waiting[size:]
        if len(data) < size:
            data += self._stream.read(size - len(data))
        self._at += len(data)
        return data

    def seek(self, position: int, /) -> None:
        """Go forward."""
        self._waiting = self._waiting[position - self._at :]
        if not self._waiting:
            self._stream.seek(position)
        self._at = position


class _Limited:
    """Some bytes of a stream, from where it stands."""

    def __init__(self, stream: Stream, length: int) -> None:
        self._stream, self._left = stream, length

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""
        data = self._stream.read(min(size, self._left))
        self._left -= len(data)
        return data
