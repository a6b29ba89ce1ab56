"""Top-1 error, top-5 error and loss of a network on prepared photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.config import InputConfig, NetworkConfig
from alexnet.console import progress
from alexnet.errors import AlexNetError
from alexnet.labels import Label
from train.dataset import Dataset, Split
from train.loader import ahead
from train.mesh import Mesh
from train.metrics import Ties, cross_entropy, top_k_correct

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Photos (N, S, S, 3) -> probabilities (N, classes)."""
Batch = tuple[NDArray[np.int64], NDArray[np.uint8]]
"""Photos' places in their split, and the photos."""
Work = Callable[[NDArray[np.int64], NDArray[np.uint8]], None]
"""Takes a batch."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One value a photo: its class, its credit for top-1 and top-5 (0 to 1), its loss in nats."""

    labels: NDArray[np.int64]
    top1: NDArray[np.float64]
    top5: NDArray[np.float64]
    losses: NDArray[np.float64]

    @property
    def photos(self) -> int:
        """Photos that were evaluated."""
        return len(self.labels)

    @property
    def top1_error(self) -> float:
        """Share of photos whose most probable class is wrong."""
        return 1.0 - float(self.top1.mean())

    @property
    def top5_error(self) -> float:
        """Share of photos whose five most probable classes are all wrong."""
        return 1.0 - float(self.top5.mean())

    @property
    def loss(self) -> float:
        """Mean of -log(probability of the label), in nats."""
        return float(self.losses.mean())

    def summary(self) -> dict[str, Any]:
        """The overall figures, as JSON values."""
        return {
            "photos": self.photos,
            "top1_error": round(self.top1_error, 6),
            "top5_error": round(self.top5_error, 6),
            "loss": round(self.loss, 6),
        }

    def per_class(self, names: Sequence[Label]) -> list[dict[str, Any]]:
        """The same figures for each class that has photos, in the classes' order."""
        rows = []
        for index, label in enumerate(names):
            part = self.only(self.labels == index)
            if part.photos:
                rows.append({"label": label.wnid, "name": label.name, **part.summary()})
        return rows

    def only(self, chosen: NDArray[np.bool_]) -> Evaluation:
        """The same of the photos that are `chosen` (N,)."""
        return Evaluation(
            labels=self.labels[chosen],
            top1=self.top1[chosen],
            top5=self.top5[chosen],
            losses=self.losses[chosen],
        )


def evaluate(
    run: Run,
    split: Split,
    *,
    batch: int = 64,
    ties: Ties = "index",
    description: str = "Evaluating",
    mesh: Mesh | None = None,
) -> Evaluation:
    """Run the deployed function over every photo of `split`.

    Each process of a mesh runs it over its part of them; all get the result for all.

    Args:
        run: uint8 photos (N, S, S, 3) -> probabilities (N, classes).
        split: photos with their labels.
        batch: photos a call.
        ties: see `top_k_correct`.
        description: words before the progress bar.
        mesh: the processes; None: this one alone.

    Raises:
        AlexNetError: the split is empty.
    """
    mesh = mesh or Mesh()
    found = [EMPTY]

    def judged(places: NDArray[np.int64], photos: NDArray[np.uint8]) -> None:
        found.append(judge(run(photos), split.labels[places], ties=ties))

    each_batch(split, judged, batch=batch, description=description, mesh=mesh)
    return gathered(found, mesh)


def each_batch(
    split: Split, work: Work, *, batch: int, mesh: Mesh, description: str = "Evaluating"
) -> None:
    """Give `work` this process's part of the photos, batch by batch, each decoded once.

    Raises:
        AlexNetError: the split is empty, or `work` failed, here or in another process.
    """
    if not len(split):
        raise AlexNetError("There are no photos to evaluate in this part of the data set.")
    mine = np.arange(len(split))[mesh.part(len(split))]
    chunks = [mine[start : start + batch] for start in range(0, len(mine), batch)]
    bar = progress(description, total=len(mine), unit="photos", shown=mesh.first)
    with mesh.agreed(), bar as shown, ThreadPoolExecutor(1, "ahead") as pool:
        decoded = zip(chunks, ahead(split.photos, chunks, pool=pool), strict=True)
        for chunk, photos in _as_columns(decoded, mesh):
            work(chunk, photos)
            shown.advance(len(chunk))


