"""ImageNet as its owners have it: the archives of ILSVRC-2012 and their development kit.

The training archive is a tar of one tar for each class. The validation archive is flat: which class
a photo has, only the development kit knows, by the number in the photo's name.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.errors import optional_import
from alexnet.tars import entries
from train.archives import open_tar
from train.listing import Listing, Rejection, SourceError

ARCHIVES = {"train": "ILSVRC2012_img_train.tar", "val": "ILSVRC2012_img_val.tar"}
DEVKIT = "ILSVRC2012_devkit_t12"

_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_META = "meta.mat"
_VAL = "ILSVRC2012_val_"
_NUMBER = re.compile(rf"{_VAL}(\d{{8}})\.\w+")
_WNID = re.compile(r"n\d{8}")
_VAL_FOLDERS = ("", "val", "validation", "test", ARCHIVES["val"].removesuffix(".tar"))


@dataclass(frozen=True)
class Devkit:
    """What the development kit says of classes and validation photos."""

    path: Path
    words: Mapping[str, str]
    """The names of each class, by its wnid."""
    wnids: tuple[str, ...]
    """The class of each validation photo; the first is that of the number 1."""


def split_archives(folder: Path) -> dict[str, Path]:
    """The archives in `folder` that are to be read: {"train": .../ILSVRC2012_img_train.tar, ...}.

    Beside a folder train/ or val/ the archive of that name is read only where everything that was
    published lies there: whoever unpacked them has no need of them any more.
    """
    found = {split: folder / name for split, name in ARCHIVES.items()}
    found = {split: path for split, path in found.items() if path.is_file()}
    if found.keys() == ARCHIVES.keys() and find_devkit(folder) is not None:
        return found
    return {split: path for split, path in found.items() if not (folder / split).is_dir()}


def find_devkit(folder: Path) -> Path | None:
    """The development kit that lies in `folder`, packed or unpacked."""
    places = (folder / f"{DEVKIT}.tar.gz", folder / f"{DEVKIT}.tar", folder / DEVKIT)
    return next((place for place in places if place.exists()), None)


def missing_devkit(place: Path) -> SourceError:
    """What to say of validation photos at `place` without their classes."""
    return SourceError(
        f"{place} holds validation photos of ILSVRC-2012 without their classes: those are in the "
        f"'Development kit (Task 1 & 2)', {DEVKIT}.tar.gz, which image-net.org offers beside the "
        "photos; put it into the same folder and prepare that, or name it with --devkit."
    )


def has_flat_photos(listing: Listing) -> bool:
    """Whether there are validation photos that lie in no class folder."""
    return _flat_folder(listing) is not None


def give_classes(listing: Listing, devkit: Devkit) -> None:
    """Put validation photos that lie in no class folder into the one where they belong.

    A photo beside them whose name has no number is rejected.

    Raises:
        SourceError: the development kit is not that of these photos.
    """
    flat = _flat_folder(listing)
    kept, numbers = [], set()
    for member in listing.members:
        folder, _, name = member.name.rpartition("/")
        found = _NUMBER.fullmatch(name)
        if folder != flat:
            kept.append(member)
        elif found is None:
            reason = f"The name has no number of a validation photo, as in {_VAL}00000001.JPEG."
            listing.rejected.append(Rejection(member.name, "no_class", reason))
        else:
            number = int(found[1])
            numbers.add(number)
            wnid = devkit.wnids[number - 1] if 1 <= number <= len(devkit.wnids) else ""
            kept.append(member._replace(name="/".join(filter(None, (folder, wnid, name)))))
    _check_numbers(numbers, devkit)
    listing.members = kept


def _flat_folder(listing: Listing) -> str | None:
    """The folder that holds the validation photos, when it is not the folder of a class.

    People may have put some of these photos into folders that they named themselves.
    """
    names = (member.name for member in listing.members if _VAL in member.name)
    parts = (name.rpartition("/") for name in names)
    folders = {folder for folder, _, name in parts if _NUMBER.fullmatch(name)}
    if len(folders) != 1:
        return None
    folder = folders.pop()
    name = folder.rpartition("/")[2]
    alone = all(member.name.rpartition("/")[0] == folder for member in listing.members)
    return folder if name in _VAL_FOLDERS or (alone and not _WNID.fullmatch(name)) else None


def _check_numbers(numbers: set[int], devkit: Devkit) -> None:
    lines = len(devkit.wnids)
    if len(numbers) != lines:
        raise SourceError(
            f"{_TRUTH} in {devkit.path} has {lines:,} lines for {len(numbers):,} validation "
            "photos: it must have one for each; copy again what is not whole."
        )
    unknown = numbers - set(range(1, lines + 1))
    if unknown:
        raise SourceError(
            f"The validation photo {_VAL}{min(unknown):08} has no line in the {_TRUTH} of "
            f"{devkit.path}, which has {lines:,} lines: give the development kit of these photos."
        )


def read_devkit(path: Path) -> Devkit:
    """Read the development kit, packed or unpacked.

    Raises:
        SourceError: it is not there, damaged, or something else.
        MissingPackageError: scipy, which reads MATLAB's files, is not installed.
    """
    if not path.exists():
        raise SourceError(f"There is no {path}: name {DEVKIT}.tar.gz, or the folder it unpacks to.")
    files = _folder_files(path) if path.is_dir() else _archive_files(path)
    for name in (_META, _TRUTH):
        if name not in files:
            raise SourceError(
                f"{path} holds no data/{name}: name the 'Development kit (Task 1 & 2)' of "
                f"ILSVRC-2012, {DEVKIT}.tar.gz."
            )
    classes = _classes(files[_META], path)
    words = {wnid: " ".join(words.split()) or wnid for wnid, words in classes.values()}
    return Devkit(path, words, _truth(files[_TRUTH], classes, path))


def _folder_files(folder: Path) -> dict[str, bytes]:
    paths = [place / "data" / name for place in (folder, folder / DEVKIT) for name in _names()]
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def _archive_files(archive: Path) -> dict[str, bytes]:
    files = {}
    with open_tar(archive) as (file, _):
        for entry in entries(file):
            folder, _, name = entry.name.rpartition("/")
            if entry.kind == "file" and name in _names() and folder.split("/")[-1] == "data":
                file.seek(entry.offset)
                files[name] = file.read(entry.length)
    return files


def _names() -> tuple[str, str]:
    return _META, _TRUTH


def _classes(data: bytes, devkit: Path) -> dict[int, tuple[str, str]]:
    """The wnid and the words of every ILSVRC2012_ID in meta.mat that is a class."""
    scipy = optional_import("scipy.io", extra="imagenet")
    try:
        # One struct for each synset: those without children are classes, the others groups.
        table: Any = scipy.loadmat(io.BytesIO(data), squeeze_me=True, variable_names=["synsets"])
        leaves = [row for row in np.atleast_1d(table["synsets"]) if int(row["num_children"]) == 0]
        rows = [(int(row["ILSVRC2012_ID"]), str(row["WNID"]), str(row["words"])) for row in leaves]
    except Exception as error:  # scipy raises whatever the bytes of a wrong file lead it to
        raise SourceError(
            f"The {_META} of {devkit} can't be read as the classes of ILSVRC-2012 (a MATLAB 5 file "
            "with the structs `synsets`): get the development kit again."
        ) from error
    classes = {number: (wnid, words) for number, wnid, words in rows}
    wnids = {wnid for wnid, _ in classes.values() if _WNID.fullmatch(wnid)}
    if not rows or len(wnids) < len(rows) or sorted(classes) != list(range(1, len(rows) + 1)):
        raise SourceError(
            f"The {_META} of {devkit} does not number its {len(rows):,} classes from 1 on, each "
            "with a wnid of its own: get the development kit again."
        )
    return classes


def _truth(data: bytes, classes: Mapping[int, tuple[str, str]], devkit: Path) -> tuple[str, ...]:
    """The wnid of every line of the ground truth."""
    wnids = []
    for number, line in enumerate(data.decode("ascii", "replace").splitlines(), start=1):
        text = line.strip()
        if not (text.isdecimal() and len(text) < 10 and int(text) in classes):
            raise SourceError(
                f"Line {number:,} of {_TRUTH} in {devkit} must be the number of a class, 1 to "
                f"{len(classes):,}, not {text[:40]!r}: get the development kit again."
            )
        wnids.append(classes[int(text)][0])
    return tuple(wnids)
