"""The entries of a tar, by their headers alone; also of a tar that lies inside another file.

`tarfile` takes four times as long for a header, which counts with the million photos of ImageNet.
Nearly all headers are plain ones and are read here; every other one is left to `tarfile`.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

Stream = IO[bytes] | gzip.GzipFile | io.FileIO

_BLOCK = tarfile.BLOCKSIZE
_END = bytes(_BLOCK)


class Entry(NamedTuple):
    """What a header says."""

    name: str
    offset: int
    """Where its data begin, in the file that was read."""
    length: int
    """Bytes of its data."""
    regular: bool
    """Whether it is a file whose bytes lie there in one piece."""


def entries(file: Stream, *, start: int = 0, end: int | None = None) -> Iterator[Entry]:
    """The entries of the tar that begins at `start`; `file` is only ever read forwards.

    Between two entries the caller may read `file` too, up to the end of the first one's data.

    Args:
        file: where the tar lies.
        start: its first byte.
        end: the byte behind its last one; None when it is the rest of the file.

    Raises:
        tarfile.TarError: it is damaged, truncated, or no tar.
    """
    # A TarFile of nothing lends what tarfile knows of rare headers.
    tar: Any = tarfile.open(fileobj=io.BytesIO(_END), mode="r:")  # noqa: SIM115
    at = start
    while True:
        file.seek(at)
        block = file.read(_BLOCK)
        if len(block) < _BLOCK or (end is not None and at + _BLOCK > end):
            raise tarfile.ReadError("it ends early")
        if block == _END:
            return
        entry = None if tar.pax_headers else _plain(block, at + _BLOCK)
        if entry is not None:
            following = entry.offset + -(-entry.length // _BLOCK) * _BLOCK
        else:
            tar.fileobj = _Again(file, block)
            info = tarfile.TarInfo.fromtarfile(tar)
            regular = info.isfile() and not info.issparse()
            entry = Entry(info.name, info.offset_data, info.size, regular)
            following = tar.offset
        if following <= at:
            raise tarfile.ReadError("an entry has a negative size")
        if end is not None and following > end:
            raise tarfile.ReadError("it ends early")
        yield entry
        at = following


def _plain(block: bytes, offset: int) -> Entry | None:
    """The entry of a header of the plainest kind: a file with a short name in ASCII."""
    name = block[:100].partition(b"\0")[0]
    size, checksum = block[124:136].strip(b" \0"), block[148:156].strip(b" \0")
    if (
        block[156] not in b"0\0"
        or block[345]  # the first half of a long name, or times
        or not name.isascii()
        or name.endswith(b"/")
        or not (size.isdigit() and checksum.isdigit())
    ):
        return None
    try:
        if int(checksum, 8) != sum(block) - sum(block[148:156]) + 8 * ord(" "):
            return None
        return Entry(name.decode("ascii"), offset, int(size, 8), True)
    except ValueError:  # an 8 or a 9 is no octal digit
        return None


class _Again:
    """A file of which a block has been read, and is read again without going back.

    In a gzip stream, to go back is to begin anew.
    """

    def __init__(self, file: Stream, block: bytes) -> None:
        self._file, self._block = file, block
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        block, self._block = self._block, b""
        return block or self._file.read(size)
