"""What the classes with the most errors are taken for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alexnet.figures import new_figure
from alexnet.labels import Label
from train.dataset import Split
from train.evaluate import Evaluation, Run, evaluate
from train.figures.names import short_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

CLASSES = 8


def predicted(run: Run, split: Split, *, batch: int) -> tuple[NDArray[np.int64], Evaluation]:
    """The most probable class of every photo of a part (N,), and the part's errors.

    Raises:
        AlexNetError: the part is empty, or an answer is not a number.
    """
    best: list[NDArray[np.int64]] = []

    def noted(photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        probabilities = run(photos)
        best.append(probabilities.argmax(1))
        return probabilities

    evaluation = evaluate(noted, split, batch=batch)
    return np.concatenate(best), evaluation


def confusion(
    correct: NDArray[np.int64],
    given: NDArray[np.int64],
    labels: Sequence[Label],
    *,
    count: int = CLASSES,
) -> dict[str, Any]:
    """The `count` classes with the highest top-1 error and all answers to their photos.

    Of equally bad classes the first ones are taken. As JSON values; `taken_for` counts the answers
    to each class's photos, most frequent first, right answers among them.

    Args:
        correct: (N,) class of each photo.
        given: (N,) the most probable class of each photo.
        labels: of each class.
        count: classes to show; those without photos have no error and are left out.
    """
    matrix = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(matrix, (correct, given), 1)
    photos = matrix.sum(1)
    errors = np.where(photos > 0, 1 - matrix.diagonal() / np.maximum(photos, 1), -1.0)
    worst = [int(c) for c in np.argsort(-errors, kind="stable")[:count] if photos[c]]
    rows = []
    for place in worst:
        order = np.argsort(-matrix[place], kind="stable")
        answers = [
            {**_class(int(other), labels), "photos": int(matrix[place, other])}
            for other in order
            if matrix[place, other]
        ]
        rows.append(
            {
                **_class(place, labels),
                "photos": int(photos[place]),
                "top1_error": round(float(errors[place]), 6),
                "taken_for": answers,
            }
        )
    return {"worst": rows}


def table(found: Mapping[str, Any]) -> tuple[list[int], list[int], NDArray[np.int64]]:
    """The figure's rows (classes), its columns (classes), and the counts (rows, columns + 1).

    Columns are the rows' own classes, then the classes that each of them is most often taken for;
    the last count of a row is that of all other answers. A row adds up to its class's photos.
    """
    rows = [row["class"] for row in found["worst"]]
    columns = list(rows)
    for row in found["worst"]:
        wrong = [answer["class"] for answer in row["taken_for"] if answer["class"] != row["class"]]
        columns += [place for place in wrong[:1] if place not in columns]
    counts = np.zeros((len(rows), len(columns) + 1), dtype=np.int64)
    for number, row in enumerate(found["worst"]):
        for answer in row["taken_for"]:
            place = answer["class"]
            column = columns.index(place) if place in columns else len(columns)
            counts[number, column] += answer["photos"]
    return rows, columns, counts


def draw(found: Mapping[str, Any], labels: Sequence[Label], *, title: str) -> Figure:
    """A row for each class, a column for each answer, right answers framed."""
    rows, columns, counts = table(found)
    figure = new_figure(2.9 + 0.42 * counts.shape[1], 2.6 + 0.42 * len(rows))
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    axes = figure.subplots()
    shown = counts.copy()
    shown[:, -1] = 0  # many classes together would outshine each of them
    axes.imshow(shown, cmap="Blues", vmin=0, vmax=1.5 * max(1, shown.max()))
    for (row, column), number in np.ndenumerate(counts):
        if number:
            axes.text(column, row, str(number), ha="center", va="center", fontsize=8.5)
    for place in range(len(rows)):
        axes.add_patch(_frame(place))
    answers = [short_name(labels[place]) for place in columns] + ["any other"]
    axes.set_xticks(range(len(answers)), answers, rotation=50, ha="left", rotation_mode="anchor")
    errors = [row["top1_error"] for row in found["worst"]]
    names = [
        f"{short_name(labels[place])}, {error:.0%}"
        for place, error in zip(rows, errors, strict=True)
    ]
    axes.set_yticks(range(len(rows)), names)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    axes.tick_params(labelsize=8.5)
    axes.set_ylabel("class, top-1 error")
    axes.set_xlabel("taken for (photos)")
    axes.spines[:].set_visible(False)
    axes.grid(False)
    return figure


def _frame(place: int) -> Rectangle:
    from matplotlib.patches import Rectangle

    corner = (place - 0.5, place - 0.5)
    return Rectangle(corner, 1, 1, fill=False, edgecolor="black", linewidth=1.2, clip_on=False)


def _class(index: int, labels: Sequence[Label]) -> dict[str, Any]:
    return {"class": index, "label": labels[index].wnid, "name": labels[index].name}
