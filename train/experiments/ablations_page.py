"""Figure and text of the ablations."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

from alexnet.figures import COLOURS, new_figure
from train.experiments.ablations_verdicts import (
    METRICS,
    agreement,
    gap,
    mean,
    percent,
    rows_of,
    too_short,
)
from train.experiments.intervals import binomial_half
from train.experiments.rates import MINI, at_edge, cuts, edge, trials_table
from train.experiments.variants import VARIANTS, Variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OURS, _PAPERS = COLOURS[0], COLOURS[1]
_LEGEND: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("mean over seeds, 95 % interval", "o-", {"color": _OURS}),
    ("each seed", "|", {"color": _OURS}),
    ("the paper, ImageNet", "D", {"color": _PAPERS}),
    ("the paper: more than that", ">", {"color": _PAPERS}),
)


def draw(result: dict[str, Any]) -> Figure:
    """What each change adds to the errors: mean, interval and seeds, beside the paper's number."""
    rows = rows_of(result["found"])
    figure = new_figure(10.0, 1.6 + 0.48 * len(rows))
    panels = figure.subplots(1, 2, sharey=True)
    for place, (axes, metric) in enumerate(zip(panels, METRICS, strict=True)):
        _panel(axes, rows, metric, place)
    panels[0].set_yticks(range(len(rows)), [variant.title for variant, _ in rows])
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    shown = [panels[0].plot([], [], look, label=label, **more)[0] for label, look, more in _LEGEND]
    figure.legend(handles=shown, loc="outside lower center", ncols=len(shown))
    return figure


def _panel(axes: Axes, rows: list[tuple[Variant, dict[str, Any]]], metric: str, place: int) -> None:
    axes.axvline(0.0, color="black", linewidth=0.8)
    for height, (variant, difference) in enumerate(rows):
        found, papers = difference[metric], variant.paper[place]
        if papers is not None:
            look = ">" if variant.at_least else "D"
            axes.plot(papers, height + 0.24, look, color=_PAPERS, markersize=6)
        if found["values"]:
            seeds = [height - 0.18] * len(found["values"])
            axes.plot(found["values"], seeds, "|", color=_OURS, markersize=7)
            half = found["half"] or 0.0
            axes.errorbar(found["mean"], height, xerr=half, fmt="o", color=_OURS, capsize=3)
    axes.set_title(f"{METRICS[metric].capitalize()} error")
    axes.set_xlabel("Points that the change adds")
    axes.grid(visible=False, axis="y")


def text(result: dict[str, Any]) -> str:
    """The differences beside the paper's, the errors, how it was done and what it does not show."""
    found = result["found"]
    parts = [
        _introduction(result),
        _differences_table(found),
        agreement(found, result["settings"]["lrs"]),
        too_short(result),
        _errors_table(found),
        _method(result),
        _rates(result),
    ]
    return "\n\n".join(part for part in parts if part)


def _introduction(result: dict[str, Any]) -> str:
    settings, data, plain = result["settings"], result["data"], result["found"]["runs"]["baseline"]
    photos, seeds = data["photos"], settings["seeds"]
    words = _early(settings["epochs"]) + (
        f"One thing of the paper is taken away from `mini` at a time, and both are trained for "
        f"{settings['epochs']} epochs with {len(seeds)} seed{'s' if len(seeds) > 1 else ''} on "
        f"{photos['train']:,} photos of {data['classes']} classes. Differences of the errors with "
        "ten views are paired by seed: a positive one means that the paper's choice is the better "
        "one. The intervals (95 %, Student's t) say how far other seeds could move a mean; "
        "one in twenty such intervals misses."
    )
    if plain:
        error = statistics.fmean(run["ten"]["top1"] for run in plain.values())
        half = 100 * binomial_half(error, photos["val"])
        words += (
            f" The {photos['val']:,} validation photos are a sample, too: an error of "
            f"{percent(error)} on so many has an interval of ±{half:.1f} points of its own, part "
            "of which is common to the networks that are compared."
        )
    return words


def _early(epochs: int) -> str:
    """What so few epochs can show."""
    if 2 * epochs > MINI.epochs:
        return ""
    return (
        f"After {epochs} epochs, of the {MINI.epochs} that `mini`'s recipe has, differences are of "
        "how fast networks begin to learn, and not of how good they become. "
    )


