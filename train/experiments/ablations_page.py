"""Figure and text of the ablations."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

from alexnet.figures import COLOURS, new_figure
from train.experiments.intervals import Estimate, binomial_half
from train.experiments.variants import ONE_VIEW, VARIANTS, Variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OURS, _PAPERS = COLOURS[0], COLOURS[1]
_METRICS = {"top1": "top-1", "top5": "top-5"}
_LEGEND: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("mean over seeds, 95 % interval", "o-", {"color": _OURS}),
    ("each seed", "|", {"color": _OURS}),
    ("the paper, ImageNet", "D", {"color": _PAPERS}),
    ("the paper: more than that", ">", {"color": _PAPERS}),
)


def draw(result: dict[str, Any]) -> Figure:
    """What each change adds to the errors: mean, interval and seeds, beside the paper's number."""
    rows = _rows(result["found"])
    figure = new_figure(10.0, 1.6 + 0.48 * len(rows))
    panels = figure.subplots(1, 2, sharey=True)
    for place, (axes, metric) in enumerate(zip(panels, _METRICS, strict=True)):
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
    axes.set_title(f"{_METRICS[metric].capitalize()} error")
    axes.set_xlabel("Points that the change adds")
    axes.grid(visible=False, axis="y")


def text(result: dict[str, Any]) -> str:
    """The differences beside the paper's, the errors, how it was done and what it does not show."""
    found = result["found"]
    parts = [
        _introduction(result),
        _differences_table(found),
        _agreement(found),
        _short(result),
        _errors_table(found),
        _method(result),
        _rates(result),
    ]
    return "\n\n".join(part for part in parts if part)


def _rows(found: dict[str, Any]) -> list[tuple[Variant, dict[str, Any]]]:
    """Variants in their order, one view last."""
    differences = found["differences"]
    named = [*VARIANTS.items(), ("one-view", ONE_VIEW)]
    return [(variant, differences[name]) for name, variant in named if name in differences]


def _introduction(result: dict[str, Any]) -> str:
    settings, data, plain = result["settings"], result["data"], result["found"]["runs"]["baseline"]
    photos, seeds = data["photos"], settings["seeds"]
    words = (
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
            f"{_percent(error)} on so many has an interval of ±{half:.1f} points of its own, part "
            "of which is common to the networks that are compared."
        )
    return words


