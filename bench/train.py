"""`alexnet-bench train`: what `alexnet-train speed` measures, as a benchmark's result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from alexnet.console import log, progress
from bench.child import ChildError, Finished, run_child
from bench.conditions import conditions
from bench.validity import WIDEST_SPREAD, Observer, why_disturbed

FEWEST_ROUNDS = 5
PARTS = {"loader": "loader alone", "step": "step alone", "both": "both"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which trainings to measure: every dtype with every batch size."""

    preset: str
    data: Path
    recipe: str | None = None
    """None is the preset's own."""
    batches: Sequence[int | None] = (None,)
    """Photos of a step; None is the recipe's."""
    dtypes: Sequence[str | None] = (None,)
    """None is the recipe's."""
    device: str = "cpu"
    workers: int | None = None
    seconds: float = 30.0
    """Of each training."""
    settings: Sequence[str] = ()


def train(plan: Plan) -> dict[str, Any]:
    """Measure each training in a process of its own, one after the other.

    Raises:
        ChildError: `alexnet-train speed` failed, with its sentence.
    """
    machine = conditions()
    rows: list[dict[str, Any]] = []
    reasons: list[str] = []
    variants = list(product(plan.dtypes, plan.batches))
    with (
        Observer() as observer,
        progress("Measuring", total=len(variants), unit="trainings") as bar,
    ):
        for dtype, batch in variants:
            finished = run_child(
                "train", *_arguments(plan, dtype, batch), name="alexnet-train speed"
            )
            three = training_rows(_found(finished), peak_mib=finished.peak_mib)
            rows += three
            reasons += why_invalid(three)
            bar.advance()
    reasons += why_disturbed(observer.seen)
    return {
        "benchmark": "train",
        "verdict": "INVALID" if reasons else "VALID",
        "reasons": reasons,
        # The processor as PyTorch names it, and the GPU, are known to the process that trained.
        "machine": machine | {"gpu": rows[0]["gpu"]},
        "data": str(plan.data),
        "results": rows,
    }


def training_rows(found: dict[str, Any], *, peak_mib: float | None) -> list[dict[str, Any]]:
    """The JSON of `alexnet-train speed` as three rows; `train_...` are timm's names."""
    name = f"{found['preset']}, recipe {found['recipe']}, {found['dtype']}, batch {found['batch']}"
    return [
        {
            "name": f"{name}: {words}",
            "training": name,
            "model": found["preset"],
            "part": part,
            "recipe": found["recipe"],
            "dtype": found["dtype"],
            "device": found["device"],
            "gpu": found["machine"]["gpu"],
            "threads": found["threads"],
            "workers": found["workers"],
            "processes": found["processes"],
            "rounds": found["rounds"],
            "train_samples_per_sec": rate["median"],
            "train_samples_per_sec_p25": rate["p25"],
            "train_samples_per_sec_p75": rate["p75"],
            "train_step_time": 1000 * found["batch"] / rate["median"],
            "train_batch_size": found["batch"],
            "times_the_step": found["times_the_step"][part]["median"],
            "bound": found["bound"],
            "bound_words": found["verdict"],
            "waiting_for_photos": found["waiting_for_photos"],
            "peak_mib": peak_mib,
        }
        for part, words in PARTS.items()
        for rate in [found["photos_per_second"][part]]
    ]


def why_invalid(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Sentences that say why the rows of one training should not be relied on."""
    reasons = []
    if rows[0]["rounds"] < FEWEST_ROUNDS:
        reasons.append(
            f"{rows[0]['training']}: a comparison needs {FEWEST_ROUNDS} rounds, not "
            f"{rows[0]['rounds']}: give more --seconds."
        )
    for row in rows:
        quartiles = row["train_samples_per_sec_p75"] - row["train_samples_per_sec_p25"]
        spread = quartiles / row["train_samples_per_sec"]
        if spread > WIDEST_SPREAD:
            reasons.append(
                f"{row['name']}: rounds spread by {spread:.0%} of their median (interquartile "
                f"range), more than {WIDEST_SPREAD:.0%}: measure longer or on a quieter machine."
            )
    return reasons


def _arguments(plan: Plan, dtype: str | None, batch: int | None) -> list[str]:
    options = {
        "--preset": plan.preset,
        "--recipe": plan.recipe,
        "--data": plan.data,
        "--device": plan.device,
        "--dtype": dtype,
        "--batch": batch,
        "--workers": plan.workers,
        "--seconds": plan.seconds,
    }
    given = [f"{name}={value}" for name, value in options.items() if value is not None]
    return ["speed", *given, *(f"--set={setting}" for setting in plan.settings)]


def _found(finished: Finished) -> dict[str, Any]:
    """The last line of the output."""
    try:
        found: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        log(finished.stdout)
        raise ChildError("alexnet-train speed printed no line of JSON.") from error
    return found
