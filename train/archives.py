"""Tar archives of photos: listed without unpacking, and read in place.

Every member is a region of the archive's file, also one of a tar inside the archive: that stands
for a folder of its name. A compressed archive can't be read from any place, so it is first unpacked
into a plain tar, its spool. Nothing is ever written under a name that an archive brings.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from alexnet.console import progress
from alexnet.errors import AlexNetError
from alexnet.files import atomic_path
from alexnet.photo_endings import has_photo_ending
from train.entries import Entry, Stream, entries

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
    return has_photo_ending(name) and not _hidden(name)


def list_archive(archive: Path, *, spool: Path) -> tuple[Listing, Spool | None]:
    """List a .tar or .tar.gz, and check that it is whole.

    Returns:
        The listing, and for a compressed archive the file in the folder `spool` in which its
        photos will lie once it is filled.

    Raises:
        SourceError: damaged, truncated, or no tar archive.
    """
    with open_tar(archive) as file:
        if not isinstance(file, gzip.GzipFile):
            return list_tar(file, name=archive.name, path=archive), None
        # Another file under the same name must not meet the spool of the first one.
        facts = archive.stat()
        unpacked = spool / f"{archive.name}-{facts.st_size}-{facts.st_mtime_ns}.tar"
        listing = list_tar(file, name=archive.name, path=unpacked)
        while file.read(1 << 20):
            pass  # up to gzip's checksum
        return listing, Spool(unpacked, archive)


@contextmanager
def open_tar(archive: Path) -> Iterator[Stream]:
    """The plain tar in a .tar or .tar.gz, to be read forwards.

    Raises:
        SourceError: the block finds it damaged, truncated, or no tar archive.
    """
    with archive.open("rb", buffering=0) as file, _archive_errors(archive):
        packed = file.read(2) == _GZIP
        file.seek(0)
        if packed:
            with gzip.open(file) as stream:
                yield stream
        else:
            yield file


def list_tar(file: Stream, *, name: str, path: Path) -> Listing:
    """List a plain tar that is read from `file` and will be found at `path`.

    Raises:
        tarfile.TarError: it is damaged, truncated, or no tar, or a tar inside it is.
    """
    listing = Listing()
    where = str(path)  # one text for all members
    with progress(f"Listing {name}", total=None, unit="photos") as bar:
        for entry in entries(file):
            before = len(listing.members)
            inner = _clean(entry.name)
            if inner.endswith(".tar") and entry.regular and not _hidden(inner):
                try:
                    add_tar(listing, file, path=where, region=entry, folder=inner[: -len(".tar")])
                except tarfile.TarError as error:
                    raise tarfile.ReadError(f"in {inner}: {error}") from error
            elif inner.rpartition("/")[2] == NAMES and inner.count("/") <= 1 and entry.regular:
                file.seek(entry.offset)
                listing.names = file.read(entry.length).decode("utf-8-sig")
            else:
                _add(listing, entry, path=where)
            if len(listing.members) > before:
                bar.advance(len(listing.members) - before)
    return listing


def add_tar(
    listing: Listing, file: Stream, *, path: str, folder: str, region: Entry | None = None
) -> None:
    """Add the photos of a plain tar as if they lay in `folder`.

    Args:
        listing: what gets them.
        file: where the tar is read from.
        path: where it will be found.
        folder: put before the photos' names.
        region: the part of the file that the tar fills; None for the whole.

    Raises:
        tarfile.TarError: it is damaged, truncated, or no tar.
    """
    start, end = (region.offset, region.offset + region.length) if region else (0, None)
    for entry in entries(file, start=start, end=end):
        _add(listing, entry, path=path, folder=f"{folder}/")


def _add(listing: Listing, entry: Entry, *, path: str, folder: str = "") -> None:
    name = folder + _clean(entry.name)
    if not is_photo(name):
        return
    if name.startswith("/") or "//" in name or ".." in name.split("/"):
        reason = "The name leads out of the archive."
        listing.rejected.append(Rejection(name, "unsafe_name", reason))
    elif not entry.regular:
        reason = "The archive holds a link or another special entry in place of a photo."
        listing.rejected.append(Rejection(name, "not_a_file", reason))
    else:
        listing.members.append(Member(name, path, entry.offset, entry.length))


def _clean(name: str) -> str:
    """A path without ./ and //."""
    return str(PurePosixPath(name)) if "/" in name else name


def _hidden(name: str) -> bool:
    # `._photo.jpg` is not a photo but what macOS adds to one.
    return any(part.startswith(".") and part != ".." for part in name.split("/"))


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
