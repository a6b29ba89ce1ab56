"""Figure and text of response normalisation on CIFAR-10."""

from __future__ import annotations

import math
import statistics
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from alexnet.figures import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMES = {
    "b": "without (`layers-conv-local-13pct`)",
    "b-wide": "without, but local3 64 maps wide (ours)",
    "b-norm": "with (`layers-conv-local-11pct`)",
}
_LABELS = {"b": "without norm", "b-wide": "without norm, wide local3", "b-norm": "with norm"}
_COLOURS = {"b": COLOURS[1], "b-wide": COLOURS[4], "b-norm": COLOURS[0]}
_PUBLISHED = {"b": "13%", "b-wide": "", "b-norm": "11%"}
_NOT_WIDE = (
    " `b-wide`, the 11% network without its norms, with which the comparison would be pure, was "
    "not run."
)
_PARTS = ("all files", "rate / 10", "rate / 100")
"""What begins where a part of the schedule ends."""
_VIEWS = ("centre", "nine", "ten")


def draw(result: dict[str, Any]) -> Figure:
    """Training error (dotted) and test error (solid) by epochs, and where the schedule changes."""
    found = result["found"]
    figure = new_figure(7.2, 4.2)
    axes = figure.subplots()
    highest, longest = 0.0, 0
    for net, runs in found["nets"].items():
        label = _LABELS[net]
        for run in runs:
            epochs = range(1, len(run["errors"]) + 1)
            longest = max(longest, len(epochs))
            tests = [math.nan if error is None else error for error in run["test_errors"]]
            axes.plot(epochs, run["errors"], ":", color=_COLOURS[net], linewidth=1.2)
            axes.plot(epochs, tests, "-", color=_COLOURS[net], linewidth=1.6, label=label)
            label = ""
            shown = [error for error in run["test_errors"] if error is not None]
            highest = max([highest, *run["errors"], *shown])
    axes.plot([], [], "-", color="grey", label="test photos, centre view")
    axes.plot([], [], ":", color="grey", label="training crops")
    ends = list(accumulate(found["epochs"]))
    for end, words in zip(ends[:-1], _PARTS, strict=True):
        if end < longest:
            _part(axes, end, words, last=end == ends[-2])
    axes.set_xlabel("Epochs")
    axes.locator_params(axis="x", integer=True)
    axes.set_ylabel("Error")
    axes.set_xlim(0, max(longest, 1) * 1.02)
    axes.set_ylim(0, 1.05 * highest if highest else 1)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.legend(loc="upper right")
    return figure


def _part(axes: Axes, end: int, words: str, *, last: bool) -> None:
    """A line where a part of the schedule ends; the last two are close to each other."""
    axes.axvline(end, ymax=0.68, color="black", linewidth=0.6, alpha=0.4)
    axes.annotate(
        words,
        (end, 0.67),
        xycoords=("data", "axes fraction"),
        xytext=(2 if last else -2, 0),
        textcoords="offset points",
        rotation=90,
        ha="left" if last else "right",
        va="top",
        fontsize=7.5,
    )


def text(result: dict[str, Any]) -> str:
    """What was seen, beside the paper's two numbers; how it was measured."""
    found = result["found"]
    return "\n\n".join([_finding(result), _table(found), _method(found, result["settings"])])


