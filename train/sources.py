"""Where photos come from: folders, tar archives, ImageNet's own, or scikit-learn's digits.

A source is listed without writing anything, and only the list is kept in memory.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from alexnet.console import progress
from alexnet.errors import optional_import
from alexnet.files import atomic_path
from train import ilsvrc
from train.archives import (
    NAMES,
    Listing,
    Member,
    Rejection,
    SourceError,
    Spool,
    add_tar,
    is_photo,
    list_archive,
    list_tar,
    open_tar,
    read_names,
)

DIGITS = "digits"

_CLASS_TAR = re.compile(r"n\d{8}\.tar")


@dataclass(kw_only=True)
class Source(Listing):
    """All photos of a source. The spools must be filled before its members can be read."""

    name: str
    spools: list[Spool | DigitsSpool] = field(default_factory=list)
    devkit: ilsvrc.Devkit | None = None


def open_source(place: str, *, spool: Path, devkit: ilsvrc.Devkit | None = None) -> Source:
    """List the photos of `place`: a folder, a .tar, a .tar.gz, or `digits`.

    A folder with train.tar[.gz] and val.tar[.gz] or test.tar[.gz], or with ImageNet's own archives,
    is read as if the archives were folders. So are tars in an archive, and tars in a folder that
    are called after a wnid. Unpacked archives will lie in the folder `spool` once they are filled.

    Args:
        place: where the photos are.
        spool: a folder for unpacked archives.
        devkit: says the classes of ImageNet's validation photos, where they lie in no class
            folders; None: one that lies in the folder `place`.

    Raises:
        SourceError: there is no such place, an archive is damaged, or there are validation photos
            of ImageNet without `devkit`.
        MissingPackageError: `digits` without scikit-learn.
    """
    if place == DIGITS:
        return _digits(spool)
    path = Path(place)
    name = path.resolve().name.encode("utf-8", "backslashreplace").decode()
    source = Source(name=name, devkit=devkit)
    if path.is_dir():
        _add_folder(source, path, spool=spool)
    elif path.exists():
        _add_archive(source, path, place=path, spool=spool)
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
    archives, unpacked = ilsvrc.split_archives(path), []
    if archives:
        unpacked = [split for split in ("train", "val") if (path / split).is_dir()]
        _find_devkit(source, path, needed="val" in archives)  # before a long time goes by
    else:
        archives = _split_archives(path)
    for split, archive in archives.items():
        _add_archive(source, archive, place=path, spool=spool, split=split)
    for split in unpacked:
        if split not in archives:
            _add(source, _list_folder(path / split, prefix=f"{split}/"), place=path)
    if not archives:
        _add(source, _list_folder(path), place=path)


def _add(source: Source, listing: Listing, *, place: Path, split: str | None = None) -> None:
    """Add what was found at `place`, with `split` as if it were a folder of that name.

    ImageNet's validation photos get their classes.
    """
    if ilsvrc.has_flat_photos(listing):
        devkit = _find_devkit(source, place, needed=True)
        assert devkit is not None, "it was needed"
        ilsvrc.give_classes(listing, devkit)
    if split is not None:
        listing.members = _under(split, listing.members)
    source.members += listing.members
    source.rejected += listing.rejected
    source.names = listing.names if source.names is None else source.names


def _find_devkit(source: Source, place: Path, *, needed: bool) -> ilsvrc.Devkit | None:
    """The development kit that was given, or that lies in the folder `place`."""
    if source.devkit is None:
        path = ilsvrc.find_devkit(place)
        if path is not None:
            source.devkit = ilsvrc.read_devkit(path)
        elif needed:
            raise ilsvrc.missing_devkit(place)
    return source.devkit


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


def _add_archive(
    source: Source, archive: Path, *, place: Path, spool: Path, split: str | None = None
) -> None:
    """List a tar; with `split`, its photos are put under a folder of that name."""
    listing, unpacked = list_archive(archive, spool=spool)
    _add(source, listing, place=place, split=split)
    if unpacked is not None:
        source.spools.append(unpacked)


def _under(split: str, members: list[Member]) -> list[Member]:
    """The members of an archive, with `split` in place of the folders that all of them share."""
    top = without_tops([member.name for member in members])
    return [
        member._replace(name="/".join([split, *member.name.split("/")[top:]])) for member in members
    ]


def _list_folder(folder: Path, *, prefix: str = "") -> Listing:
    """Walk a folder. Links are followed, but not into a folder that holds them."""
    listing, tars = Listing(), []
    waiting: list[tuple[str, str, frozenset[tuple[int, int]]]] = [
        (str(folder), prefix, frozenset())
    ]
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
                    elif _CLASS_TAR.fullmatch(entry.name):
                        tars.append((Path(entry.path), name))
        for tar, name in tars:
            before = len(listing.members)
            _add_class_tar(listing, tar, folder=name.removesuffix(".tar"))
            bar.advance(len(listing.members) - before)
    return listing


def _add_class_tar(listing: Listing, path: Path, *, folder: str) -> None:
    if path.with_suffix("").is_dir():
        raise SourceError(f"{path.parent} holds {path.stem} and {path.name}: keep one.")
    with open_tar(path) as file:
        if isinstance(file, gzip.GzipFile):
            raise SourceError(f"{path} is compressed: unpack it with gunzip, under the same name.")
        add_tar(listing, file, path=str(path), folder=folder)


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
    source.members = list_tar(io.BytesIO(_digits_tar()), name=DIGITS, path=path).members
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
