"""The photos that int8 is calibrated on: somebody's own, a prepared data set's, or real_photos'."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from alexnet.config import InputConfig
from alexnet.errors import AlexNetError
from alexnet.photo import load_photo
from alexnet.photo_error import PhotoError
from export.real_photos import real_photos

T = TypeVar("T")

COUNT = 128
_SHARDS = 8  # of a data set: enough for its classes to be mixed, few enough to go through


def calibration_photos(
    place: Path | None, config: InputConfig, *, count: int = COUNT
) -> list[NDArray[np.uint8]]:
    """Up to `count` photos (S, S, 3), uint8 RGB, fitted to what a model takes.

    Args:
        place: a photo, a folder of photos, a data set that `alexnet-train prepare` wrote (its
            training photos are taken), or None: pieces of scikit-learn's two photographs.
        config: how photos become the network's input.
        count: at least 1.

    Raises:
        AlexNetError: there is no photo, or a shard is damaged.
    """
    if place is not None and (place / "dataset.json").is_file():
        return _of_dataset(place, config, count)
    return [pixels for _, pixels in real_photos(place, config, count=count)]


def _of_dataset(place: Path, config: InputConfig, count: int) -> list[NDArray[np.uint8]]:
    # By their numbers: as text, 1000000 comes before 999999.
    shards = sorted(place.glob("train-*.tar"), key=lambda path: (len(path.name), path.name))
    shards = _spread(shards, _SHARDS)
    photos: list[NDArray[np.uint8]] = []
    for number, shard in enumerate(shards):
        wanted = (count - len(photos)) // (len(shards) - number)
        try:
            photos += _of_shard(shard, config, wanted)
        except (tarfile.TarError, PhotoError) as error:
            raise AlexNetError(f"{shard} is damaged ({error}): prepare the data again.") from error
    if not photos:
        raise AlexNetError(f"There are no training photos in {place}: prepare the data again.")
    return photos


def _of_shard(shard: Path, config: InputConfig, count: int) -> list[NDArray[np.uint8]]:
    with tarfile.open(shard) as tar:
        members = [member for member in tar.getmembers() if member.name.endswith(".jpg")]
        files = [tar.extractfile(member) for member in _spread(members, count)]
        return [load_photo(file.read(), config).pixels for file in files if file is not None]


def _spread(items: list[T], count: int) -> list[T]:
    """`count` of the items, or all where there are fewer, evenly spread."""
    number = min(count, len(items))
    return [items[len(items) * n // number] for n in range(number)]
