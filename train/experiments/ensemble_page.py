"""Figure and text of averages of several networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alexnet.figures import COLOURS, new_figure
from train.experiments.rates import cuts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Validation errors in percent with ten views, 1 CNN and the average of 5 [P table 2].
_PAPER = {"top1_error": (40.7, 38.1), "top5_error": (18.2, 16.4)}
_NAMES = {"top1_error": "top-1", "top5_error": "top-5"}


def draw(result: dict[str, Any]) -> Figure:
    """Errors against the number of networks: the mean of all subsets, and their range."""
    figure = new_figure(8.6, 3.9)
    averages = result["found"]["averages"]
    for axes, name, colour in zip(figure.subplots(1, 2), _NAMES, COLOURS, strict=False):
        axes.set_title(f"{_NAMES[name].capitalize()} error")
        axes.set_xlabel("networks averaged")
        axes.set_ylabel("error, %")
        if averages:
            _panel(axes, averages, name, colour=colour)
    return figure


def _panel(axes: Axes, averages: list[dict[str, Any]], name: str, *, colour: str) -> None:
    counts = [row["networks"] for row in averages]
    mean, least, most = (
        [100 * row[name][key] for row in averages] for key in ("mean", "least", "most")
    )
    axes.fill_between(counts, least, most, color=colour, alpha=0.18, linewidth=0)
    axes.vlines(counts, least, most, color=colour, linewidth=1, label="range of all subsets")
    axes.plot(counts, mean, "o-", color=colour, label="their mean")
    one, five = _PAPER[name]
    axes.plot(
        [5],
        [mean[0] + five - one],
        "D",
        color=COLOURS[-1],
        markerfacecolor="none",
        label=f"one network's mean less {one - five:.1f},\nthe paper's gain on ImageNet",
    )
    axes.set_xticks(range(1, max(5, *counts) + 1) if len(counts) > 1 else range(1, 6))
    axes.margins(y=0.12)
    axes.legend(loc="upper right")


def text(result: dict[str, Any]) -> str:
    """A table beside the paper's, what averaging gains, and how it was measured."""
    found, settings = result["found"], result["settings"]
    averages = found["averages"]
    parts = [
        f"The network `mini` trained by its recipe in {settings['epochs']} epochs with each of "
        f"{len(settings['seeds'])} seeds, in which the rate {cuts(settings['epochs'])}; "
        "probabilities averaged with equal weights, "
        f"{result['data']['photos']['val']:,} validation photos of {found['classes']} classes, ten "
        "views. Mean and range are over all subsets of the networks. The paper's figures are for "
        "ImageNet and its full-size network."
    ]
    if averages:
        parts.append(_table(found, all_seeds=len(settings["seeds"])))
    if found["gain"] is not None:
        parts += [_verdict(found), _tuned(found)]
    missing = [str(seed) for seed in settings["seeds"] if seed not in found["seeds"]]
    if missing:
        parts.append(f"Not trained yet: seed {', '.join(missing)}.")
    return "\n\n".join(parts)


def _table(found: dict[str, Any], *, all_seeds: int) -> str:
    lines = [
        "| networks | top-1 error | range | top-5 error | range | the paper's top-1 / top-5 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in found["averages"]:
        count, subsets = row["networks"], row["subsets"]
        name = _cnns(count) + (f", mean of {subsets}" if subsets > 1 else "")
        cells = [cell for error in _NAMES for cell in _cells(row[error], single=subsets == 1)]
        place = {1: 0, 5: 1}.get(count)
        paper = "" if place is None else " / ".join(f"{p[place]} %" for p in _PAPER.values())
        lines.append(f"| {' | '.join((name, *cells, paper))} |")
    if found["tuned"] is not None:
        tuned = found["tuned"]
        name = f"{_cnns(len(found['seeds']))}, weights tuned on held-out photos"
        top1, top5 = (_percent(tuned[error]) for error in _NAMES)
        lines.append(f"| {name} | {top1} |  | {top5} |  |  |")
    return "\n".join(lines)


def _cells(spread: dict[str, float], *, single: bool) -> tuple[str, str]:
    if single:
        return _percent(spread["mean"]), ""
    return _percent(spread["mean"]), f"{100 * spread['least']:.1f} to {_percent(spread['most'])}"


def _verdict(found: dict[str, Any]) -> str:
    alone, count = found["averages"][0], len(found["seeds"])
    words, signs = [], set()
    for name, gain in found["gain"].items():
        mean, side = 100 * gain["mean"], 100 * gain["half"]
        share = gain["mean"] / alone[name]["mean"] if alone[name]["mean"] else 0.0
        one, five = _PAPER[name]
        signs.add(1 if mean > side else -1 if mean < -side else 0)
        words.append(
            f"{mean:.1f} points of {_NAMES[name]} (95 % interval over the photos {mean - side:.1f} "
            f"to {mean + side:.1f}), {100 * share:.1f} % of the errors, where the paper's five "
            f"gain {one - five:.1f} points, {100 * (one - five) / one:.1f} %"
        )
    verdict = {
        frozenset({1}): "Averaging helps, as in the paper.",
        frozenset({-1}): "Averaging harms here, against what the paper found.",
    }.get(frozenset(signs), "Whether averaging helps in both errors can't be told from so few.")
    return (
        f"The average of {count} gains {'; and '.join(words)}. {verdict} The paper's five seem to "
        "differ in more than their seed, and whether their weights were equal is not recorded."
    )


def _tuned(found: dict[str, Any]) -> str:
    coefficients = " and ".join(
        "(" + ", ".join(f"{value:g}" for value in each) + ")"
        for each in found["tuned"]["coefficients"]
    )
    return (
        "Tuned weights: coefficients from 0 to 1 in steps of .05, searched for one by one as the "
        "tools of 2012 did, for the fewest top-5 errors on half of the photos and measured on the "
        f"other half, both ways round, so that every photo counts once: {coefficients}."
    )


def _cnns(count: int) -> str:
    return "1 CNN" if count == 1 else f"{count} CNNs"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
