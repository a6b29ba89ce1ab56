"""Figure 3: the kernels of conv1, column by column, and how much of them is colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alexnet.checkpoint import Checkpoint
from alexnet.errors import AlexNetError
from alexnet.figures import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Kernels = NDArray[np.float64]
"""Of one column: (kernels, side, side, 3), RGB."""

A_ROW = 16
"""Kernels in a row [P Figure 3, S shownet.py plot_filters]."""
BETWEEN = 1
"""White pixels between kernels, of the kernels' own size; a column's block has none around it."""
_APART = 3
_ENLARGED = 8


def conv1_kernels(checkpoint: Checkpoint) -> list[Kernels]:
    """The kernels of each column, in RGB whatever the order of the network's channels.

    Raises:
        AlexNetError: they do not see three channels: there are no colours to show.
    """
    config = checkpoint.config
    weights = checkpoint.weights["conv1.weight"].double().numpy()
    if weights.shape[1] != 3:
        raise AlexNetError(
            f"The kernels of conv1 see {weights.shape[1]} channel(s), not three: there is no "
            "figure of them."
        )
    if config.input.order == "bgr":
        weights = weights[:, ::-1]
    return np.split(weights.transpose(0, 2, 3, 1), config.network.columns)


def stretched(kernels: Kernels) -> Kernels:
    """A column's kernels on 0..1: one minimum and one maximum for all [S shownet.py plot_filters].

    Kernels that are all one number become grey.
    """
    least, most = kernels.min(), kernels.max()
    if most == least:
        return np.full_like(kernels, 0.5)
    scaled: Kernels = (kernels - least) / (most - least)
    return scaled


def tiles(kernels: Kernels) -> Kernels:
    """Kernels side by side, `A_ROW` a row, with white between them: (height, width, 3)."""
    count, side = kernels.shape[:2]
    across, pitch = min(count, A_ROW), side + BETWEEN
    down = -(-count // across)
    found = np.ones((down * pitch - BETWEEN, across * pitch - BETWEEN, 3))
    for number, kernel in enumerate(kernels):
        y, x = (pitch * place for place in divmod(number, across))
        found[y : y + side, x : x + side] = kernel
    return found


def colour_energies(kernels: Kernels) -> NDArray[np.float64]:
    """The share of each kernel that is colour, 0 to 1: |W - its mean over channels|^2 / |W|^2.

    Our own measure of what Figure 3 shows. A kernel of zeros has no colour: 0.
    """
    grey = kernels.mean(3, keepdims=True)
    colour = ((kernels - grey) ** 2).sum((1, 2, 3))
    whole = (kernels**2).sum((1, 2, 3))
    shares: NDArray[np.float64] = np.divide(
        colour, whole, out=np.zeros_like(whole), where=whole > 0
    )
    return shares


def area_under_curve(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """The probability that a value of `first` is above one of `second`; equal ones count half."""
    above = (first[:, None] > second).mean()
    equal = (first[:, None] == second).mean()
    return float(above + equal / 2)


def colour_facts(columns: Sequence[Kernels]) -> dict[str, Any]:
    """Energies and medians of each column and, of two, how well they are told apart.

    `auc` is for the column with more colour, whichever it is: the paper says that either GPU may
    become it. It is at least .5.
    """
    energies = [colour_energies(kernels) for kernels in columns]
    found: dict[str, Any] = {
        "energies": [[round(float(e), 6) for e in column] for column in energies],
        "medians": [round(float(np.median(column)), 6) for column in energies],
    }
    if len(columns) == 2:
        first = area_under_curve(energies[0], energies[1])
        found["auc_first_over_second"] = round(first, 6)
        found["auc"] = round(max(first, 1.0 - first), 6)
        found["column_with_colour"] = 1 if first >= 0.5 else 2
    return found


def draw(columns: Sequence[Kernels], facts: dict[str, Any], *, title: str) -> Figure:
    """The first column's kernels above the second's, and their colour energies below."""
    blocks = [tiles(stretched(kernels)) for kernels in columns]
    pixels = sum(block.shape[0] for block in blocks) + _APART * (len(blocks) - 1)
    width = 8.0
    picture = (width - 0.9) * pixels / blocks[0].shape[1]
    strips = 0.9 + 0.42 * len(columns)
    figure = new_figure(width, picture + strips + 1.5)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    upper, lower = figure.subplots(2, 1, gridspec_kw={"height_ratios": [picture, strips]})
    _picture(upper, blocks)
    _strips(lower, facts)
    return figure


def _picture(axes: Axes, blocks: Sequence[Kernels]) -> None:
    wide, top = blocks[0].shape[1], 0
    whole: list[Kernels] = []
    ticks, names = [], []
    for number, block in enumerate(blocks, 1):
        if whole:
            whole.append(np.ones((_APART, wide, 3)))
            top += _APART
        whole.append(block)
        ticks.append(top + (block.shape[0] - 1) / 2)
        names.append(f"column {number}" if len(blocks) > 1 else "conv1")
        top += block.shape[0]
    # Enlarged here, so that no viewer smooths the edges of a kernel's pixels.
    large = np.concatenate(whole).repeat(_ENLARGED, 0).repeat(_ENLARGED, 1)
    axes.imshow(large, interpolation="nearest", extent=(-0.5, wide - 0.5, top - 0.5, -0.5))
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks(ticks, names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _strips(axes: Axes, facts: dict[str, Any]) -> None:
    """A dot for each kernel, a line at each column's median."""
    count = len(facts["energies"])
    for row, (energies, median) in enumerate(zip(facts["energies"], facts["medians"], strict=True)):
        colour = COLOURS[row % len(COLOURS)]
        order = np.argsort(np.argsort(energies, kind="stable"), kind="stable")
        spread = (order % 5 - 2) * 0.09  # so that neighbours do not hide each other
        axes.plot(energies, row + spread, "o", color=colour, markersize=4.5, alpha=0.65, mew=0)
        axes.plot([median] * 2, [row - 0.36, row + 0.36], color=colour, linewidth=2.2)
    names = [
        (f"column {row + 1}\n" if count > 1 else "") + f"median {median:.3f}"
        for row, median in enumerate(facts["medians"])
    ]
    axes.set_yticks(range(count), names)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.grid(False, axis="y")
    axes.set_xlabel("colour energy of a kernel (0: grey, 1: nothing but colour)")
    if "auc" in facts:
        number = facts["column_with_colour"]
        axes.set_title(
            f"A kernel of column {number} has more colour than one of column {3 - number} with "
            f"probability {facts['auc']:.3f} (AUC)",
            fontsize=9.5,
            fontweight="normal",
        )
