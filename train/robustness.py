"""Errors of a network on photos that are spoilt in many ways: evaluation and curves."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alexnet.figures import COLOURS, new_figure, save_figure, styled
from alexnet.machine import cores
from train.corruptions import CORRUPTIONS, SEVERITIES, corrupted
from train.dataset import Split
from train.evaluate import EMPTY, Evaluation, Run, each_batch, gathered, judge
from train.loader import ahead
from train.mesh import Mesh
from train.metrics import Ties

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FIGURES = ("top1_error", "top5_error", "loss")


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """A network on clean photos, and on the same photos spoilt."""

    clean: Evaluation
    spoilt: dict[str, tuple[Evaluation, ...]]
    """By corruption, from severity 1 to 5."""

    def summary(self) -> dict[str, Any]:
        """The clean photos' figures, and lists by severity under `corruptions`, as JSON values."""
        corruptions, means = {}, []
        for name, evaluations in self.spoilt.items():
            rows = [evaluation.summary() for evaluation in evaluations]
            means.append(_mean([row["top1_error"] for row in rows]))
            corruptions[name] = {
                "meaning": CORRUPTIONS[name].meaning,
                "values": list(CORRUPTIONS[name].values),
                **{figure: [row[figure] for row in rows] for figure in _FIGURES},
                "mean_top1_error": means[-1],
            }
        return {
            **self.clean.summary(),
            "corruptions": corruptions,
            "mean_top1_error": _mean(means),
        }


def evaluate_corrupted(
    run: Run,
    split: Split,
    names: Sequence[str],
    *,
    batch: int = 64,
    ties: Ties = "index",
    mesh: Mesh | None = None,
) -> Robustness:
    """Run a network over every photo of `split`, clean and spoilt, each decoded once.

    Args:
        run: the deployed function.
        split: photos with their labels.
        names: of `CORRUPTIONS`.
        batch: photos a call.
        ties: see `top_k_correct`.
        mesh: the processes, which share the photos; None: this one alone.

    Raises:
        AlexNetError: the split is empty.
    """
    mesh = mesh or Mesh()
    cases = [(name, severity) for name in names for severity in range(1, SEVERITIES + 1)]
    clean = [EMPTY]
    found: dict[tuple[str, int], list[Evaluation]] = {case: [EMPTY] for case in cases}
    with ThreadPoolExecutor(1, "ahead") as pool, ThreadPoolExecutor(cores(), "spoil") as many:

        def judged(places: NDArray[np.int64], photos: NDArray[np.uint8]) -> None:
            def spoilt(case: tuple[str, int]) -> NDArray[np.uint8]:
                change = functools.partial(_changed, name=case[0], severity=case[1])
                return np.stack(list(many.map(change, photos, places.tolist())))

            labels = split.labels[places]
            clean.append(judge(run(photos), labels, ties=ties))
            for case, changed in zip(cases, ahead(spoilt, cases, pool=pool), strict=True):
                found[case].append(judge(run(changed), labels, ties=ties))

        each_batch(split, judged, batch=batch, mesh=mesh)
    return Robustness(
        clean=gathered(clean, mesh),
        spoilt={
            name: tuple(gathered(found[case], mesh) for case in cases if case[0] == name)
            for name in names
        },
    )


def draw_robustness(title: str, summary: dict[str, Any], path: Path) -> None:
    """Draw top-1 error against severity, a line for each corruption, into a PNG or SVG file.

    Raises:
        MissingPackageError: matplotlib is not installed.
        OSError: the file can't be written.
    """
    with styled():
        save_figure(figure_of(title, summary), path)


def figure_of(title: str, summary: dict[str, Any]) -> Figure:
    """The figure that `draw_robustness` writes, of what `Robustness.summary` gives.

    `photos`, `views` and `chance_top1_error` (see `report_corrupted`) are shown where they are
    there.
    """
    figure = new_figure(7.0, 4.2)
    axes = figure.subplots()
    severities = range(1, SEVERITIES + 1)
    for name, corruption in summary["corruptions"].items():
        errors = [100 * error for error in corruption["top1_error"]]
        colour = COLOURS[list(CORRUPTIONS).index(name)]
        axes.plot(severities, errors, marker="o", color=colour, label=name)
    clean = 100 * summary["top1_error"]
    axes.axhline(clean, color=COLOURS[-1], linestyle="--", label=f"clean, {clean:.1f} %")
    if "chance_top1_error" in summary:
        chance = 100 * summary["chance_top1_error"]
        axes.axhline(chance, color="0.5", linestyle=":", label=f"chance, {chance:.0f} %")
    about = (
        [f"{summary['views']} view{'s' * (summary['views'] == 'ten')}"]
        if "views" in summary
        else []
    )
    about += [f"{summary['photos']:,} photos"] if "photos" in summary else []
    axes.set_title("\n".join([title, ", ".join(about)]) if about else title)
    axes.set_xlabel("severity")
    axes.set_ylabel("top-1 error, %")
    axes.set_xticks(severities)
    axes.set_ylim(0, 100)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


def _changed(photo: NDArray[np.uint8], index: int, *, name: str, severity: int) -> Any:
    return corrupted(photo, name, severity=severity, index=index)


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 6)
