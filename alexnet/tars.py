"""Tar archives as streams: their entries by their headers alone, whatever they are compressed with.

A tar is only ever read forwards, so that it may come from a disk, a decompressor or a web server,
and may lie inside another file. Nothing is passed over in silence: zeros where a header should be,
a damaged header and a missing end are each a `TarDamageError`.

`tarfile` takes four times as long for a header, which counts with the million photos of ImageNet.
Nearly all headers are plain ones and are read here; every other one is left to `tarfile`.
"""

from __future__ import annotations

import bz2
import io
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Literal, NamedTuple, Protocol

TAR_SUFFIXES = (
    *(".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz"),
    *(".tar.zst", ".tzst"),
)
"""Endings, in lower case, of files that are taken for tars, also of those that are refused."""
HEAD = 10
"""Bytes from the start of a file that are enough for `compression`."""

Kind = Literal["file", "folder", "hard_link", "symbolic_link", "sparse", "other"]

_BLOCK = tarfile.BLOCKSIZE
_END = bytes(_BLOCK)
_MARKER = 2 * _BLOCK
_RECORD = tarfile.RECORDSIZE
_PIECE = 2**20
# xz's own highest setting takes 65 MiB; a file may ask for 4 GiB.
_XZ_MEMORY = 2**30
_MAX_EXTENDED = 2**20

_MAGIC = {  # a plain tar begins with a name, "BZhang/1.jpg" perhaps: letters alone say nothing
    "gzip": rb"\x1f\x8b",
    "bzip2": rb"BZh[1-9](1AY&SY|\x17rE8P\x90)",
    "xz": rb"\xfd7zXZ\0",
    "zstd": rb"\x28\xb5\x2f\xfd",
    "lz4": rb"\x04\x22\x4d\x18",
    "lzip": rb"LZIP\x01",
    "compress": rb"\x1f\x9d",
    "zip": rb"PK\x03\x04",
    "7-Zip": rb"7z\xbc\xaf\x27\x1c",
    "RAR": rb"Rar!\x1a\x07",
}
_MAGIC_COMPILED = {name: re.compile(magic, re.DOTALL) for name, magic in _MAGIC.items()}
_READ = ("gzip", "bzip2", "xz")


class TarDamageError(Exception):
    """A tar that is damaged, cut off, or none; the message is a clause: "it ends early"."""


class TarPackingError(TarDamageError):
    """Compressed in a way that is not read; the message is a clause as well."""


