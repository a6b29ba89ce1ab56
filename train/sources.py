"""Where photos come from: folders, tar archives, ImageNet as published, or scikit-learn's digits.

A source is listed without writing anything, and only the list is kept in memory.
"""

from __future__ import annotations

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
from alexnet.junk import is_junk
from alexnet.tars import TAR_SUFFIXES
from train import ilsvrc, tiny_imagenet
from train.archives import Spool, add_tar, list_archive, list_tar, open_tar, without_suffix
from train.layout import Role, role_of, shared_folders
from train.listing import NAMES, WORDS, Listing, Member, SourceError

DIGITS = "digits"

_WNID = re.compile(r"n\d{8}")


@dataclass(kw_only=True)
class Source(Listing):
    """All photos of a source. The spools must be filled before its members can be read."""

    name: str
    spools: list[Spool | DigitsSpool] = field(default_factory=list)
    devkit: ilsvrc.Devkit | None = None
    names: str | None = None
    """The text of its classes.tsv, if there is one."""
    words: dict[str, str] = field(default_factory=dict)
    """Names of classes by their wnids, from a words.txt or the development kit."""


def open_source(place: str, *, spool: Path, devkit: ilsvrc.Devkit | None = None) -> Source:
    """List the photos of `place`: a folder, a tar, or `digits`.

    A folder with an archive for each split (train.tar.gz, val.tar, ...), or with ImageNet's own
    archives, is read as if the archives were folders. So are tars in an archive, and tars in a
    folder that are called after a wnid. Unpacked archives will lie in the folder `spool` once they
    are filled.

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
    _read_texts(source, path)
    return source


def _read_texts(source: Source, path: Path) -> None:
    try:
        source.names = source.text(NAMES, depth=1)
    except UnicodeDecodeError as error:
        raise SourceError(f"The {NAMES} in {path} is not UTF-8 text: {error}.") from error
    source.words = tiny_imagenet.read_words(source)
    if source.devkit is not None:
        source.words.update(source.devkit.words)


def _add_folder(source: Source, path: Path, *, spool: Path) -> None:
    archives = ilsvrc.split_archives(path)
    if archives:
        _find_devkit(source, path, needed="val" in archives)  # before a long time goes by
        for split, archive in archives.items():
            _add_archive(source, archive, place=path, spool=spool, split=split)
        for split in ("train", "val"):
            if split not in archives and (path / split).is_dir():
                _add(source, _list_folder(path / split, prefix=f"{split}/"), place=path)
        for name in (NAMES, WORDS):
            if (path / name).is_file():
                source.texts[name] = (path / name).read_bytes()
        return
    splits = _split_archives(path)
    for split, archive in splits.items():
        _add_archive(source, archive, place=path, spool=spool, split=split)
    _add(source, _list_folder(path, skip=frozenset(splits.values())), place=path)


def _add(source: Source, listing: Listing, *, place: Path, split: str | None = None) -> None:
    """Add what was found at `place`, with `split` as if it were a folder of that name.

    ImageNet's validation photos get their classes.
    """
    if ilsvrc.has_flat_photos(listing):
        devkit = _find_devkit(source, place, needed=True)
        assert devkit is not None, "it was needed"
        ilsvrc.give_classes(listing, devkit)
    tiny_imagenet.give_classes(listing, place)
    if split is not None:
        _put_under(split, listing)
    source.members += listing.members
    source.rejected += listing.rejected
    source.texts = listing.texts | source.texts
    source.folders |= listing.folders
    source.junk |= listing.junk
    source.hidden |= listing.hidden
    source.archives += listing.archives
    source.others += listing.others


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
    found: dict[Role, Path] = {}
    for path in sorted(folder.iterdir()):
        name = path.name.lower()
        if is_junk(path.name) or not (name.endswith(TAR_SUFFIXES) and path.is_file()):
            continue
        split = without_suffix(path.name)
        role = role_of(split)
        if role is None:
            continue
        again = found.get(role) or (folder / split if (folder / split).is_dir() else None)
        if again is not None:
            raise SourceError(f"{folder} holds {again.name} and {path.name}: keep one.")
        found[role] = path
    if "train" not in found:
        return {}
    return {without_suffix(path.name): path for path in found.values()}


def _add_archive(
    source: Source, archive: Path, *, place: Path, spool: Path, split: str | None = None
) -> None:
    """List a tar; with `split`, its photos are put under a folder of that name."""
    listing, unpacked = list_archive(archive, spool=spool)
    _add(source, listing, place=place, split=split)
    if unpacked is not None:
        source.spools.append(unpacked)


def _put_under(split: str, listing: Listing) -> None:
    """Put `split` in place of the folders that all photos of an archive share."""
    around = shared_folders(listing.members)

    def moved(name: str) -> str:
        return "/".join([split, *name.split("/")[around:]])

    for row in listing.rejected:  # under the archive's own names, as a person finds them there
        listing.folders.pop(row.name.rpartition("/")[0], None)
    listing.members = [member._replace(name=moved(member.name)) for member in listing.members]
    listing.folders = {moved(name): junk for name, junk in listing.folders.items()}
    listing.junk = {moved(name) for name in listing.junk}
    listing.hidden = {moved(name): member for name, member in listing.hidden.items()}


def _list_folder(folder: Path, *, prefix: str = "", skip: frozenset[Path] = frozenset()) -> Listing:
    """Walk a folder. Links are followed, but not into a folder that holds them."""
    listing, tars = Listing(), []
    waiting: list[tuple[str, str, frozenset[tuple[int, int]]]] = [
        (str(folder), prefix, frozenset())
    ]
    skipped = set(map(str, skip))
    with progress(f"Listing {folder.name}", total=None, unit="photos") as bar:
        while waiting:
            path, prefix, above = waiting.pop()
            facts = os.stat(path)  # noqa: PTH116 - a million Paths would cost seconds
            if (facts.st_dev, facts.st_ino) in above:
                continue
            below = above | {(facts.st_dev, facts.st_ino)}
            if listing.add_folder(prefix.rstrip("/")):
                continue
            with os.scandir(path) as entries:
                for entry in entries:
                    name = prefix + entry.name
                    kind = _kind(entry)
                    if kind == "folder":
                        waiting.append((entry.path, f"{name}/", below))
                    elif kind is None:
                        reason = "This is a link that leads nowhere, or no regular file."
                        listing.reject(name, "not_a_file", reason)
                    elif _class_of(entry.name) is not None:
                        tars.append((Path(entry.path), name))
                    elif entry.path not in skipped:
                        add_file(listing, entry, name)
                        bar.advance()
        for tar, name in tars:
            before = len(listing.members)
            _add_class_tar(listing, tar, folder=without_suffix(name))
            bar.advance(len(listing.members) - before)
    return listing


def _kind(entry: os.DirEntry[str]) -> str | None:
    """`folder` or `file`; None: a link that leads nowhere or to itself, or something special."""
    try:
        if entry.is_dir():
            return "folder"
        return "file" if entry.is_file() else None
    except OSError:
        return None


def add_file(listing: Listing, entry: os.DirEntry[str], name: str) -> None:
    """Add a file of a folder that is being listed, or the reason why there is none."""

    def look(size: int) -> bytes:
        try:
            with open(entry.path, "rb") as file:  # noqa: PTH123 - as fast as it goes
                return file.read(size)
        except PermissionError:
            return b""

    try:
        length = entry.stat().st_size
    except FileNotFoundError:
        listing.reject(name, "not_a_file", "This file vanished while the folder was listed.")
        return
    listing.add(Member(name, entry.path, 0, length), look)


def _class_of(name: str) -> str | None:
    """The wnid after which a tar is called."""
    if name.lower().endswith(TAR_SUFFIXES) and _WNID.fullmatch(wnid := without_suffix(name)):
        return wnid
    return None


def _add_class_tar(listing: Listing, path: Path, *, folder: str) -> None:
    unpacked = path.with_name(without_suffix(path.name))
    if unpacked.is_dir():
        raise SourceError(f"{path.parent} holds {unpacked.name} and {path.name}: keep one.")
    with open_tar(path) as (file, packed):
        if packed:
            raise SourceError(
                f"{path} is compressed: unpack it with gunzip, bunzip2 or unxz, as "
                f"{unpacked.name}.tar."
            )
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
