"""Which photos a data set gets, in which order, and which class each of them has.

Everything here follows from names alone (folders, files), never from the order in which a disk or
an archive lists them, so that the same photos give the same data set.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from alexnet.console import log
from alexnet.labels import Label, ilsvrc2012
from alexnet.photo_endings import READ_ENDINGS
from train.archives import Spool
from train.facts import SPLITS, SplitName
from train.layout import Classes, Layout, find_layout, role_of
from train.listing import Member, Rejection, SourceError
from train.sources import DigitsSpool, Source

VAL_FRACTION = 0.1
"""Part of every class's photos that is set aside when a source has no validation photos."""

_SHOWN = 3


class Item(NamedTuple):
    """A photo with its class."""

    label: int
    member: Member


@dataclass
class PassedOver:
    """What a source holds beside the photos of its data set: counted, and not in it."""

    unused: Counter[str] = field(default_factory=Counter)
    """Photos of splits that are not used, by the split's folder."""
    empty_class_folders: list[str] = field(default_factory=list)
    junk_folders: int = 0
    """Folders of thumbnails or trash and hidden ones."""
    hidden_photos: int = 0
    archives: list[str] = field(default_factory=list)
    """Archives that lie among the photos and are not read."""
    other_files: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Numbers only, for the command's JSON line."""
        return {
            "unused_photos": dict(self.unused),
            "empty_class_folders": len(self.empty_class_folders),
            "junk_folders": self.junk_folders,
            "hidden_photos": self.hidden_photos,
            "archives": len(self.archives),
            "other_files": self.other_files,
        }

    def sentence(self) -> str:
        """All that is not 0, in words; an empty text when that is nothing."""
        parts = [f"{count:,} photos of {folder}/" for folder, count in self.unused.items()]
        if self.empty_class_folders:
            count = len(self.empty_class_folders)
            parts.append(
                f"{count:,} class folders without photos ({_some(self.empty_class_folders)})"
            )
        if self.junk_folders:
            parts.append(f"{self.junk_folders:,} folders of thumbnails, trash or hidden files")
        if self.hidden_photos:
            parts.append(f"{self.hidden_photos:,} hidden photos")
        if self.archives:
            parts.append(f"{len(self.archives):,} archives ({_some(self.archives)})")
        if self.other_files:
            parts.append(f"{self.other_files:,} files that are no photos")
        return f"Not used: {', '.join(parts)}." if parts else ""


@dataclass(frozen=True)
class Catalogue:
    """The photos of a data set to be made, each split in the order of its shards."""

    source: str
    labels: tuple[Label, ...]
    splits: Mapping[SplitName, Sequence[Item]]
    rejected: tuple[Rejection, ...]
    """Photos that belong to no class or can't be reached."""
    val_fraction: float | None
    """What was set aside from the training photos; None when the source has validation photos."""
    passed_over: PassedOver
    spools: tuple[Spool | DigitsSpool, ...]
    """To be filled before any photo can be read."""

    def digest(self) -> str:
        """A hash of all photos' names, classes and sizes in bytes, and of what is left out."""
        digest = hashlib.sha256()
        for split in SPLITS:
            for item in self.splits[split]:
                wnid = self.labels[item.label].wnid
                digest.update(_line(wnid, item.member.name, str(item.member.length)))
        for rejection in self.rejected:
            digest.update(_line(*rejection))
        return digest.hexdigest()


def make_catalogue(
    source: Source,
    *,
    val_source: Source | None = None,
    val_fraction: float | None = None,
    names: Path | None = None,
    as_classes: bool = False,
) -> Catalogue:
    """Sort the photos of a source into classes, and into training and validation photos.

    Class folders, sorted by name, give the indices. Training photos are shuffled (the order is that
    of a hash of their names); validation photos are sorted by class and name.

    Args:
        source: class folders, or folders for train, val and test of class folders.
        val_source: class folders of validation photos; they replace those of `source`.
        val_fraction: part of each class to set aside; 0.1 when None.
        names: a file of lines `class folder<TAB>name`; the source's own classes.tsv when None.
        as_classes: take the top folders for classes, whatever they are called.

    Raises:
        SourceError: no class folders, a single class, a layout that is not clear, validation photos
            of unknown classes or in no class folders, or `val_fraction` where there are validation
            photos already.
    """
    layout = find_layout(source, source.name, as_classes=as_classes)
    words = source.words
    sources = [source]
    if val_source is not None:
        _take_val(layout, val_source, as_classes=as_classes)
        words = {**val_source.words, **words}
        sources.append(val_source)
    train, val = layout.train, layout.val
    _check_classes(source, train)
    val = _known_classes(val, train)
    if val and val_fraction is not None:
        raise SourceError(
            f"{source.name} has its own validation photos, so nothing is set aside: leave out "
            "--val-fraction."
        )
    fraction = None if val else VAL_FRACTION if val_fraction is None else val_fraction
    if fraction is not None:
        train, val = _set_aside(train, fraction)
    elif layout.val_folder is not None and role_of(layout.val_folder) == "test":
        log(f"{source.name} has no validation photos: those of {layout.val_folder}/ serve as such.")
    index = {wnid: label for label, wnid in enumerate(sorted(train))}
    rejected = [row for each in sources for row in each.rejected]
    return Catalogue(
        source=source.name,
        labels=_labels(sorted(train), names=names, text=source.names, words=words),
        splits={
            "train": sorted(_items("train", train, index), key=lambda item: _hash(item.member)),
            "val": _items("val", val, index),
        },
        rejected=tuple(sorted(layout.loose + rejected)),
        val_fraction=fraction,
        passed_over=PassedOver(
            unused=layout.unused,
            empty_class_folders=layout.empty,
            junk_folders=sum(len(each.junk) for each in sources),
            hidden_photos=sum(each.hidden_photos() for each in sources),
            archives=sorted(name for each in sources for name in each.archives),
            other_files=sum(each.others for each in sources),
        ),
        spools=tuple(spool for each in sources for spool in each.spools),
    )