class Readable(Protocol):
    """What bytes come from; a call may give fewer than were asked for."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""


class Stream(Protocol):
    """What a tar is read from: a file that is open without a buffer, or a `ForwardReader`."""

    def read(self, size: int, /) -> bytes:
        """`size` bytes, fewer only at the end."""

    def seek(self, position: int, /) -> Any:
        """Go to a place further on."""

    def tell(self) -> int:
        """Bytes before the place where it stands."""


class Entry(NamedTuple):
    """What a header says."""

    name: str
    offset: int
    """Where its data begin, in the stream that was read."""
    length: int
    """Bytes of its data."""
    kind: Kind
    """`file`: its bytes lie there in one piece. Of every other kind there are none to read."""
    target: str = ""
    """What a link leads to: a hard link to an earlier name in the tar, a symbolic link anywhere."""


def compression(head: bytes) -> str | None:
    """What a file that begins with `head` is packed with, by its bytes; None: nothing known."""
    return next((name for name, magic in _MAGIC_COMPILED.items() if magic.match(head)), None)


def open_tar(file: Readable) -> Stream:
    """The plain tar in `file`, which stands at its beginning and need not be seekable.

    gzip, bzip2 and xz are told by the first bytes, never by a name. The caller closes `file`.

    Returns:
        `file` itself when it is a local one without a buffer that holds a plain tar, else a
        `ForwardReader`.

    Raises:
        TarPackingError: it is compressed with something else, or no tar but a zip, 7-Zip or RAR.
    """
    head = b""
    while len(head) < HEAD and (part := file.read(HEAD - len(head))):
        head += part
    packing = compression(head)
    if packing in _READ:
        return ForwardReader(_Unpacker(file, packing, head))
    if packing is not None:
        raise TarPackingError(
            f"it is packed with {packing}, which is not read: unpack it, or pack it as .tar or "
            ".tar.gz"
        )
    if isinstance(file, io.FileIO) and file.seekable():
        file.seek(0)
        return file
    return ForwardReader(file, head)


def entries(file: Stream, *, start: int = 0, end: int | None = None) -> Iterator[Entry]:
    """The entries of the tar that begins at `start`; `file` is only ever read forwards.

    Between two entries the caller may read `file` too, up to the end of the first one's data.
    A tar behind another one is read on as `tar --ignore-zeros` does. All is read up to `end`, so
    that the checksum of a compressed stream is checked as well.

    Args:
        file: where the tar lies.
        start: its first byte.
        end: the byte behind its last one; None when it is the rest of the file.

    Raises:
        TarDamageError: it is damaged, cut off, or no tar.
        TarPackingError: it is compressed, as a tar in a tar may be.
        OSError: the file can't be read.
    """
    # A TarFile of nothing lends what tarfile knows of rare headers.
    tar: Any = tarfile.open(fileobj=io.BytesIO(_END), mode="r:", encoding="utf-8")  # noqa: SIM115
    at, zeros = start, 0
    while True:
        file.seek(at)
        block = file.read(_BLOCK if end is None else max(0, min(_BLOCK, end - at)))
        if len(block) < _BLOCK:
            if zeros and not any(block):
                return
            raise _hole(at - zeros, at) if zeros else TarDamageError("it ends early")
        if block == _END:
            zeros += _BLOCK
            at += _BLOCK
            continue
        if zeros:
            _check_gap(zeros, at=at, start=start)
            start = at
        entry = None if tar.pax_headers else _plain(block, at + _BLOCK)
        if entry is not None:
            following = entry.offset + -(-entry.length // _BLOCK) * _BLOCK
        else:
            entry, following = _rare(tar, file, block, at=at, first=at == start, zeros=zeros)
        if end is not None and following > end:
            raise TarDamageError("it ends early")
        zeros = 0
        yield entry
        at = following


def _check_gap(zeros: int, *, at: int, start: int) -> None:
    """Tell the end of a tar, with another one behind it, from a hole.

    An end marker is two blocks of zeros; most programs fill up a record of 20 blocks with more. A
    hole as long as that between two headers would be taken for it, which nobody can tell apart.
    """
    end = at - zeros  # of the tar's last entry
    record = start + -(-(end + _MARKER - start) // _RECORD) * _RECORD
    if zeros != _MARKER and at != record:
        raise _hole(end, at)


def _hole(end: int, at: int) -> TarDamageError:
    return TarDamageError(
        f"from byte {end:,} to byte {at:,} zeros lie where its entries should be, and what follows "
        "is not empty"
    )


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
        # Most of it is zeros, which take as long to add as others.
        total = sum(block.translate(None, b"\0")) - sum(block[148:156]) + 8 * ord(" ")
        if int(checksum, 8) != total:
            return None
        return Entry(name.decode("ascii"), offset, int(size, 8), "file")
    except ValueError:  # an 8 or a 9 is no octal digit
        return None


def _rare(
    tar: Any, file: Stream, block: bytes, *, at: int, first: bool, zeros: int
) -> tuple[Entry, int]:
    """The entry of any header, by tarfile, and where the next header lies."""
    tar.fileobj = _Again(file, block)
    try:
        info = tarfile.TarInfo.fromtarfile(tar)
    except (tarfile.TarError, ValueError, RecursionError) as error:
        if zeros:
            raise _hole(at - zeros, at) from error
        if first and (packing := compression(block)) is not None:
            raise TarPackingError(f"it is packed with {packing}: unpack it first") from error
        deep = isinstance(error, RecursionError)
        raise TarDamageError("too many extended headers" if deep else str(error)) from error
    following: int = tar.offset
    if following <= at:
        raise TarDamageError("an entry has a negative size")
    return Entry(info.name, info.offset_data, info.size, _kind(info), info.linkname), following


def _kind(info: tarfile.TarInfo) -> Kind:
    if info.issparse():
        return "sparse"
    if info.isfile():
        return "file"
    if info.isdir():
        return "folder"
    if info.islnk():
        return "hard_link"
    return "symbolic_link" if info.issym() else "other"


class _Again:
    """A file of which a block has been read, and is read again without going back."""

    def __init__(self, file: Stream, block: bytes) -> None:
        self._file, self._block = file, block
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        """The block that was read, then what follows it."""
        if self._block:
            block, self._block = self._block, b""
            return block
        # Names and times of a file; a damaged or evil header could ask for all memory.
        if size > _MAX_EXTENDED:
            raise tarfile.ReadError("an extended header of more than 1 MiB")
        return self._file.read(size)


class ForwardReader:
    """Bytes that are read forwards only, exactly as many as were asked for."""

    def __init__(self, file: Readable, head: bytes = b"") -> None:
        """Read from `file`, of which the first bytes, `head`, were read already."""
        self._file, self._head, self._at = file, head, 0

    def tell(self) -> int:
        """Bytes before the place where it stands."""
        return self._at

    def read(self, size: int, /) -> bytes:
        """`size` bytes, fewer only at the end."""
        parts = []
        if self._head:
            parts.append(self._head[:size])
            self._head = self._head[size:]
            size -= len(parts[0])
        while size > 0 and (part := self._file.read(size)):
            parts.append(part)
            size -= len(part)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._at += len(data)
        return data

    def seek(self, position: int, /) -> None:
        """Go forward, by reading where the file can't jump; past the end there is nothing to read.

        Raises:
            TarDamageError: the place lies behind.
        """
        if position == self._at:
            return
        if position < self._at:
            raise TarDamageError("a header points backwards")
        jump = getattr(self._file, "seek", None)
        # A stream from a web server calls itself seekable, and is not.
        with suppress(OSError, ValueError):
            if jump is not None and position - self._at > len(self._head):
                jump(position)
                self._at, self._head = position, b""
        while self._at < position and self.read(min(_PIECE, position - self._at)):
            pass


class _Unpacker:
    """What gzip, bzip2 or xz packed: one stream or several behind each other, to the last byte.

    The standard library's own readers drop what lies behind a bzip2 or xz stream.
    """

    def __init__(self, file: Readable, packing: str, head: bytes) -> None:
        self._file, self._packing, self._packed = file, packing, head
        self._stream: Any = _decompressor(packing)
        self._data, self._at = b"", 0

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""
        while self._at == len(self._data):
            if self._stream.eof and not self._next_stream():
                return b""
            self._data, self._at = self._unpack(), 0
        data = self._data[self._at : self._at + size]
        self._at += len(data)
        return data

    def _unpack(self) -> bytes:
        """Some bytes of the stream; none when it has ended, or needs more to go on."""
        waiting = not getattr(self._stream, "needs_input", True)
        if not self._packed and not waiting:
            self._packed = self._file.read(_PIECE)
            if not self._packed:
                raise TarDamageError("it ends early")
        packed, self._packed = self._packed, b""
        try:
            data: bytes = self._stream.decompress(packed, _PIECE)
        except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
            raise TarDamageError(f"what {self._packing} packed is damaged ({error})") from error
        if self._stream.eof:
            self._packed = self._stream.unused_data
        elif self._packing == "gzip":
            self._packed = self._stream.unconsumed_tail
        return data

    def _next_stream(self) -> bool:
        """Begin the stream that follows; False when there is none, only zeros perhaps."""
        more = self._packed or self._file.read(_PIECE)
        self._packed = b""
        while more:
            self._packed = (self._packed + more).lstrip(b"\0")
            more = b"" if len(self._packed) >= HEAD else self._file.read(_PIECE)
        if not self._packed:
            return False
        if compression(self._packed) != self._packing:
            raise TarDamageError(f"behind what {self._packing} packed lie other bytes")
        self._stream = _decompressor(self._packing)
        return True


def _decompressor(packing: str) -> Any:
    if packing == "gzip":
        return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)  # checks gzip's checksum and length
    if packing == "bzip2":
        return bz2.BZ2Decompressor()
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