def _as_columns(batches: Iterator[Batch], mesh: Mesh) -> Iterator[Batch]:
    """The batches for as long as every column of this process's network has its own.

    Columns that are apart exchange maps while they work on a batch: one that could not decode its
    photos would be waited for there. The others leave with it, and `Mesh.agreed` tells them why.
    """
    while True:
        batch, error = None, None
        try:
            batch = next(batches, None)
        except (AlexNetError, OSError) as caught:
            error = caught
        lost = mesh.any_column(error is not None)
        if error is not None:
            raise error
        if lost or batch is None:
            return
        yield batch


def judge(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], *, ties: Ties = "index"
) -> Evaluation:
    """What answers (N, classes) are worth, photo by photo.

    Raises:
        AlexNetError: a probability is not a finite number.
    """
    return Evaluation(
        labels=labels,
        top1=top_k_correct(probabilities, labels, 1, ties=ties),
        top5=top_k_correct(probabilities, labels, 5, ties=ties),
        losses=cross_entropy(probabilities, labels),
    )


def gathered(parts: Sequence[Evaluation], mesh: Mesh) -> Evaluation:
    """The parts of all processes as one, in the photos' order; `EMPTY` may be among them."""
    # Columns of one network have the same answers: one process of them counts.
    return _joined(mesh.gather(_joined(parts))[:: mesh.columns])


def check_input(config: InputConfig, dataset: Dataset, *, name: str) -> None:
    """The photos must have been prepared as the network takes them: size, fit and filter.

    Raises:
        AlexNetError: they were not; the sentence begins with `name` and says what to do.
    """
    prepared = {"size": dataset.size, **dataset.resize}
    for field in ("size", "fit", "filter"):
        wanted, found = getattr(config, field), prepared[field]
        if wanted != found:
            raise AlexNetError(
                f"{name} takes photos prepared with --{field} {wanted}, and {dataset.path} was "
                f"prepared with --{field} {found}: prepare them again."
            )


def check_classes(config: NetworkConfig, dataset: Dataset) -> None:
    """The network must have an output for each class of the data set, and no more.

    Raises:
        AlexNetError: it has not.
    """
    if len(dataset.labels) != config.classes:
        raise AlexNetError(
            f"network.classes is {config.classes} and {dataset.path} has "
            f"{len(dataset.labels)} classes."
        )


def check_same_photos(dataset: Dataset, mesh: Mesh) -> None:
    """Every machine must hold the same photos.

    Raises:
        AlexNetError: they do not, in the first process.
    """
    held = mesh.gather(dataset.facts["photos_sha256"])
    with mesh.agreed():
        if mesh.first and len(set(held)) > 1:
            raise AlexNetError(
                f"{dataset.path} does not hold the same photos on every machine: copy the first "
                "one's to the others."
            )


def check_labels(artifact: Sequence[Label], data: Sequence[Label]) -> None:
    """The network must have been made for just these classes, in this order.

    Raises:
        AlexNetError: it was not; the sentence names the first difference.
    """
    if len(artifact) != len(data):
        raise AlexNetError(
            f"The network knows {len(artifact)} classes and the data set has {len(data)}: "
            "evaluate it on data that was prepared from the same classes."
        )
    for index, (mine, theirs) in enumerate(zip(artifact, data, strict=True)):
        if mine.wnid != theirs.wnid:
            raise AlexNetError(
                f"Class {index} is '{mine.wnid}' for the network and '{theirs.wnid}' in the data "
                "set: the two do not belong together."
            )


def _joined(parts: Sequence[Evaluation]) -> Evaluation:
    return Evaluation(
        labels=np.concatenate([part.labels for part in parts]),
        top1=np.concatenate([part.top1 for part in parts]),
        top5=np.concatenate([part.top5 for part in parts]),
        losses=np.concatenate([part.losses for part in parts]),
    )


EMPTY = Evaluation(
    labels=np.empty(0, np.int64), top1=np.empty(0), top5=np.empty(0), losses=np.empty(0)
)
"""No photo: what a process without photos has found."""