def _take_val(layout: Layout, source: Source, *, as_classes: bool) -> None:
    """Take the validation photos of `source` in place of the layout's own."""
    other = find_layout(source, source.name, as_classes=as_classes)
    if layout.val and layout.val_folder is not None:
        layout.unused[layout.val_folder] = sum(map(len, layout.val.values()))
    layout.val, layout.val_folder = other.val or other.train, None
    if other.val:
        layout.unused[f"{source.name}/train"] = sum(map(len, other.train.values()))
    for folder, count in other.unused.items():
        layout.unused[f"{source.name}/{folder}"] = count
    layout.loose += other.loose
    layout.empty += other.empty
    if not layout.val:
        raise SourceError(
            f"{source.name} holds no validation photos in class folders: it should hold "
            "one folder for each class, as the training photos do."
        )


def _check_classes(source: Source, train: Classes) -> None:
    if not train:
        seen = PassedOver(archives=sorted(source.archives), other_files=source.others)
        lost = source.rejected
        why = f"{len(lost):,} are left out: {lost[0].name}: {lost[0].sentence} " if lost else ""
        raise SourceError(
            f"{source.name} holds no photos in class folders: it should hold one folder for each "
            "class, or train/ and val/ with such folders, and the photos "
            f"({', '.join(READ_ENDINGS[:2])}, .png, ...) in them. {why}{seen.sentence()}".rstrip()
        )
    for folder in train:
        if not folder.isprintable():  # a byte that is no UTF-8, a tab, a line break
            raise SourceError(f"The class folder {folder!r} has a name that can't be kept.")
    if len(train) == 1:
        raise SourceError(
            f"{source.name} holds the class '{next(iter(train))}' only: a classifier needs two at "
            "least."
        )
    alike: dict[str, list[str]] = {}
    for folder in train:
        alike.setdefault(_folded(folder), []).append(folder)
    for folders in alike.values():
        if len(folders) > 1:
            log(
                f"Warning: the class folders {' and '.join(sorted(folders))} differ only by case "
                "or by how their letters are encoded; each is a class of its own."
            )


def _known_classes(val: Classes, train: Classes) -> Classes:
    """The validation photos under the names of the training photos' class folders.

    An accent may be a letter of its own or part of one: macOS and Linux differ, and so do archives
    that were packed there.

    Raises:
        SourceError: there is no such class folder.
    """
    by_form: dict[str, list[str]] = {}
    for wnid in train:
        by_form.setdefault(unicodedata.normalize("NFC", wnid), []).append(wnid)
    found: Classes = {}
    unknown = []
    for wnid, photos in val.items():
        known = [wnid] if wnid in train else by_form.get(unicodedata.normalize("NFC", wnid), [])
        if len(known) == 1 and known[0] not in found:
            found[known[0]] = photos
        else:
            unknown.append(wnid)
    if unknown:
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        raise SourceError(
            f"{', '.join(sorted(unknown)[:_SHOWN])}{more} have validation photos but no training "
            "photos: every class folder of the validation photos must be one of the training "
            "photos."
        )
    return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _some(names: Sequence[str]) -> str:
    more = f", and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    text = ", ".join(names[:_SHOWN]) + more
    return text.encode("utf-8", "backslashreplace").decode()


def _set_aside(train: Classes, fraction: float) -> tuple[Classes, Classes]:
    """Split every class; one photo stays for training, and one is set aside where there are two."""
    kept, aside = {}, {}
    for wnid, photos in train.items():
        count = min(max(round(fraction * len(photos)), 1), len(photos) - 1) if fraction else 0
        chosen = set(sorted(photos, key=lambda path: _hash_of("val", wnid, path))[:count])
        kept[wnid] = {path: photo for path, photo in photos.items() if path not in chosen}
        if chosen:
            aside[wnid] = {path: photos[path] for path in chosen}
    return kept, aside


def _items(split: SplitName, classes: Classes, index: Mapping[str, int]) -> list[Item]:
    """The photos sorted by class and name; each is called SPLIT/CLASS/PATH from here on."""
    return [
        Item(index[wnid], photos[path]._replace(name=f"{split}/{wnid}/{path}"))
        for wnid, photos in sorted(classes.items())
        for path in sorted(photos)
    ]


def _labels(
    wnids: Sequence[str], *, names: Path | None, text: str | None, words: Mapping[str, str]
) -> tuple[Label, ...]:
    known = {**words, **{label.wnid: label.name for label in ilsvrc2012()}}
    if names is not None:
        if not names.is_file():
            raise SourceError(f"There is no file {names} with the names of classes.")
        try:
            text = names.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise SourceError(f"{names} is not UTF-8 text: {error}.") from error
    for number, line in enumerate((text or "").splitlines(), start=1):
        wnid, tab, name = line.partition("\t")
        if line.strip() and not (tab and wnid.strip() and name.strip()):
            raise SourceError(
                f"Line {number} of {names or 'classes.tsv'} must be a class folder, a tab and a "
                f"name, not {line!r}."
            )
        known[wnid.strip()] = name.strip()
    return tuple(Label(wnid, known.get(wnid, wnid)) for wnid in wnids)


def _hash(member: Member) -> bytes:
    return _hash_of(member.name)


def _hash_of(*texts: str) -> bytes:
    """A hash that mixes photos: the same on every machine, in every version of every library."""
    return hashlib.blake2b(_line(*texts), digest_size=16).digest()


def _line(*texts: str) -> bytes:
    return ("\t".join(texts) + "\n").encode("utf-8", "surrogateescape")
