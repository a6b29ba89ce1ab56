"""Tar archives of photos: listed without unpacking, and read in place.

Every member is a region of the archive's file, also one of a tar inside the archive: that stands
for a folder of its name. A compressed archive can't be read from any place, so it is first unpacked
into a plain tar, its spool. Nothing is ever written under a name that an archive brings.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from alexnet import tars
from alexnet.console import Progress, progress
from alexnet.files import atomic_path
from alexnet.junk import is_junk
from alexnet.photo_endings import has_photo_ending
from alexnet.tars import TAR_SUFFIXES, Entry, Stream, TarDamageError, TarPackingError, entries
from train.listing import Listing, Member, Rejection, SourceError

_MAX_DEPTH = 8
_MAX_LINKS = 40


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
            self.archive.open("rb", buffering=0) as packed,
            archive_errors(self.archive),
        ):
            file, done = tars.open_tar(packed), 0
            while data := file.read(1 << 20):
                out.write(data)
                bar.advance((packed.tell() >> 20) - done)
                done = packed.tell() >> 20


def list_archive(archive: Path, *, spool: Path) -> tuple[Listing, Spool | None]:
    """List a tar, also one packed with gzip, bzip2 or xz, and check that it is whole.

    Returns:
        The listing, and for a compressed archive the file in the folder `spool` in which its
        photos will lie once it is filled.

    Raises:
        SourceError: damaged, cut off, or no tar archive.
    """
    with open_tar(archive) as (file, packed):
        if not packed:
            return list_tar(file, name=archive.name, path=archive), None
        # Another file under the same name must not meet the spool of the first one.
        facts = archive.stat()
        unpacked = spool / f"{archive.name}-{facts.st_size}-{facts.st_mtime_ns}.tar"
        return list_tar(file, name=archive.name, path=unpacked), Spool(unpacked, archive)


@contextmanager
def open_tar(archive: Path) -> Iterator[tuple[Stream, bool]]:
    """The plain tar in an archive, to be read forwards, and whether it is packed.

    Raises:
        SourceError: the block finds it damaged, cut off, or no tar archive.
    """
    with archive.open("rb", buffering=0) as file, archive_errors(archive):
        stream = tars.open_tar(file)
        yield stream, stream is not file


@contextmanager
def archive_errors(archive: Path) -> Iterator[None]:
    """Say of which archive a `TarDamageError` is."""
    try:
        yield
    except TarPackingError as error:
        raise SourceError(f"{archive} can't be read: {error}.") from error
    except TarDamageError as error:
        raise SourceError(
            f"{archive} is damaged, or no tar archive (.tar, .tar.gz): {error}. Copy it again."
        ) from error


def list_tar(file: Stream, *, name: str, path: Path) -> Listing:
    """List a plain tar that is read from `file` and will be found at `path`.

    Raises:
        TarDamageError: it is damaged, cut off, or no tar, or a tar inside it is.
    """
    listing = Listing()
    with progress(f"Listing {name}", total=None, unit="photos") as bar:
        add_tar(listing, file, path=str(path), bar=bar)
    return listing


def add_tar(
    listing: Listing, file: Stream, *, path: str, folder: str = "", bar: Progress | None = None
) -> None:
    """Add the photos of a plain tar as if they lay in `folder`.

    Args:
        listing: what gets them.
        file: where the tar is read from.
        path: where it will be found.
        folder: put before the photos' names.
        bar: is told of them.

    Raises:
        TarDamageError: it is damaged, cut off, or no tar, or a tar inside it is.
    """
    _Tar(listing, file, path, bar).add(f"{folder}/" if folder else "")


@dataclass
class _Tar:
    """A tar that is being listed."""

    listing: Listing
    file: Stream
    path: str
    bar: Progress | None
    links: dict[str, Entry] = field(default_factory=dict)

    def add(self, folder: str) -> None:
        self._add_entries(folder, start=0, end=None, depth=0)
        self._follow_links(folder)

    def _add_entries(self, folder: str, *, start: int, end: int | None, depth: int) -> None:
        for entry in entries(self.file, start=start, end=end):
            before = len(self.listing.members)
            name = folder + _clean(entry.name)
            if entry.name.startswith("/") or "//" in name or ".." in name.split("/"):
                self.listing.reject(name, "unsafe_name", "The name leads out of the archive.")
            elif entry.kind == "folder":
                self.listing.add_folder(name)
            elif entry.kind in ("hard_link", "symbolic_link"):
                self.links[name] = entry._replace(target=_target(entry, name, folder))
            elif entry.kind != "file":
                reason = "The archive holds a special entry in place of a photo."
                self.listing.reject(name, "not_a_file", reason)
            elif name.lower().endswith(TAR_SUFFIXES) and not _is_hidden(name):
                self._add_inner(entry, name, depth=depth + 1)
            else:
                self._add_file(entry, name)
            if depth == 0 and self.bar is not None and len(self.listing.members) > before:
                self.bar.advance(len(self.listing.members) - before)

    def _add_file(self, entry: Entry, name: str) -> None:
        def look(size: int) -> bytes:
            self.file.seek(entry.offset)
            return self.file.read(min(size, entry.length))

        self.listing.add(Member(name, self.path, entry.offset, entry.length), look)

    def _add_inner(self, entry: Entry, name: str, *, depth: int) -> None:
        """Add a tar in the tar, which stands for a folder."""
        if depth > _MAX_DEPTH:
            raise TarPackingError(f"{name} is the {depth}th tar in a tar: unpack the outer ones")
        end = entry.offset + entry.length
        try:
            folder = f"{without_suffix(name)}/"
            self._add_entries(folder, start=entry.offset, end=end, depth=depth)
        except TarDamageError as error:  # also of a subclass
            raise type(error)(f"in {name}: {error}") from error

    def _follow_links(self, folder: str) -> None:
        """Give links the bytes of the files that they lead to, as unpacking would."""
        if not self.links:
            return
        listing = self.listing
        files = {**listing.hidden, **{member.name: member for member in listing.members}}
        for name, link in self.links.items():
            target, count = link.target, 0
            while target in self.links and count < _MAX_LINKS:
                target, count = self.links[target].target, count + 1
            self.links[name] = link._replace(target=target)  # one step for links to this one
            found = files.get(target)
            if found is not None and name not in files:
                if has_photo_ending(name):
                    listing.add(found._replace(name=name), lambda size: b"")
            elif target in listing.folders and not _is_hidden(name):
                reason = "The archive holds a link to a folder here, which is not followed."
                listing.rejected.append(Rejection(name, "not_a_file", reason))
            elif name not in files:
                reason = "This is a link that leads nowhere, or out of the archive."
                listing.reject(name, "not_a_file", reason)


def without_suffix(name: str) -> str:
    """The name of a tar without its ending."""
    suffix = next(suffix for suffix in TAR_SUFFIXES if name.lower().endswith(suffix))
    return name[: -len(suffix)]


def _target(entry: Entry, name: str, folder: str) -> str:
    """The path that a link leads to, as those of other entries; none for one out of the archive."""
    if entry.kind == "hard_link":
        return folder + _clean(entry.target)
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), entry.target))
    return "" if target.startswith(("/", "..")) else target


def _clean(name: str) -> str:
    """A path without ./ and //."""
    if "./" in name or "//" in name or name.endswith(("/", "/.")):
        return str(PurePosixPath(name))
    return name


def _is_hidden(name: str) -> bool:
    return any(map(is_junk, name.split("/")))
