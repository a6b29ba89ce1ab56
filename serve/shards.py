"""Photos in tar shards (WebDataset), read from front to back without unpacking anything."""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any

from alexnet.photo_error import CorruptPhotoError, PhotoError
from serve.folders import is_photo_name
from serve.remote import MAX_BYTES, is_url, open_url, too_large, unreadable

SUFFIXES = (".tar", ".tar.gz", ".tgz")
"""Endings of what is read as a shard."""

_END = bytes(tarfile.BLOCKSIZE)
_SKIP = 2**20


class CorruptShardError(CorruptPhotoError):
    """A shard that begins as a tar should and then breaks off or makes no sense."""

    code = "corrupt_shard"


def is_shard(name: str) -> bool:
    """Whether a path or URL is read as a shard."""
    return _file_name(name).endswith(SUFFIXES)


def _file_name(name: str) -> str:
    return (name.partition("?")[0] if is_url(name) else name).lower()


def photos_in_shard(shard: str, *, skip: int = 0) -> Iterator[tuple[str, bytes | PhotoError]]:
    """Path (`shard.tar/key.jpg`) and bytes of each photo in a shard, in the shard's order.

    Photos are told by their endings, hidden ones left out. A photo that can't be read, a link say,
    has an error in the place of its bytes. So has the shard itself, under its own name, when it
    can't be opened or is damaged; nothing follows then.

    Args:
        shard: a path or URL.
        skip: pairs at the beginning that are left out, their bytes not looked at.
    """
    return islice(_pairs(shard, skip), skip, None)


def count_photos(shard: str) -> int:
    """How many pairs `photos_in_shard` gives. The photos' bytes are not looked at."""
    return sum(1 for _ in _pairs(shard, sys.maxsize))


def _pairs(shard: str, skip: int) -> Iterator[tuple[str, bytes | PhotoError]]:
    """All pairs, the first `skip` without their bytes."""
    count = 0
    try:
        with _open(shard) as file:
            for pair in _members(shard, file, skip):
                count += 1
                yield pair
    except PhotoError as error:
        yield shard, error
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        yield shard, _damaged(error, count)
    except Exception as error:  # a disk, or a store with errors of its own
        yield shard, unreadable(shard, error)


def _open(shard: str) -> IO[bytes]:
    file = open_url(shard) if is_url(shard) else Path(shard).open("rb")  # noqa: SIM115
    if _file_name(shard).endswith(".tar"):
        return file
    return io.BufferedReader(_Unzipped(file))


def _members(shard: str, file: IO[bytes], skip: int) -> Iterator[tuple[str, bytes | PhotoError]]:
    watched = _Watched(file)
    stream: Any = watched
    tar: Any
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # it would keep every header to the end
            if member.isdir() or not is_photo_name(member.name):
                continue
            path = f"{shard}/{member.name}"
            skip -= 1
            if not member.isreg() or member.issparse():
                reason = "is a link or another special entry of its tar and has no bytes"
                yield path, PhotoError(f"'{path}' {reason}.", code="unreadable_file")
            elif member.size > MAX_BYTES:
                yield path, too_large(path)
            else:
                # Of what is skipped the last byte is read, to know that it is there.
                size = member.size if skip < 0 else min(1, member.size)
                watched.seek(member.offset_data + member.size - size)
                data = watched.read(size)
                if len(data) < size:
                    raise tarfile.ReadError
                yield path, data
    if watched.last != _END:  # tarfile takes damage here for the end
        raise tarfile.ReadError


def _damaged(error: Exception, count: int) -> CorruptShardError:
    if not count and "header" in str(error):
        return CorruptShardError("This is no tar, or its beginning is damaged.")
    return CorruptShardError(
        f"This tar breaks off or is damaged: {count:,} photos of it were read, the rest is missing."
    )


class _Unzipped(gzip.GzipFile):
    """A gzip stream, which can't jump: to go forward in it is to read."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(fileobj=file)
        self._source = file

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        super().close()
        self._source.close()


class _Watched:
    """A file that is read forwards only, and the block that was read last."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._at, self.last = file, 0, b""

    def tell(self) -> int:
        return self._at

    def read(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end of the file."""
        parts = []
        while size > 0 and (part := self._file.read(size)):
            parts.append(part)
            size -= len(part)
        self.last = parts[0] if len(parts) == 1 else b"".join(parts)
        self._at += len(self.last)
        return self.last

    def seek(self, position: int) -> None:
        """Go forward; past the end there is nothing to read."""
        if position < self._at:
            raise tarfile.ReadError("a header that points backwards")
        # A stream from a web server calls itself seekable, and is not.
        with suppress(OSError, ValueError):
            self._file.seek(position)
            self._at = position
        while self._at < position and self.read(min(_SKIP, position - self._at)):
            pass