def _differences_table(found: dict[str, Any]) -> str:
    lines = [
        "| change | seeds | top-1, points | top-5, points | the paper, top-1 and top-5 |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for variant, difference in _rows(found):
        cells = [_points(difference[metric]) for metric in _METRICS]
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


def _agreement(found: dict[str, Any]) -> str:
    """A sentence a change."""
    lines = []
    for variant, difference in _rows(found):
        if not difference["seeds"]:
            continue
        verdicts = [
            _verdict(_estimate(difference[metric]), paper, at_least=variant.at_least)
            for metric, paper in zip(_METRICS, variant.paper, strict=True)
        ]
        first, second = verdicts
        words = first if first == second else f"top-1: {first}; top-5: {second}"
        lines.append(f"- {variant.title[0].upper()}{variant.title[1:]}: {words}.")
    return "Agreement with the paper:\n\n" + "\n".join(lines) if lines else ""


def _estimate(found: dict[str, Any]) -> Estimate:
    return Estimate(mean=found["mean"], half=found["half"])


def _verdict(ours: Estimate, paper: float | None, *, at_least: bool) -> str:
    if ours.half is None:
        return "one seed alone decides nothing"
    if ours.sign == 0:
        held = paper is not None and not at_least and ours.holds(paper)
        return "not decided: the interval holds 0" + (" and the paper's number" if held else "")
    worse = "worse without the paper's choice" if ours.sign > 0 else "**better** without it"
    if paper is None:
        return f"{worse}; the paper has no number for it"
    if ours.sign < 0:
        return f"{worse}, against the paper"
    if at_least:
        more = ours.mean + ours.half >= paper
        return f"{worse}, as in the paper" + ("" if more else ", but by less")
    if ours.holds(paper):
        return f"{worse}, and the interval holds the paper's number"
    return f"{worse}, as in the paper, but by {'less' if ours.mean < paper else 'more'}"


def _short(result: dict[str, Any]) -> str:
    """What a short training can't show, where it did not show it."""
    found, names = result["found"], ("no-dropout", "no-noise")
    unseen = [
        name
        for name in names
        if found["differences"].get(name, {}).get("seeds")
        and _estimate(found["differences"][name]["top1"]).sign <= 0
    ]
    plain = found["runs"]["baseline"].values()
    if not unseen or not plain:
        return ""
    errors = statistics.fmean(run["train_error"] for run in plain)
    measured = statistics.fmean(run["centre"]["top1"] for run in plain)
    subject = " and ".join({"no-dropout": "dropout", "no-noise": "colour noise"}[n] for n in unseen)
    return (
        f"What {subject} {'is' if len(unseen) == 1 else 'are'} for is not seen here: both are "
        f"against overfitting, and {result['settings']['epochs']} epochs hardly overfit. In the "
        f"last one the baseline's training error, with dropout and noise, was {_percent(errors)} "
        f"and its validation error with one view {_percent(measured)}. The paper trained for 90."
    )


def _errors_table(found: dict[str, Any]) -> str:
    lines = [
        "| network | top-1, ten views | by seed | top-5, ten views | top-1, one view | "
        "top-5, one view | loss, ten views | training error |",
        "| --- |" + " ---: |" * 7,
    ]
    for name, runs in found["runs"].items():
        title = _titles([name])[0]
        if not runs:
            lines.append(f"| {title} | to come |" + " |" * 6)
            continue
        rows = list(runs.values())
        seeds = " / ".join(f"{100 * row['ten']['top1']:.1f}" for row in rows)
        means = [
            _percent(statistics.fmean(row[views][metric] for row in rows))
            for views, metric in (("ten", "top5"), ("centre", "top1"), ("centre", "top5"))
        ]
        top1 = _percent(statistics.fmean(row["ten"]["top1"] for row in rows))
        loss = f"{statistics.fmean(row['ten']['loss'] for row in rows):.3f}"
        error = _percent(statistics.fmean(row["train_error"] for row in rows))
        lines.append(f"| {title} | {top1} | {seeds} | {' | '.join(means)} | {loss} | {error} |")
    return "\n".join(lines)


def _method(result: dict[str, Any]) -> str:
    words = (
        "The training error is the running one of the last epoch, with that training's own "
        "dropout and noise. Without overlap: windows of 2x2, conv2 padded by 1 and conv5 not at "
        "all, as in #147, which gives maps of 55, 28, 26, 13, 11 and 6. One column: half the maps, "
        "but for conv5 and the full layers, as in #145-half. tanh(x) stands for every ReLU, with "
        "the same first weights."
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
        "are, and `mini`'s 0.01 was found without such changes. So each of them has a rate of its "
        f"own, as tanh had in the paper: that with the lowest training loss in {length} at a "
        f"constant rate, with seed {settings['seeds'][0]}. "
        f"These were the losses; chance is {math.log(result['data']['classes']):.2f}."
    )
    plain = trials.get("baseline", {})
    if len(plain) == len(settings["lrs"]) and float(min(plain, key=plain.__getitem__)) != 0.01:
        best = min(plain, key=plain.__getitem__)
        words += (
            f" By this rule the baseline would have had {best}; it keeps `mini`'s recipe, an "
            "advantage for those that have the rate that suits them."
        )
    columns = [f"{lr:g}" for lr in settings["lrs"]]
    lines = [f"| network | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    for name, losses in trials.items():
        chosen = f"{rates[name]:g}" if name in rates else ""
        cells = [_loss(losses.get(lr), chosen=lr == chosen) for lr in columns]
        lines.append(f"| {_titles([name])[0]} | {' | '.join(cells)} |")
    return words + "\n\n" + "\n".join(lines)


def _loss(loss: float | None, *, chosen: bool) -> str:
    if loss is None:
        return "-"
    return f"**{loss:.2f}**" if chosen else f"{loss:.2f}"


def _titles(names: list[str]) -> list[str]:
    every = {"baseline": "baseline"} | {str(n): variant.title for n, variant in VARIANTS.items()}
    return [every[name] for name in names]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
