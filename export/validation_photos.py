"""Labelled photos to measure accuracy on: a prepared data set's, or a folder of class folders."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.backends.base import ArtifactInfo
from alexnet.errors import AlexNetError
from alexnet.labels import Label
from alexnet.photo_endings import has_photo_ending


@dataclass(frozen=True, kw_only=True)
class ValidationPhotos:
    """Photos and the classes that they show."""

    name: str
    """The data set's, or the folder's."""
    classes: NDArray[np.int64]
    """(N,): of each photo, the place of its class in the network's output."""
    read: Callable[[], Iterable[bytes | Path]]
    """The photos, in the same order, each time that it is called."""


def validation_photos(place: Path, info: ArtifactInfo) -> ValidationPhotos:
    """Labelled photos for a network.

    Args:
        place: a data set that `alexnet-train prepare` wrote, whose validation photos are taken; or
            a folder that holds a folder of photos for each class, named by its wnid, or for some.
        info: of the network.

    Raises:
        AlexNetError: there are no such photos, they show other classes than the network knows, or
            they were prepared in another way than it takes them.
    """
    if (place / "dataset.json").is_file():
        return _of_dataset(place, info)
    if not place.is_dir():
        raise AlexNetError(
            f"{place} is neither a prepared data set nor a folder of class folders: name one with "
            "--validate."
        )
    return _of_folders(place, info.labels)


def _of_folders(place: Path, labels: Sequence[Label]) -> ValidationPhotos:
    known = {label.wnid: index for index, label in enumerate(labels)}
    paths: list[Path] = []
    classes: list[int] = []
    folders = (path for path in place.iterdir() if path.is_dir() and path.name[0] != ".")
    for folder in sorted(folders):
        if folder.name not in known:
            raise AlexNetError(
                f"{folder} is no class of the network, which knows {labels[0].wnid}, "
                f"{labels[-1].wnid} and {len(labels) - 2} more: name photos of its classes."
            )
        found = sorted(path for path in folder.rglob("*") if has_photo_ending(path.name))
        paths += found
        classes += [known[folder.name]] * len(found)
    if not paths:
        raise AlexNetError(f"There are no class folders with photos in {place}.")
    return ValidationPhotos(name=place.name, classes=np.array(classes), read=lambda: paths)


def _of_dataset(place: Path, info: ArtifactInfo) -> ValidationPhotos:
    # By their numbers: as text, 1000000 comes before 999999.
    shards = sorted(place.glob("val-*.tar"), key=lambda path: (len(path.name), path.name))
    try:
        facts = json.loads((place / "dataset.json").read_text("utf-8"))
        name = str(facts["source"])
        _check(facts, info, place)
        classes = np.array([index for shard in shards for index in _classes(shard)], np.int64)
        if ((classes < 0) | (classes >= len(info.labels))).any():
            raise ValueError("a class that is not in its list")
    except AlexNetError:
        raise
    except (ValueError, KeyError, TypeError, tarfile.TarError) as error:
        raise AlexNetError(f"{place} is damaged ({error}): prepare the data again.") from error
    if not len(classes):
        raise AlexNetError(f"There are no validation photos in {place}.")
    return ValidationPhotos(name=name, classes=classes, read=partial(_jpegs, shards))


def _check(facts: dict[str, Any], info: ArtifactInfo, place: Path) -> None:
    """The photos must be of the network's classes, and prepared as it takes them."""
    theirs = [row["wnid"] for row in facts["classes"]]
    if theirs != [label.wnid for label in info.labels]:
        raise AlexNetError(
            f"The network's {len(info.labels)} classes are not the {len(theirs)} of {place}, or "
            "are in another order: validate on photos of its own classes."
        )
    prepared = {"size": facts["size"], **facts["resize"]}
    for field in ("size", "fit", "filter"):
        wanted = getattr(info.config.input, field)
        if prepared[field] != wanted:
            raise AlexNetError(
                f"The network takes photos prepared with --{field} {wanted}, and {place} was "
                f"prepared with --{field} {prepared[field]}: prepare them again."
            )


def _classes(shard: Path) -> Iterable[int]:
    """Of each photo of a shard, in the order of its files."""
    with tarfile.open(shard) as tar:
        found = {
            Path(member.name).stem: int(tar.extractfile(member).read())  # type: ignore[union-attr]
            for member in tar
            if member.name.endswith(".cls")
        }
        for member in tar.getmembers():
            if member.name.endswith(".jpg"):
                yield found[Path(member.name).stem]


def _jpegs(shards: Sequence[Path]) -> Iterable[bytes]:
    for shard in shards:
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.name.endswith(".jpg"):
                    yield tar.extractfile(member).read()  # type: ignore[union-attr]