def _finding(result: dict[str, Any]) -> str:
    nets, total = result["found"]["nets"], sum(result["found"]["epochs"])
    if any(_diverged(run) for runs in nets.values() for run in runs):
        return "A training diverged: its loss is no number any more. Try a lower rate."
    without, normed = (_mean(nets.get(net, []), "nine") for net in ("b", "b-norm"))
    if without is None or normed is None:
        return "Not both networks have been trained: there is no difference yet."
    gain, noise = (result["found"]["gain"][name] for name in ("mean", "half"))
    photos = result["data"]["photos"]["val"]
    trained = min(len(nets["b"]), len(nets["b-norm"]))
    state = (
        "" if all(_done(nets, net) for net in ("b", "b-norm")) else ", before the schedule ended"
    )
    if abs(gain) <= noise:
        claim = "That is within what other test photos could make of networks that are as good"
    elif gain > 0:
        claim = (
            f"{_in_these(trained)} the one with response normalisation is better, as in the paper"
        )
    else:
        claim = (
            f"{_in_these(trained)} **the one with response normalisation is worse, unlike the "
            "paper's**"
        )
    without_ten, normed_ten = (_mean(nets[net], "ten") for net in ("b", "b-norm"))
    ten = ""
    if without_ten is not None and normed_ten is not None:
        ten = f" ({100 * (without_ten - normed_ten):+.1f} with ten views)"
    return (
        f"With nine views {without:.1%} test error without response normalisation and {normed:.1%} "
        f"with it{state}: {gain:+.1f} points in favour of it{ten}; the paper has 13% and 11%, +2 "
        f"points. {claim} (±{noise:.1f} points at 95% confidence, from the differences on the same "
        f"{photos:,} test photos; {_count(trained, 'training')} of each "
        f"network{', whose mean is given' * (trained > 1)}, and what other seeds would change is "
        "not in it). "
        "The published pair is no pure comparison: the 11% network's third layer is also twice as "
        "wide, its output layer's weight decay is 0.01 instead of 0.004, and it was trained "
        f"longer; here all networks train for {total} epochs."
        + ("" if "b-wide" in nets else _NOT_WIDE)
    )


def _in_these(trained: int) -> str:
    return "In this one pair of trainings" if trained == 1 else f"Of these {trained} pairs"


def _table(found: dict[str, Any]) -> str:
    rows = [
        "| response normalisation | trainings | epochs | training crops | centre view | "
        "nine views | ten views | published |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    total = sum(found["epochs"])
    for net, runs in found["nets"].items():
        done = min(len(run["errors"]) for run in runs)
        last = [run["errors"][-1] for run in runs if run["errors"]]
        views = [_percent(_mean(runs, view)) for view in _VIEWS]
        trained = f"{statistics.mean(last):.1%}" if last else ""
        rows.append(
            f"| {_NAMES[net]} | {len(runs)} | {done} of {total} | {trained} | "
            + " | ".join(views)
            + f" | {_PUBLISHED[net]} |"
        )
    return "\n".join(rows)


def _method(found: dict[str, Any], settings: dict[str, Any]) -> str:
    first, second, third, fourth = found["epochs"]
    whole = "in full" if settings["share"] == 1 else f"shortened to {settings['share']:g} of it"
    return (
        f"The source's schedule, {whole}: {_count(first, 'epoch')} on all files of 10,000 photos "
        f"but the last, {second} on all of them, {third} at a tenth of the weights' rate of "
        f"{settings['rate']:g}, and {fourth} at a hundredth (350, 150, 10 and 10 in full; biases "
        "keep twice the first rate). Every network has the 11% network's schedule; the 13% one was "
        "published with 100, 40, 10 and 10. Crops of 24 pixels at random places, mirrored as often "
        "as not; momentum 0.9; weight decay 0.004 on the local layers and on the output layer as "
        "above. In the figure vertical lines part the schedule. Nine views are a grid of 3 x 3 "
        "crops, as cuda-convnet averaged them until 2012 and cuda-convnet 2 does; ten are corners, "
        "centre and their mirrored images, as it did from March 2012 on. Response normalisation is "
        "this project's own, of nine maps, with a scale of 0.001 divided by nine, a power of 0.75 "
        "and k = 1."
    )


def _mean(runs: list[dict[str, Any]], view: str) -> float | None:
    """Of the trainings' test errors; None unless every one was tested."""
    found = [run["views"][view] for run in runs if run["views"]]
    return statistics.mean(found) if found and len(found) == len(runs) else None


def _diverged(run: dict[str, Any]) -> bool:
    return bool(run["errors"]) and run["views"] is None


def _done(nets: dict[str, Any], net: str) -> bool:
    return all(run["finished"] for run in nets[net])


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
