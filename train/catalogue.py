"""Which photos a data set gets, in which order, and which class each of them has.

Everything here follows from names alone (folders, files), never from the order in which a disk or
an archive lists them, so that the same photos give the same data set.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from alexnet.labels import Label, ilsvrc2012
from alexnet.photo_endings import READ_ENDINGS
from train.archives import Member, Rejection, SourceError, read_names
from train.facts import SPLITS, SplitName
from train.sources import Source, without_tops

VAL_FOLDERS = ("val", "validation", "test")
"""What the folder of validation photos may be called; the first that exists is taken."""
VAL_FRACTION = 0.1
"""Part of every class's photos that is set aside when a source has no validation photos."""

_Classes = dict[str, dict[str, Member]]  # class -> path below the class's folder -> photo


class Item(NamedTuple):
    """A photo with its class."""

    label: int
    member: Member


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
) -> Catalogue:
    """Sort the photos of a source into classes, and into training and validation photos.

    Class folders, sorted by name, give the indices. Training photos are shuffled (the order is that
    of a hash of their names); validation photos are sorted by class and name.

    Args:
        source: class folders, or train/ and val/ (or test/) of class folders.
        val_source: class folders of validation photos; they replace those of `source`.
        val_fraction: part of each class to set aside; 0.1 when None.
        names: a file of lines `class folder<TAB>name`; the source's own classes.tsv when None.

    Raises:
        SourceError: no class folders, a single class, validation photos of unknown classes or in no
            class folders, or `val_fraction` where there are validation photos already.
    """
    train, val, loose = _layout(source)
    devkit = source.devkit
    if val_source is not None:
        own_train, own_val, more = _layout(val_source)
        val, loose = own_val or own_train, loose + more + val_source.rejected
        devkit = devkit or val_source.devkit
        if not val:
            raise SourceError(
                f"{val_source.name} holds no validation photos in class folders: it should hold "
                "one folder for each class, as the training photos do."
            )
    _check_classes(source.name, train, val)
    if val and val_fraction is not None:
        raise SourceError(
            f"{source.name} has its own validation photos, so nothing is set aside: leave out "
            "--val-fraction."
        )
    fraction = None if val else VAL_FRACTION if val_fraction is None else val_fraction
    if fraction is not None:
        train, val = _set_aside(train, fraction)
    index = {wnid: label for label, wnid in enumerate(sorted(train))}
    return Catalogue(
        source=source.name,
        labels=_labels(
            sorted(train), names=names, text=source.names, words=devkit.words if devkit else {}
        ),
        splits={
            "train": sorted(_items("train", train, index), key=lambda item: _hash(item.member)),
            "val": _items("val", val, index),
        },
        rejected=tuple(sorted(loose + source.rejected)),
        val_fraction=fraction,
    )


def _layout(source: Source) -> tuple[_Classes, _Classes, list[Rejection]]:
    """Training classes, validation classes (maybe none) and photos outside of any class."""
    top = without_tops([member.name for member in source.members])
    tops = {
        member.name.split("/")[top] for member in source.members if member.name.count("/") > top
    }
    has_splits = "train" in tops and tops <= {"train", *VAL_FOLDERS}
    val_folder = next((name for name in VAL_FOLDERS if name in tops), None)
    parts: dict[str | None, _Classes] = defaultdict(dict)
    loose = []
    for member in source.members:
        folders = member.name.split("/")[top:]
        split = folders.pop(0) if has_splits and len(folders) > 1 else None
        if len(folders) < 2 or (split is None) == has_splits:
            reason = "The photo lies in no class folder."
            loose.append(Rejection(member.name, "no_class", reason))
        else:  # the same name twice in an archive: the later one counts, as in unpacking
            parts[split].setdefault(folders[0], {})["/".join(folders[1:])] = member
    if has_splits:
        return parts["train"], parts[val_folder], loose
    return parts[None], {}, loose


def _check_classes(name: str, train: _Classes, val: _Classes) -> None:
    if not train:
        raise SourceError(
            f"{name} holds no photos in class folders: it should hold one folder for each class, "
            "or train/ and val/ with such folders, and the photos "
            f"({', '.join(READ_ENDINGS[:2])}, .png, ...) in them."
        )
    for folder in train:
        if not folder.isprintable():  # a byte that is no UTF-8, a tab, a line break
            raise SourceError(f"The class folder {folder!r} has a name that can't be kept.")
    if len(train) == 1:
        raise SourceError(
            f"{name} holds the class '{next(iter(train))}' only: a classifier needs two at least."
        )
    unknown = sorted(set(val) - set(train))
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise SourceError(
            f"{', '.join(unknown[:3])}{more} have validation photos but no training photos: "
            "every class folder of the validation photos must be one of the training photos."
        )


def _set_aside(train: _Classes, fraction: float) -> tuple[_Classes, _Classes]:
    """Split every class; one photo stays for training, and one is set aside where there are two."""
    kept, aside = {}, {}
    for wnid, photos in train.items():
        count = min(max(round(fraction * len(photos)), 1), len(photos) - 1) if fraction else 0
        chosen = set(sorted(photos, key=lambda path: _hash_of("val", wnid, path))[:count])
        kept[wnid] = {path: photo for path, photo in photos.items() if path not in chosen}
        if chosen:
            aside[wnid] = {path: photos[path] for path in chosen}
    return kept, aside


def _items(split: SplitName, classes: _Classes, index: Mapping[str, int]) -> list[Item]:
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
        text = read_names(names)
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