def _differences_table(found: dict[str, Any]) -> str:
    lines = [
        "| change | seeds | top-1, points | top-5, points | the paper, top-1 and top-5 |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for variant, difference in rows_of(found):
        cells = [_points(difference[metric]) for metric in METRICS]
        lines.append(
            f"| {variant.title} | {len(difference['seeds'])} | {' | '.join(cells)} | "
            f"{variant.says} |"
        )
    return "\n".join(lines)


def _points(found: dict[str, Any]) -> str:
    if not found["values"]:
        return "to come"
    half = "" if found["half"] is None else f" ± {found['half']:.1f}"
    return f"{found['mean']:+.1f}{half}"


def _errors_table(found: dict[str, Any]) -> str:
    lines = [
        "| network | top-1, ten views | by seed | top-5, ten views | top-1, one view | "
        "top-5, one view | loss, ten views | training error | gap, points |",
        "| --- |" + " ---: |" * 8,
    ]
    for name, runs in found["runs"].items():
        title = _titles([name])[0]
        if not runs:
            lines.append(f"| {title} | to come |" + " |" * 7)
            continue
        rows = list(runs.values())
        seeds = " / ".join(f"{100 * row['ten']['top1']:.1f}" for row in rows)
        means = [
            percent(statistics.fmean(row[views][metric] for row in rows))
            for views, metric in (("ten", "top5"), ("centre", "top1"), ("centre", "top5"))
        ]
        top1 = percent(statistics.fmean(row["ten"]["top1"] for row in rows))
        loss = f"{statistics.fmean(row['ten']['loss'] for row in rows):.3f}"
        error = f"{percent(mean(rows, 'train_error'))} | {gap(rows):+.1f}"
        lines.append(f"| {title} | {top1} | {seeds} | {' | '.join(means)} | {loss} | {error} |")
    return "\n".join(lines)


def _method(result: dict[str, Any]) -> str:
    words = (
        "Every training is by `mini`'s recipe shortened: the rate "
        f"{cuts(result['settings']['epochs'])}. The training error is the running one of the last "
        "epoch, with that training's own dropout and noise, and the gap what the validation error "
        "with one view is above it. Without overlap: windows of 2x2, conv2 padded by 1 and conv5 "
        "not at all, as in #147, which gives maps of 55, 28, 26, 13, 11 and 6. One column: half "
        "the maps, but for conv5 and the full layers, as in #145-half. tanh(x) stands for every "
        "ReLU, with the same first weights."
    )
    if result["found"]["diverged"]:
        names = ", ".join(f"`{name}`" for name in result["found"]["diverged"])
        words += f" The loss of {names} did not stay finite, and they are left out."
    chance = math.log(result["data"]["classes"])
    still = [
        f"`{name}-{seed}`"
        for name, runs in result["found"]["runs"].items()
        for seed, run in runs.items()
        if run["train_loss"] > 0.99 * chance
    ]
    if still:
        words += f" **{', '.join(still)} did not learn**: their training loss stayed at chance."
    return words


def _rates(result: dict[str, Any]) -> str:
    """How the rates were chosen, and what was tried."""
    settings, found = result["settings"], result["found"]
    trials, rates = found["trials"], found["rates"]
    if not trials:
        return ""
    epochs = settings["trial_epochs"]
    length = "an epoch" if epochs == 1 else f"the last of {epochs} epochs"
    words = (
        "Learning rates: tanh, and leaving out normalisation or dropout, change how large signals "
        f"are, and `mini`'s {MINI.lr:g} was found without such changes. So each of them has a rate "
        "of its own, as tanh had in the paper: that with the lowest training loss in "
        f"{length} at a constant rate, with seed {settings['seeds'][0]}. "
        f"These were the losses; chance is {math.log(result['data']['classes']):.2f}."
    )
    plain = trials.get("baseline", {})
    if len(plain) == len(settings["lrs"]):
        best = min(plain, key=plain.__getitem__)
        if float(best) != MINI.lr:
            words += (
                f" By this rule the baseline would have had {best}; it keeps `mini`'s recipe, an "
                "advantage for those that have the rate that suits them."
            )
    titles = {name: _titles([name])[0] for name in trials}
    ends = [name for name, rate in rates.items() if at_edge(rate, settings["lrs"])]
    warnings = [edge(f'"{VARIANTS[name].title}"', rates[name]) for name in ends]
    table = trials_table(settings["lrs"], trials, chosen=rates, titles=titles)
    return "\n\n".join([words, table, *warnings])


def _titles(names: list[str]) -> list[str]:
    every = {"baseline": "baseline"} | {str(n): variant.title for n, variant in VARIANTS.items()}
    return [every[name] for name in names]
