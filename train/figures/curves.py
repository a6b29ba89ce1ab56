"""Learning curves of a run: errors and losses by epoch, with the cuts of the rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet.figures import COLOURS, new_figure
from train.run import read_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ERRORS = (
    ("train_error", "training, top-1 (running)", "--"),
    ("val_top1_error", "validation, top-1", "-"),
    ("val_top5_error", "validation, top-5", "-"),
)
_LOSSES = (("train_loss", "training (running)", "--"), ("val_loss", "validation", "-"))
_LINES = (*_ERRORS, *_LOSSES)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The whole epochs of a run's metrics.jsonl; none where there is no such file.

    A last line that a killed run cut short, or that an epoch cut short by --max-steps left, is no
    whole epoch.
    """
    return [line for line in read_lines(path) if "steps" not in line]


def curves(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the figure shows, of the lines of a run's metrics.jsonl: lists by epoch, and the cuts.

    `cuts` are the epochs in which a rate begins that is lower than the one before. Where the rate
    changes in most epochs, as half a cosine does, there are none. Without validation photos there
    are no lists of theirs.
    """
    found: dict[str, Any] = {"epochs": [line["epoch"] for line in lines]}
    found["lr"] = rates = [line["lr"] for line in lines]
    for name, _, _ in _LINES:
        if all(name in line for line in lines):
            found[name] = [line[name] for line in lines]
    changes = [place for place in range(1, len(rates)) if rates[place] != rates[place - 1]]
    steps = len(changes) <= max(1, (len(rates) - 1) // 2)
    found["cuts"] = [
        {"epoch": lines[place]["epoch"], "lr": rates[place]}
        for place in changes
        if steps and rates[place] < rates[place - 1]
    ]
    return found


def draw(found: Mapping[str, Any], *, title: str) -> Figure:
    """Errors above, losses below."""
    figure = new_figure(8.0, 6.4)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    upper, lower = figure.subplots(2, 1, sharex=True)
    percent = {
        name: [100 * value for value in found[name]] for name, _, _ in _ERRORS if name in found
    }
    _panel(upper, found, percent, _ERRORS)
    upper.set_ylabel("error (%)")
    _panel(lower, found, found, _LOSSES)
    lower.set_ylabel("loss (nats)")
    lower.set_xlabel("epoch")
    lower.xaxis.get_major_locator().set_params(integer=True)
    for cut in found["cuts"]:
        upper.annotate(
            f"rate {cut['lr']:.2g}",
            (cut["epoch"] - 0.5, 1),
            xycoords=("data", "axes fraction"),
            xytext=(2, 1),
            textcoords="offset points",
            rotation=90 if len(found["cuts"]) > 3 else 0,
            fontsize=7.5,
            va="bottom",
        )
    return figure


def _panel(
    axes: Axes,
    found: Mapping[str, Any],
    values: Mapping[str, Any],
    lines: Sequence[tuple[str, str, str]],
) -> None:
    colours = (COLOURS[6], COLOURS[0], COLOURS[1])
    mark = "o" if len(found["epochs"]) < 12 else ""
    for (name, words, style), colour in zip(lines, colours, strict=False):
        if name not in values:
            continue
        axes.plot(
            found["epochs"], values[name], style, color=colour, label=words, marker=mark, ms=3.5
        )
    for cut in found["cuts"]:
        axes.axvline(cut["epoch"] - 0.5, color="0.55", linewidth=0.8, linestyle=":")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper right", frameon=True, facecolor="white", edgecolor="none")
