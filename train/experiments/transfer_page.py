"""Figure and text of pre-training and fine-tuning."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from alexnet.figures import COLOURS, new_figure
from train.experiments.intervals import Estimate, binomial_half
from train.experiments.rates import cuts
from train.experiments.transfer_variants import VARIANTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Top-1 and top-5 error in percent on ILSVRC-2012's validation photos: one network, and one that was
# pre-trained on other releases of ImageNet [P table 2, "1 CNN" and "1 CNN*"].
_PAPER = {"top1": (40.7, 39.0), "top5": (18.2, 16.6)}
_METRICS = {"top1": "top-1", "top5": "top-5"}
_LOOKS: dict[str, tuple[str, str]] = {
    "scratch": (COLOURS[6], "-"),
    "scratch-long": (COLOURS[6], "--"),
    "all-but-fc8": (COLOURS[0], "-"),
    "convs": (COLOURS[5], "-"),
    "convs-slow": (COLOURS[2], "-"),
    "convs-frozen": (COLOURS[3], "-"),
    "six-scratch": (COLOURS[1], "--"),
    "six-convs": (COLOURS[1], "-"),
}


def draw(result: dict[str, Any]) -> Figure:
    """Validation errors by epoch, and what each start adds to the finished network's."""
    found = result["found"]
    figure = new_figure(11.0, 4.6)
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1.0))
    _curves(left, found["runs"])
    _dots(right, found["differences"])
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=4, handlelength=4
    )
    return figure


def _curves(axes: Axes, runs: dict[str, Any]) -> None:
    for name, (colour, line) in _LOOKS.items():
        curves = [run["curve"] for run in runs.get(name, {}).values()]
        if not curves:
            continue
        epochs = range(1, len(curves[0]) + 1)
        for curve in curves:
            axes.plot(epochs, [100 * error for error in curve], color=colour, lw=0.6, alpha=0.4)
        mean = [100 * statistics.fmean(errors) for errors in zip(*curves, strict=True)]
        title = VARIANTS[name].title
        axes.plot(epochs, mean, line, color=colour, lw=1.8, marker="o", ms=3, label=title)
    axes.set_title("Error on the second half of the classes")
    axes.set_xlabel("epoch of the training on them")
    axes.set_ylabel("validation error, centre view, %")
    axes.locator_params(axis="x", integer=True)


def _dots(axes: Axes, differences: dict[str, Any]) -> None:
    axes.axvline(0.0, color="black", linewidth=0.8)
    for height, (name, difference) in enumerate(differences.items()):
        found, colour = difference["top1"], _LOOKS[name][0]
        if found["values"]:
            axes.plot(found["values"], [height - 0.2] * len(found["values"]), "|", color=colour)
            half = found["half"] or 0.0
            axes.errorbar(found["mean"], height, xerr=half, fmt="o", color=colour, capsize=3)
    axes.set_yticks(range(len(differences)), [VARIANTS[name].title for name in differences])
    axes.set_ylim(len(differences) - 0.4, -0.6)
    axes.set_title("Against its own training from scratch")
    axes.set_xlabel("difference in top-1 error with ten views, points")
    axes.grid(visible=False, axis="y")


def text(result: dict[str, Any]) -> str:
    """Errors and differences beside the paper's, what they say, and how it was done."""
    found = result["found"]
    parts = [
        _introduction(result),
        _table(found),
        _verdicts(found),
        _paper(),
        _method(result),
        _missing(result),
    ]
    return "\n\n".join(part for part in parts if part)


def _introduction(result: dict[str, Any]) -> str:
    settings, (first, second) = result["settings"], result["found"]["halves"]
    seeds, count = len(settings["seeds"]), second["val"]
    words = (
        f"`mini` learns the {first['classes']} classes of even numbers in "
        f"{settings['pretrain_epochs']} epochs ({first['train']:,} photos). Then its layers are "
        f"where a network for the {second['classes']} others begins, which learns them in "
        f"{settings['epochs']} epochs ({second['train']:,} photos). Each is compared with a "
        f"training from scratch, {seeds} seed{'s' if seeds > 1 else ''}, on {count:,} validation "
        "photos of these classes with ten views; differences are paired by seed, a negative one "
        "means that what was learnt before helps, and the intervals (95 %, Student's t) say how "
        "far other seeds could move a mean."
    )
    plain = result["found"]["runs"]["scratch"].values()
    if plain:
        error = statistics.fmean(run["ten"]["top1"] for run in plain)
        half = 100 * binomial_half(error, count)
        words += f" So few photos alone leave an error of {error:.1%} uncertain by ±{half:.1f}."
    return words


