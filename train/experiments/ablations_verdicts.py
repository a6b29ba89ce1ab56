"""What the ablations' differences say, beside the paper's own."""

from __future__ import annotations

import statistics
from typing import Any

from train.experiments.intervals import Estimate
from train.experiments.rates import MINI, at_edge
from train.experiments.variants import ONE_VIEW, VARIANTS, Variant

METRICS = {"top1": "top-1", "top5": "top-5"}


def rows_of(found: dict[str, Any]) -> list[tuple[Variant, dict[str, Any]]]:
    """Variants in their order, one view last."""
    differences = found["differences"]
    named = [*VARIANTS.items(), ("one-view", ONE_VIEW)]
    return [(variant, differences[name]) for name, variant in named if name in differences]


def agreement(found: dict[str, Any], lrs: list[float]) -> str:
    """A sentence a change, and what else it changed."""
    lines, names = [], {variant.title: name for name, variant in VARIANTS.items()}
    for variant, difference in rows_of(found):
        if not difference["seeds"]:
            continue
        verdicts = [
            _verdict(_estimate(difference[metric]), paper, at_least=variant.at_least)
            for metric, paper in zip(METRICS, variant.paper, strict=True)
        ]
        first, second = verdicts
        words = first if first == second else f"top-1: {first}; top-5: {second}"
        words += "." + _own_rate(found["rates"].get(names.get(variant.title)), lrs)
        lines.append(f"- {variant.title[0].upper()}{variant.title[1:]}: {words}")
    return "Agreement with the paper:\n\n" + "\n".join(lines) if lines else ""


def _own_rate(rate: float | None, lrs: list[float]) -> str:
    """That a variant's rate is not the baseline's, so that the comparison is not pure."""
    if rate is None or rate == MINI.lr:
        return ""
    end = ", an end of those tried," if at_edge(rate, lrs) else ""
    return (
        f" It was trained at {rate:g}{end} and the baseline at {MINI.lr:g}: the difference is that "
        "of both changes."
    )


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


def too_short(result: dict[str, Any]) -> str:
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
    errors = mean(list(plain), "train_error")
    measured = statistics.fmean(run["centre"]["top1"] for run in plain)
    subject = " and ".join({"no-dropout": "dropout", "no-noise": "colour noise"}[n] for n in unseen)
    words = (
        f"What {subject} {'is' if len(unseen) == 1 else 'are'} for is not seen here: both are "
        f"against overfitting, and {result['settings']['epochs']} epochs hardly overfit. In the "
        f"last one the baseline's training error, with dropout and noise, was {percent(errors)} "
        f"and its validation error with one view {percent(measured)}"
    )
    if "no-dropout" in unseen:
        own = list(found["runs"]["no-dropout"].values())
        words += (
            f"; without dropout {percent(mean(own, 'train_error'))} and "
            f"{percent(statistics.fmean(run['centre']['top1'] for run in own))}, a gap of "
            f"{gap(own):+.1f} points where the baseline has {gap(list(plain)):+.1f}"
        )
    return words + ". The paper trained for 90."


def mean(runs: list[dict[str, Any]], name: str) -> float:
    """Of what is called so in every training."""
    return statistics.fmean(run[name] for run in runs)


def gap(runs: list[dict[str, Any]]) -> float:
    """Points by which the validation error with one view is above the running training error."""
    return 100 * statistics.fmean(run["centre"]["top1"] - run["train_error"] for run in runs)


def percent(share: float) -> str:
    """As people read it."""
    return f"{100 * share:.1f} %"
