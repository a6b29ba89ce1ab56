"""Tar archives of photos: listed without unpacking, and read in place.

Every member is a region of the archive's file. A compressed archive can't be read from any place,
so it is first unpacked into a plain tar, its spool. Nothing is ever written under a name that an
archive brings.
"""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from alexnet.console import Progress, progress
from alexnet.container import SUFFIXES
from alexnet.errors import AlexNetError
from alexnet.files import atomic_path

NAMES = "classes.tsv"
_GZIP = b"\x1f\x8b"


class SourceError(AlexNetError):
    """A place that gives no photos, or an archive that is damaged."""


class Member(NamedTuple):
    """One photo: its path within the source, with `/`, and the region of a file that it fills."""

    name: str
    path: str
    offset: int
    length: int


class Rejection(NamedTuple):
    """A photo that is left out, and why."""

    name: str
    code: str
    sentence: str


@dataclass
class Listing:
    """What a folder or an archive holds, in no particular order."""

    members: list[Member] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    names: str | None = None
    """The text of its classes.tsv, if there is one."""


@dataclass(frozen=True)
class Spool:
    """A plain tar at `path` that must be unpacked before its members can be read."""

    path: Path
    archive: Path

    def fill(self) -> None:
        """Unpack the archive, unless an earlier run did."""
        if self.path.exists():
            return
        total = self.archive.stat().st_size >> 20
        with (
            progress(f"Unpacking {self.archive.name}", total=total, unit="MB") as bar,
            atomic_path(self.path) as temporary,
            temporary.open("wb") as out,
            self.archive.open("rb") as packed,
            gzip.open(packed) as file,
        ):
            done = 0
            while data := file.read(1 << 20):
                out.write(data)
                bar.advance((packed.tell() >> 20) - done)
                done = packed.tell() >> 20


def read_names(path: Path) -> str:
    """The text of a file of class names.

    Raises:
        SourceError: it is not UTF-8.
    """
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 text: {error}.") from error


def is_photo(name: str) -> bool:
    """Whether a file is taken for a photo: by its ending, and it is not hidden."""
    if os.path.splitext(name)[1].lower() not in SUFFIXES:  # noqa: PTH122 - a million Paths are slow
        return False
    # `._photo.jpg` is not a photo but what macOS adds to one.
    return not any(part.startswith(".") and part != ".." for part in name.split("/"))


def list_archive(archive: Path, *, spool: Path) -> tuple[Listing, Spool | None]:
    """List a .tar or .tar.gz, and check that it is whole.

    Returns:
        The listing, and for a compressed archive the file in the folder `spool` in which its
        photos will lie once it is filled.

    Raises:
        SourceError: damaged, truncated, or no tar archive.
    """
    with archive.open("rb") as file, _archive_errors(archive):
        packed = file.read(2) == _GZIP
        file.seek(0)
        if not packed:
            return list_tar(file, name=archive.name, path=archive), None
        # Another file under the same name must not meet the spool of the first one.
        facts = archive.stat()
        unpacked = spool / f"{archive.name}-{facts.st_size}-{facts.st_mtime_ns}.tar"
        with gzip.open(file) as stream:
            listing = list_tar(stream, name=archive.name, path=unpacked)
            while stream.read(1 << 20):
                pass  # up to gzip's checksum
        return listing, Spool(unpacked, archive)


def list_tar(file: IO[bytes] | gzip.GzipFile, *, name: str, path: Path) -> Listing:
    """List a plain tar that is read from `file` and will be found at `path`.

    Raises:
        tarfile.TarError: it is damaged, truncated, or no tar.
    """
    listing = Listing()
    stream: Any = _LastRead(file)
    with progress(f"Listing {name}", total=None, unit="photos") as bar:
        tar: Any = tarfile.open(fileobj=stream, mode="r:")  # noqa: SIM115 - `file` is to be closed
        while (member := tar.next()) is not None:
            tar.members = []  # else tarfile keeps a kilobyte for every member
            _add(listing, tar, member, path, bar)
    # tarfile takes a damaged header for the end, but the true end is a block of zeros.
    if stream.last != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it ends early")
    return listing


def _add(
    listing: Listing, tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, bar: Progress
) -> None:
    name = str(PurePosixPath(member.name))  # without ./ and //
    if name.rpartition("/")[2] == NAMES and name.count("/") <= 1 and member.isfile():
        text = tar.extractfile(member)
        listing.names = None if text is None else text.read().decode("utf-8-sig")
    if not is_photo(name):
        return
    if name.startswith("/") or ".." in name.split("/"):
        reason = "The name leads out of the archive."
        listing.rejected.append(Rejection(name, "unsafe_name", reason))
    elif not member.isfile() or member.issparse():
        reason = "The archive holds a link or another special entry in place of a photo."
        listing.rejected.append(Rejection(name, "not_a_file", reason))
    else:
        listing.members.append(Member(name, str(path), member.offset_data, member.size))
        bar.advance()


class _LastRead:
    """A file that remembers what was read from it last."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file = file
        self.last = b""
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        self.last = self._file.read(size)
        return self.last


@contextmanager
def _archive_errors(archive: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        raise SourceError(
            f"{archive} is damaged, or no tar archive (.tar, .tar.gz): {error}. Copy it again."
        ) from error
    except UnicodeDecodeError as error:
        raise SourceError(f"The {NAMES} in {archive} is not UTF-8 text: {error}.") from error