def _table(found: dict[str, Any]) -> str:
    lines = [
        "| training on the second half | top-1 | difference | top-5 | difference | after one "
        "epoch | epochs to scratch's last error |",
        "| --- |" + " ---: |" * 6,
    ]
    for name, runs in found["runs"].items():
        if name not in VARIANTS:
            continue
        rows = list(runs.values())
        if not rows:
            lines.append(f"| {VARIANTS[name].title} | to come |" + " |" * 5)
            continue
        cells = []
        for metric in _METRICS:
            cells.append(f"{statistics.fmean(row['ten'][metric] for row in rows):.1%}")
            difference = found["differences"].get(name, {}).get(metric, {"values": []})
            cells.append(_points(difference))
        begun = statistics.fmean(row["curve"][0] for row in rows)
        against = VARIANTS[name].against
        others = {} if against == name else found["runs"][against]
        cells += [f"{begun:.1%}", _caught_up(runs, others)]
        lines.append(f"| {VARIANTS[name].title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _points(found: dict[str, Any]) -> str:
    if not found["values"]:
        return ""
    half = "" if found["half"] is None else f" ± {found['half']:.1f}"
    return f"{found['mean']:+.1f}{half}"


def _caught_up(runs: dict[str, Any], others: dict[str, Any]) -> str:
    """Epochs until the mean error with one view is as low as the other training's at its end."""
    seeds = [seed for seed in runs if seed in others]
    if not seeds:
        return ""
    target = statistics.fmean(others[seed]["curve"][-1] for seed in seeds)
    curves = zip(*(runs[seed]["curve"] for seed in seeds), strict=True)
    means = [statistics.fmean(errors) for errors in curves]
    reached = next((epoch for epoch, mean in enumerate(means, 1) if mean <= target), None)
    return "not reached" if reached is None else str(reached)


def _verdicts(found: dict[str, Any]) -> str:
    """A sentence a variant, of its top-1 error."""
    lines = []
    for name, difference in found["differences"].items():
        if not difference["seeds"]:
            continue
        ours, variant = _estimate(difference["top1"]), VARIANTS[name]
        if ours.half is None:
            verdict = "one seed alone decides nothing"
        elif ours.sign == 0:
            verdict = "not decided, the interval holds 0"
        else:
            verdict = "better than from scratch" if ours.sign < 0 else "**worse** than from scratch"
            if name == "scratch-long":
                verdict = verdict.replace("from scratch", "with fewer epochs")
        lines.append(f"- {variant.title[0].upper()}{variant.title[1:]}: {verdict}.")
    return "Of the top-1 error:\n\n" + "\n".join(lines) if lines else ""


def _estimate(found: dict[str, Any]) -> Estimate:
    return Estimate(mean=found["mean"], half=found["half"])


def _paper() -> str:
    gains = [before - after for before, after in _PAPER.values()]
    (one, other), (five, fifth) = _PAPER["top1"], _PAPER["top5"]
    return (
        f"The paper's network with a sixth convolution, pre-trained on other releases of ImageNet, "
        f"has {other} % / {fifth} % where one network without has {one} % / {five} %: "
        f"{gains[0]:.1f} and {gains[1]:.1f} points less (table 2). That is no pure comparison: the "
        "sixth convolution is part of it, and the photos that it had seen before were many more "
        "and had the classes to be learnt among them. Here they have not."
    )


def _method(result: dict[str, Any]) -> str:
    settings = result["settings"]
    before = settings["pretrain_epochs"]
    return (
        f"All trainings are by `mini`'s recipe shortened: in {settings['epochs']} epochs the rate "
        f"{cuts(settings['epochs'])}, in {before} it {cuts(before)} and in "
        f"{settings['epochs'] + before} it {cuts(settings['epochs'] + before)}. Its first rate is "
        "that of every layer unless said otherwise; at a tenth means the "
        "weights of conv1-conv5 and not their biases, as in 2012's chain. Mean image and colours "
        "are those of the half that is learnt. "
        f"From scratch with the epochs of both means {settings['epochs']} and {before}, all on the "
        "second half."
    )


def _missing(result: dict[str, Any]) -> str:
    runs, seeds = result["found"]["runs"], result["settings"]["seeds"]
    missing = {
        name: [str(seed) for seed in seeds if str(seed) not in found]
        for name, found in runs.items()
    }
    words = [f"{name} ({', '.join(left)})" for name, left in missing.items() if left]
    return f"Not trained yet, with their seeds: {'; '.join(words)}." if words else ""
