"""Some classes of a prepared data set as a data set of their own, without writing one."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.color import ColorPCA, color_pca_from_moments
from train.dataset import Dataset
from train.facts import SPLITS, DatasetError

_BATCH = 256


class Subset(Dataset):
    """The photos of some classes of the data set in `path`, which get the numbers 0, 1, ...

    It is what `alexnet-train prepare` would make of those classes alone: the same photos in the
    same order, with a mean image and colours of their own, computed when they are first asked for.

    Args:
        path: the folder of the whole data set.
        classes: indices of classes, rising.
        threads: threads that decode photos; as many as there are cores when None.

    Raises:
        DatasetError: there is no such data set, or it has no such classes.
    """

    def __init__(
        self, path: str | os.PathLike[str], classes: Sequence[int], *, threads: int | None = None
    ) -> None:
        super().__init__(path, threads=threads)
        self.classes = tuple(classes)
        known, chosen = len(self.labels), np.array(self.classes, dtype=np.int64)
        if len(chosen) < 2 or chosen[0] < 0 or chosen[-1] >= known or (np.diff(chosen) < 1).any():
            raise DatasetError(
                f"{self.path} has classes 0 to {known - 1}: choose two of them at least, rising, "
                f"not {list(self.classes)}."
            )
        numbers = np.full(known, -1, dtype=np.int32)
        numbers[chosen] = np.arange(len(chosen))
        labels = numbers[self._index["label"]]
        rows = np.flatnonzero(labels >= 0)
        index = {name: np.asarray(column[rows]) for name, column in self._index.items()}
        self._index = index | {"label": labels[rows]}
        self.labels = tuple(self.labels[place] for place in self.classes)
        self.source = f"{self.source}, {len(chosen)} of {known} classes"
        own = f"{self.facts['photos_sha256']} {list(self.classes)}"
        self.facts |= {
            "source": self.source,
            "classes": [self.facts["classes"][place] for place in self.classes],
            "counts": {split: self.count(split) for split in SPLITS},
            "photos_sha256": hashlib.sha256(own.encode()).hexdigest(),
        }

    def __reduce__(self) -> tuple[Callable[..., Dataset], tuple[Any, ...]]:
        return functools.partial(Subset, threads=self.threads), (self.path, self.classes)

    @functools.cached_property
    def mean(self) -> NDArray[np.float32]:
        """Mean of the training photos, RGB (size, size, 3), 0-255."""
        sums, _ = self._moments
        return (sums / self.count("train")).astype(np.float32)

    @functools.cached_property
    def color_pca(self) -> ColorPCA:
        """Principal components of the training photos' colours."""
        sums, products = self._moments
        pixels = self.count("train") * self.size**2
        return color_pca_from_moments(pixels, sums.sum(axis=(0, 1)), products)

    @functools.cached_property
    def _moments(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Sums of the training photos (size, size, 3), and of their pixels' RGB products (3, 3)."""
        photos = self.split("train")
        sums = np.zeros((self.size, self.size, 3), dtype=np.int64)
        products = np.zeros((3, 3), dtype=np.int64)
        for first in range(0, len(photos), _BATCH):
            pixels = photos.photos(np.arange(first, min(first + _BATCH, len(photos))))
            sums += pixels.sum(axis=0, dtype=np.int64)
            # Whole numbers below 2^53: the float64 product is exact.
            flat = pixels.reshape(-1, 3).astype(np.float64)
            products += (flat.T @ flat).astype(np.int64)
        return sums, products
