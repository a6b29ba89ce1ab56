"""A split of CIFAR-10 in memory, and its minibatches as cuda-convnet made them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from train.dataset import Dataset
from train.experiments.experiment import ExperimentError
from train.facts import SplitName

BATCH, FILE = 128, 10_000
"""Photos of a minibatch, and of a file: a file's last minibatch is what is left, 16 photos."""

Minibatches = Iterator[tuple[Tensor, Tensor]]
"""Photos (n, 3, side, side) float32 with channels last, 0-255 less the mean, and labels (n,)."""


class Photos:
    """A split as bytes, in an order drawn once, which is the same for every training."""

    def __init__(self, dataset: Dataset, split: SplitName, *, device: str = "cpu") -> None:
        photos = dataset.split(split)
        order = np.random.default_rng(0).permutation(len(photos))
        self.pixels = torch.from_numpy(photos.photos(order)).to(device)
        """(N, size, size, 3) uint8."""
        self.labels = torch.from_numpy(photos.labels[order]).to(device)
        self.mean = torch.from_numpy(dataset.mean).to(device)
        """Of the training photos: (size, size, 3) float32."""
        self.classes, self.size = len(dataset.labels), dataset.size

    def whole(self) -> Minibatches:
        """An epoch's photos as they are."""
        for part in minibatches(len(self.labels)):
            yield self._less_mean(self.pixels[part]), self.labels[part]

    def crops(self, side: int, *, files: int | None, seed: tuple[int, ...]) -> Minibatches:
        """An epoch's photos, each cropped at a place of its own, and mirrored as often as not.

        `files`: how many of the files to read, all where None. The same seed gives the same crops.
        """
        random = np.random.default_rng(seed)
        count = len(self.labels) if files is None else min(files * FILE, len(self.labels))
        for part in minibatches(count):
            photos = part.stop - part.start
            tops, lefts = random.integers(0, self._border(side) + 1, (2, photos, 1))
            mirrored = random.integers(0, 2, (photos, 1)).astype(bool)
            across = np.arange(side)
            rows = tops + across
            columns = lefts + np.where(mirrored, across[::-1], across)
            device = self.pixels.device
            crops = self.pixels[
                torch.arange(part.start, part.stop, device=device)[:, None, None],
                torch.from_numpy(rows).to(device)[:, :, None],
                torch.from_numpy(columns).to(device)[:, None, :],
            ]
            yield self._less_mean(crops), self.labels[part]

    def view(self, part: slice, *, side: int, top: int, left: int, mirrored: bool) -> Tensor:
        """The same part of some photos."""
        self._border(side)
        crops = self.pixels[part, top : top + side, left : left + side]
        return self._less_mean(crops.flip(2) if mirrored else crops)

    def _less_mean(self, crops: Tensor) -> Tensor:
        """Wherever a crop lies, the mean's centre is taken off, as in cuda-convnet."""
        side = crops.shape[1]
        first = (self.size - side) // 2
        mean = self.mean[first : first + side, first : first + side]
        return (crops.float() - mean).permute(0, 3, 1, 2)

    def _border(self, side: int) -> int:
        if side > self.size:
            raise ExperimentError(
                f"Crops of {side} pixels don't fit photos of {self.size}: prepare larger ones."
            )
        return self.size - side


class Splits:
    """Both splits of a data set, each read when it is first asked for."""

    def __init__(self, dataset: Dataset, *, device: str = "cpu") -> None:
        self._dataset, self._device = dataset, device

    @cached_property
    def train(self) -> Photos:
        """What is learnt from."""
        return Photos(self._dataset, "train", device=self._device)

    @cached_property
    def val(self) -> Photos:
        """What is measured with: CIFAR-10's test photos."""
        return Photos(self._dataset, "val", device=self._device)


def minibatches(photos: int) -> list[slice]:
    """Where each minibatch of an epoch lies: 395 of 50,000 photos."""
    return [
        slice(start, min(start + BATCH, first + FILE, photos))
        for first in range(0, photos, FILE)
        for start in range(first, min(first + FILE, photos), BATCH)
    ]
