"""A prepared data set: square JPEG photos in tar shards, and the index that finds each of them.

A folder that `alexnet-train prepare` wrote. Reading it needs numpy and Pillow only.

    train-000000.tar ...  WebDataset shards: KEY.jpg and KEY.cls (the class's index as text)
    val-000000.tar ...
    index.npz             split, shard, offset, length and label of every photo, in shard order
    dataset.json          format version, classes, counts, where it came from, how it was resized
    mean.npy              float32 (size, size, 3): RGB mean of the training photos
    color_pca.json        principal components of the training photos' colours
    rejected.tsv          photos that were left out: path, code, sentence
"""

from __future__ import annotations

import functools
import io
import json
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from alexnet.color import ColorPCA, color_pca_from_dict
from alexnet.labels import Label, labels_from_json
from alexnet.machine import cores
from train.facts import FACTS, SPLITS, DatasetError, SplitName, read_facts
from train.index import Index, read_index

INDEX, MEAN, COLOR_PCA, REJECTED = "index.npz", "mean.npy", "color_pca.json", "rejected.tsv"


class Dataset:
    """A prepared data set on disk. Safe to use from several threads, and it can be pickled.

    Args:
        path: the folder.
        threads: threads that decode photos; as many as there are cores when None.

    Raises:
        DatasetError: the folder is missing, foreign, unfinished, damaged or of a newer version.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int | None = None) -> None:
        self.path = Path(path)
        self.threads = threads or cores()
        self.facts: dict[str, Any] = read_facts(self.path)
        """What dataset.json says."""
        try:
            self.size = int(self.facts["size"])
            self.labels: tuple[Label, ...] = labels_from_json(json.dumps(self.facts["classes"]))
            self.source = str(self.facts["source"])
            self.resize: dict[str, Any] = dict(self.facts["resize"])
            shards = [(shard["name"], shard["bytes"]) for shard in self.facts["shards"]]
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(self.path / FACTS, error) from error
        for name, size in shards:
            _check_shard(self.path / name, size)
        self._index = _read_index(self.path / INDEX, shards=len(shards), classes=len(self.labels))
        self._files = _Files([self.path / name for name, _ in shards])
        self._pool: tuple[int, ThreadPoolExecutor] | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Callable[..., Dataset], tuple[Any, ...]]:
        return functools.partial(Dataset, threads=self.threads), (self.path,)

    @functools.cached_property
    def mean(self) -> NDArray[np.float32]:
        """Mean of the training photos, RGB (size, size, 3), 0-255."""
        path = self.path / MEAN
        try:
            mean = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise _unreadable(path, error) from error
        if mean.shape != (self.size, self.size, 3) or mean.dtype != np.float32:
            raise DatasetError(f"{path} is not the mean image of photos of {self.size} pixels.")
        return np.asarray(mean)

    @functools.cached_property
    def color_pca(self) -> ColorPCA:
        """Principal components of the training photos' colours."""
        path = self.path / COLOR_PCA
        try:
            return color_pca_from_dict(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error

    def count(self, split: SplitName) -> int:
        """Number of photos of a split."""
        return len(self.split(split))

    def split(self, name: SplitName) -> Split:
        """The photos of `train` or `val`, in the order in which the shards hold them."""
        if name not in SPLITS:
            raise DatasetError(f"There is no split '{name}': a data set has train and val.")
        return Split(self, name)

    def jpeg(self, row: int) -> bytes:
        """The JPEG of the photo in `row` of the index, as it is stored."""
        shard, offset = int(self._index["shard"][row]), int(self._index["offset"][row])
        return self._files.read(shard, offset, int(self._index["length"][row]))

    def decode(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The photos in `rows` of the index: uint8 RGB (N, size, size, 3)."""
        photos = np.empty((len(rows), self.size, self.size, 3), dtype=np.uint8)

        def fill(places: NDArray[np.int64]) -> None:
            for place in places:
                photos[place] = self._decode(int(rows[place]))

        parts = min(self.threads, len(rows) // 4)  # a task costs as much as a small photo
        if parts <= 1:
            fill(np.arange(len(rows)))
        else:
            list(self._executor().map(fill, np.array_split(np.arange(len(rows)), parts)))
        return photos

    def _decode(self, row: int) -> NDArray[np.uint8]:
        try:
            pixels = decode_jpeg(self.jpeg(row))
        except ValueError as error:
            raise error if isinstance(error, DatasetError) else self._damaged(row) from error
        if pixels.shape != (self.size, self.size, 3):
            raise self._damaged(row)
        return pixels

    def _damaged(self, row: int) -> DatasetError:
        name = self._files.paths[int(self._index["shard"][row])]
        return DatasetError(
            f"The photo at byte {self._index['offset'][row]} of {name} is damaged: copy or prepare "
            "the data again."
        )

    def _executor(self) -> ThreadPoolExecutor:
        with self._lock:
            # A fork copies the pool without its threads, so that it would wait for ever.
            if self._pool is None or self._pool[0] != os.getpid():
                self._pool = os.getpid(), ThreadPoolExecutor(self.threads, "decode")
            return self._pool[1]


class Split:
    """The training or the validation photos of a data set."""

    def __init__(self, dataset: Dataset, name: SplitName) -> None:
        self.dataset = dataset
        self.name = name
        self._rows = np.flatnonzero(dataset._index["split"] == SPLITS.index(name))

    def __reduce__(self) -> tuple[Callable[..., Split], tuple[Any, ...]]:
        return Dataset.split, (self.dataset, self.name)

    def __len__(self) -> int:
        return len(self._rows)

    @functools.cached_property
    def labels(self) -> NDArray[np.int64]:
        """(N,): the index of each photo's class."""
        return self.dataset._index["label"][self._rows].astype(np.int64)

    def jpeg(self, index: int) -> bytes:
        """The JPEG of one photo, as it is stored."""
        return self.dataset.jpeg(int(self._rows[index]))

    def photos(self, indices: ArrayLike) -> NDArray[np.uint8]:
        """Decoded photos: uint8 RGB (N, size, size, 3), in the order of `indices`.

        Raises:
            DatasetError: a shard is damaged.
            IndexError: an index is out of range.
        """
        chosen = np.asarray(indices)
        if chosen.size == 0:
            chosen = chosen.astype(np.int64)
        return self.dataset.decode(self._rows[chosen.reshape(-1)])


def _close(handles: dict[int, int]) -> None:
    for handle in handles.values():
        os.close(handle)


def decode_jpeg(data: bytes) -> NDArray[np.uint8]:
    """The pixels of an RGB JPEG, uint8 (height, width, 3), as they are stored: not turned upright.

    Raises:
        ValueError: damaged, or no RGB JPEG.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            if image.mode != "RGB":
                raise ValueError(f"a JPEG of mode {image.mode} instead of RGB")
            return np.asarray(image)
    except (OSError, SyntaxError) as error:
        raise ValueError(str(error)) from error


class _Files:
    """Shard files, opened when first read and closed with the object."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self._handles: dict[int, int] = {}
        self._lock = threading.Lock()
        weakref.finalize(self, _close, self._handles)

    def read(self, file: int, offset: int, length: int) -> bytes:
        with self._lock:
            if file not in self._handles:
                self._handles[file] = os.open(self.paths[file], os.O_RDONLY)
        data = os.pread(self._handles[file], length, offset)  # moves no shared position
        if len(data) != length:
            raise DatasetError(f"{self.paths[file]} ends early: copy or prepare the data again.")
        return data


def _check_shard(path: Path, size: int) -> None:
    if not path.is_file():
        raise DatasetError(f"{path} is missing: copy or prepare the data again.")
    found = path.stat().st_size
    if found != size:
        raise DatasetError(
            f"{path} has {found:,} bytes instead of {size:,}: copy or prepare the data again."
        )


def _read_index(path: Path, *, shards: int, classes: int) -> Index:
    try:
        index = read_index(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    for name, count in (("shard", shards), ("split", len(SPLITS)), ("label", classes)):
        if len(index[name]) and not 0 <= index[name].min() <= index[name].max() < count:
            raise _unreadable(path, ValueError(f"it does not fit {FACTS}"))
    return index


def _unreadable(path: Path, error: Exception) -> DatasetError:
    reason = repr(error) if isinstance(error, KeyError) else str(error)
    return DatasetError(f"{path} can't be read ({reason}): copy or prepare the data again.")
