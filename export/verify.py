"""Two model files side by side on the same photos: do they give the same answers?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.backends import BACKENDS, ArtifactInfo, Backend, open_backend
from alexnet.console import print_table, progress
from alexnet.errors import AlexNetError
from alexnet.settings import to_dict
from export.real_photos import Named

RELATIVE_TOLERANCE = 10
"""Features and layers may differ by this many tolerances, as part of their largest value: they are
sums of thousands of terms before any softmax, and rounding alone moves them by several millionths.
"""
_BATCH = 4  # ten views of four photos: small enough for a bar that moves


class DifferentModelsError(AlexNetError):
    """Two model files that can't be compared, or that do not give the same answers."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How far the answers of two models lie apart."""

    photos: int
    max_difference: float
    """Largest difference of any class's probability on any photo."""
    mean_difference: float
    """Mean difference over classes and photos."""
    top1_agreement: float
    """Part of the photos with the same best class."""
    top5_agreement: float
    """Part of the photos whose five best classes are the same five, in any order."""
    worst_photo: str
    """The photo of `max_difference`."""
    best_probability: float
    """Mean probability of the first model's best class; near 1 / classes, agreement says little."""
    max_feature_difference: float | None
    """Largest difference of any feature, as part of the first model's largest feature; None without
    features, infinite where that model's features are all 0 and the other's are not."""

    def within(self, tolerance: float) -> bool:
        """Whether probabilities differ by `tolerance` at most, features by ten times as much.

        What is not a number never agrees.
        """
        features = self.max_feature_difference
        return self.max_difference <= tolerance and (
            features is None or features <= RELATIVE_TOLERANCE * tolerance
        )


def open_pair(first: Path, second: Path, *, threads: int | None = None) -> tuple[Backend, Backend]:
    """Two models that take the same photos and name the same classes.

    A checkpoint takes the views of an exported file that it is compared with.

    Raises:
        AlexNetError: a file is missing or damaged, or the two differ in input, classes or views.
    """
    if _is_checkpoint(first) and not _is_checkpoint(second):
        b, a = open_pair(second, first, threads=threads)
        return a, b
    a = open_backend(first, threads=threads)
    views = a.info.views if _is_checkpoint(second) else None
    b = open_backend(second, views=views, threads=threads)
    _check_comparable(a.info, b.info)
    return a, b


def compare(a: Backend, b: Backend, photos: Sequence[Named]) -> Comparison:
    """Run both models on the photos and compare their answers.

    Raises:
        ValueError: there are no photos.
    """
    if not photos:
        raise ValueError("There are no photos to compare on.")
    names = [name for name, _ in photos]
    features = a.info.has_features and b.info.has_features
    answers = []
    with progress("Comparing", total=len(photos), unit="photos") as bar:
        size = 1 if a.info.views == "dense" else _BATCH  # a batch has photos of one shape
        for start in range(0, len(photos), size):
            batch = np.stack([pixels for _, pixels in photos[start : start + size]])
            answers.append([_answers(backend, batch, features=features) for backend in (a, b)])
            bar.advance(len(batch))
    (p, f), (q, g) = (
        [np.concatenate(parts) for parts in zip(*rows, strict=True)]
        for rows in zip(*answers, strict=True)
    )
    apart = np.abs(p.astype(np.float64) - q)
    by_photo = apart.max(axis=1)
    worst = int(np.argmax(by_photo))  # the first NaN, if there is one
    return Comparison(
        photos=len(names),
        max_difference=float(by_photo[worst]),
        mean_difference=float(apart.mean()),
        top1_agreement=_agreement(p, q, 1),
        top5_agreement=_agreement(p, q, 5),
        worst_photo=names[worst],
        best_probability=float(p.max(axis=1).mean()),
        max_feature_difference=part_of(np.abs(f - g).max(), np.abs(f).max()) if features else None,
    )


def part_of(difference: float, largest: float) -> float:
    """A difference as part of a largest value; of values that all are 0, 0 or infinitely much."""
    if largest == 0 and not np.isnan(difference):
        return 0.0 if difference == 0 else float("inf")
    return float(difference / largest)


def print_comparison(comparison: Comparison, a: Backend, b: Backend) -> None:
    """The table for people."""
    rows: list[tuple[str, str]] = [
        ("photos", str(comparison.photos)),
        ("views", a.info.views),
        ("max difference of probability", f"{comparison.max_difference:.2e}"),
        ("mean difference of probability", f"{comparison.mean_difference:.2e}"),
        ("same best class", f"{100 * comparison.top1_agreement:.1f} %"),
        ("same five best classes", f"{100 * comparison.top5_agreement:.1f} %"),
        ("mean probability of the best class", f"{comparison.best_probability:.3f}"),
        ("photo that differs most", comparison.worst_photo),
    ]
    if comparison.max_feature_difference is not None:
        rows.insert(
            4, ("max relative difference of features", f"{comparison.max_feature_difference:.2e}")
        )
    title = f"{a.info.path} ({a.name}) and {b.info.path} ({b.name})"
    print_table(title, ("", "value"), rows)


def summary(comparison: Comparison, a: Backend, b: Backend, *, tolerance: float) -> dict[str, Any]:
    """The same as JSON values, with what was compared; what is no finite number becomes null."""
    return {
        **dataclasses.asdict(comparison),
        "views": a.info.views,
        "tolerance": tolerance,
        "within_tolerance": comparison.within(tolerance),
        "models": [
            {"path": str(m.info.path), "sha256": m.info.sha256, "backend": m.name} for m in (a, b)
        ],
    }


def difference(comparison: Comparison, *, tolerance: float) -> str:
    """The sentence that says how far models lie apart that are not `within` the tolerance."""
    if comparison.max_difference <= tolerance:
        if comparison.max_feature_difference == float("inf"):
            return "The first model's features are all 0 on these photos, and the second's are not."
        return (
            f"The models' features differ by {comparison.max_feature_difference:.2e} of the "
            f"largest feature, more than {RELATIVE_TOLERANCE * tolerance:g}."
        )
    return (
        f"The models' probabilities differ by {comparison.max_difference:.2e}, more than "
        f"{tolerance:g}, on {comparison.worst_photo}."
    )


def _is_checkpoint(path: Path) -> bool:
    return path.suffix == BACKENDS["torch"]


def _answers(
    backend: Backend, batch: NDArray[np.uint8], *, features: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if features:
        return backend.run_features(batch)
    return backend.run(batch), np.zeros((len(batch), 0), dtype=np.float32)


def _agreement(p: NDArray[np.float32], q: NDArray[np.float32], count: int) -> float:
    best = [np.sort(np.argsort(-x, axis=1, kind="stable")[:, :count], axis=1) for x in (p, q)]
    return float((best[0] == best[1]).all(axis=1).mean())


def _check_comparable(a: ArtifactInfo, b: ArtifactInfo) -> None:
    inputs = [to_dict(info.config.input) for info in (a, b)]
    different = [name for name in inputs[0] if inputs[0][name] != inputs[1][name]]
    if different:
        name = different[0]
        raise DifferentModelsError(
            f"{a.path} and {b.path} take different inputs and can't be compared: {name} is "
            f"{inputs[0][name]} and {inputs[1][name]}."
        )
    if a.labels != b.labels:
        raise DifferentModelsError(
            f"{a.path} and {b.path} name different classes and can't be compared."
        )
    if a.views != b.views:
        raise DifferentModelsError(
            f"{a.path} averages the views '{a.views}' and {b.path} '{b.views}': they can't be "
            "compared; export one of them again with --views."
        )
