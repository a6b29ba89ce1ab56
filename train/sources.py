"""Where photos come from: a folder, tar archives, or scikit-learn's handwritten digits.

A source is listed without writing anything, and only the list is kept in memory.
"""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from alexnet.console import progress
from alexnet.errors import optional_import
from alexnet.files import atomic_path
from train.archives import (
    NAMES,
    Listing,
    Member,
    Rejection,
    SourceError,
    Spool,
    is_photo,
    list_archive,
    list_tar,
    read_names,
)

DIGITS = "digits"


@dataclass(kw_only=True)
class Source(Listing):
    """All photos of a source. The spools must be filled before its members can be read."""

    name: str
    spools: list[Spool | DigitsSpool] = field(default_factory=list)

    def add(self, listing: Listing) -> None:
        """Add the photos of one of its parts."""
        self.members += listing.members
        self.rejected += listing.rejected
        self.names = listing.names if self.names is None else self.names


def open_source(place: str, *, spool: Path) -> Source:
    """List the photos of `place`: a folder, a .tar, a .tar.gz, or `digits`.

    A folder with train.tar[.gz] and val.tar[.gz] or test.tar[.gz] is read as if the archives were
    folders. Unpacked archives will lie in the folder `spool` once they are filled.

    Raises:
        SourceError: there is no such place, or an archive is damaged.
        MissingPackageError: `digits` without scikit-learn.
    """
    if place == DIGITS:
        return _digits(spool)
    path = Path(place)
    name = path.resolve().name.encode("utf-8", "backslashreplace").decode()
    source = Source(name=name)
    if path.is_dir():
        _add_folder(source, path, spool=spool)
    elif path.exists():
        _add_archive(source, path, spool=spool)
    else:
        raise SourceError(f"There is no {path}: name a folder, a tar archive, or `{DIGITS}`.")
    return source


def without_tops(names: list[str]) -> int:
    """How many leading folders all `names` share, beyond the class's folder and the file's name."""
    shared = 0
    while names:
        tops = {tuple(name.split("/", shared + 1)[: shared + 1]) for name in names}
        if len(tops) > 1 or any(name.count("/") < shared + 2 for name in names):
            break
        shared += 1
    return shared


def _add_folder(source: Source, path: Path, *, spool: Path) -> None:
    names = path / NAMES
    source.names = read_names(names) if names.is_file() else None
    archives = _split_archives(path)
    for split, archive in archives.items():
        _add_archive(source, archive, spool=spool, split=split)
    if not archives:
        source.add(_list_folder(path))


def _split_archives(folder: Path) -> dict[str, Path]:
    """The archives of `folder` that are called after a split: {"train": .../train.tar.gz, ...}."""
    found: dict[str, Path] = {}
    for split in ("train", "val", "test"):
        paths = [folder / f"{split}{suffix}" for suffix in (".tar", ".tar.gz", ".tgz")]
        paths = [path for path in paths if path.is_file()]
        if len(paths) > 1:
            raise SourceError(f"{folder} holds {paths[0].name} and {paths[1].name}: keep one.")
        if paths:
            found[split] = paths[0]
    return found if "train" in found else {}


def _add_archive(source: Source, archive: Path, *, spool: Path, split: str | None = None) -> None:
    """List a tar; with `split`, its photos are put under a folder of that name."""
    listing, unpacked = list_archive(archive, spool=spool)
    if split is not None:
        top = without_tops([member.name for member in listing.members])
        listing.members = [
            member._replace(name="/".join([split, *member.name.split("/")[top:]]))
            for member in listing.members
        ]
    source.add(listing)
    if unpacked is not None:
        source.spools.append(unpacked)


def _list_folder(folder: Path) -> Listing:
    """Walk a folder. Links are followed, but not into a folder that holds them."""
    listing = Listing()
    waiting: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(str(folder), "", frozenset())]
    with progress(f"Listing {folder.name}", total=None, unit="photos") as bar:
        while waiting:
            path, prefix, above = waiting.pop()
            facts = os.stat(path)  # noqa: PTH116 - a million Paths would cost seconds
            if (facts.st_dev, facts.st_ino) in above:
                continue
            below = above | {(facts.st_dev, facts.st_ino)}
            with os.scandir(path) as entries:
                for entry in entries:
                    name = prefix + entry.name
                    if entry.is_dir():
                        if not entry.name.startswith("."):
                            waiting.append((entry.path, f"{name}/", below))
                    elif is_photo(name) and entry.is_file():
                        size = entry.stat().st_size
                        listing.members.append(Member(name, entry.path, 0, size))
                        bar.advance()
                    elif is_photo(name):
                        reason = "This is a link that leads nowhere, or no regular file."
                        listing.rejected.append(Rejection(name, "not_a_file", reason))
    return listing


@dataclass(frozen=True)
class DigitsSpool:
    """The tar of scikit-learn's digits, written where photos are read from."""

    path: Path

    def fill(self) -> None:
        """Write the tar, unless an earlier run did."""
        if not self.path.exists():
            with atomic_path(self.path) as temporary:
                temporary.write_bytes(_digits_tar())


def _digits(spool: Path) -> Source:
    path = spool / "digits.tar"
    source = Source(name=DIGITS, spools=[DigitsSpool(path)])
    source.add(list_tar(io.BytesIO(_digits_tar()), name=DIGITS, path=path))
    return source


def _digits_tar() -> bytes:
    """scikit-learn's 1,797 digits of 8x8 pixels, 0-16, as grey PNG files in a tar."""
    digits = optional_import("sklearn.datasets", extra="demo").load_digits()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for index, (grey, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            photo = io.BytesIO()
            pixels = (grey * (255 / 16)).round().astype("uint8")
            # Uncompressed, so that the size does not depend on zlib's version.
            Image.fromarray(pixels).save(photo, "PNG", compress_level=0)
            entry = tarfile.TarInfo(f"{label}/{index:04}.png")
            entry.size = photo.tell()
            photo.seek(0)
            tar.addfile(entry, photo)
    return out.getvalue()
