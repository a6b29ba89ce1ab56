"""Figure 4, left: photos of the validation part with their five most probable labels as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alexnet.backends.base import Backend
from alexnet.config import InputConfig
from alexnet.figures import COLOURS, new_figure
from alexnet.labels import Label
from alexnet.predictor import top_scores
from alexnet.views import views_of
from train.dataset import Split
from train.figures.names import short_name, wrapped_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PHOTOS = 8
"""In the figure, four a row [P Figure 4, S shownet.py plot_predictions]."""
LABELS = 5
RIGHT, OTHER = COLOURS[1], COLOURS[5]
"""Bars of the correct class, and of all others."""
_A_ROW = 4


def drawn(split: Split, *, seed: int, count: int = PHOTOS) -> list[int]:
    """Which photos of the part are shown: drawn with a seed, none twice."""
    random = np.random.default_rng(seed)
    chosen = random.choice(len(split), size=min(count, len(split)), replace=False)
    return [int(index) for index in chosen]


def answers(backend: Backend, split: Split, indices: Sequence[int]) -> list[dict[str, Any]]:
    """Each photo's class and its `LABELS` most probable ones, as JSON values.

    `rank`: the place of the correct class among these, counted from 1; null where it is not one.
    """
    found = []
    probabilities = backend.run(split.photos(indices))
    for index, row in zip(indices, probabilities, strict=True):
        correct = int(split.labels[index])
        scores = top_scores(row, backend.info.labels, top_k=LABELS)
        places = [score.index for score in scores]
        found.append(
            {
                "photo": int(index),
                **_class(correct, backend.info.labels),
                "rank": places.index(correct) + 1 if correct in places else None,
                "answers": [
                    {
                        **_class(score.index, backend.info.labels),
                        "probability": round(score.probability, 6),
                    }
                    for score in scores
                ],
            }
        )
    return found


def centre_crops(photos: NDArray[np.uint8], config: InputConfig) -> NDArray[np.uint8]:
    """What the network sees of photos (N, S, S, 3) in the centre view: (N, C, C, 3)."""
    (view,) = views_of(config, "centre")
    side = config.crop
    return photos[:, view.y : view.y + side, view.x : view.x + side]


def draw(
    crops: NDArray[np.uint8],
    found: Sequence[Mapping[str, Any]],
    labels: Sequence[Label],
    *,
    title: str,
) -> Figure:
    """Each photo above its correct class and its bars."""
    columns = min(_A_ROW, len(found))
    rows = -(-len(found) // columns)
    figure = new_figure(2.35 * columns + 0.1, 4.0 * rows + 0.5)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    axes = figure.subplots(
        2 * rows, columns, squeeze=False, gridspec_kw={"height_ratios": [2.1, 1.3] * rows}
    )
    for axis in axes.flat:
        axis.axis("off")
    for number, (crop, facts) in enumerate(zip(crops, found, strict=True)):
        row, column = divmod(number, columns)
        photo, bars = axes[2 * row, column], axes[2 * row + 1, column]
        photo.imshow(crop, interpolation="nearest")
        name = wrapped_name(labels[facts["class"]], width=28)
        photo.text(
            *(0.5, -0.04, name), transform=photo.transAxes, ha="center", va="top", fontsize=8.5
        )
        _bars(bars, facts, labels)
    return figure


def _bars(axes: Axes, facts: Mapping[str, Any], labels: Sequence[Label]) -> None:
    axes.axis("on")
    for place, answer in enumerate(facts["answers"]):
        right = answer["class"] == facts["class"]
        axes.barh(place, answer["probability"], height=0.8, color=RIGHT if right else OTHER)
        name = short_name(labels[answer["class"]])
        axes.text(0.02, place, name, va="center", fontsize=7.5, weight="bold" if right else None)
    axes.set_xlim(0, 1)
    axes.set_ylim(LABELS - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"], fontsize=7.5)
    axes.grid(False)
    axes.spines["left"].set_visible(True)


def _class(index: int, labels: Sequence[Label]) -> dict[str, Any]:
    return {"class": index, "label": labels[index].wnid, "name": labels[index].name}
