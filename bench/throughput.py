"""`alexnet-bench throughput`: photos a second from JPEG bytes, in interleaved passes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.conditions import conditions
from bench.photos import each_photo
from bench.rows import rows_of
from bench.sampling import Sampling, measure
from bench.validity import why_disturbed, why_uneven
from bench.variants import Choices, open_variants
from bench.work import Pass

FEWEST_PASSES = 10
"""A median of fewer passes is not worth comparing; each is of many photos."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure, and for how long."""

    choices: Choices = field(default_factory=lambda: Choices(batches=(4,)))
    """Models are opened for throughput, whatever its `mode`."""
    sampling: Sampling = field(default_factory=lambda: Sampling(count=10, duration=None, warmup=1))
    """Its rounds are passes."""
    files: int = 32
    """Photos of a pass; the same ones again where there are fewer."""
    fast: bool = False
    photos: Path | None = None


def throughput(plan: Plan) -> dict[str, Any]:
    """Measure, and return everything that is known as JSON values (times in milliseconds).

    Raises:
        AlexNetError: a model or the photos can't be read.
    """
    choices = replace(plan.choices, mode="throughput")
    machine = conditions(choices.device)
    # Decoded photos are let go at once: passes begin with the bytes.
    photos = [(one.name, one.data) for one in each_photo(plan.photos, most=plan.files)]
    sampling, data = plan.sampling, [data for _, data in photos]
    with open_variants(
        choices, open_session=sampling.open_session, shared=not sampling.isolate
    ) as variants:
        calls = [v.backend.call(Pass(data, plan.files, v.batch, plan.fast)) for v in variants]
        times = measure(calls, sampling)
        rows = rows_of(
            variants, times.ms, photos=[plan.files] * len(variants), device=choices.device
        )
    for row in rows:
        # Of the median pass, as the ratios are: one slow pass does not count against a model.
        row["infer_samples_per_sec"] = 1000 * plan.files / row["latency_ms"]["p50"]
    reasons = why_uneven(
        [row["name"] for row in rows], times.ms, unit="passes", fewest=FEWEST_PASSES
    )
    reasons += why_disturbed(times.surroundings)
    return {
        "benchmark": "throughput",
        "verdict": "INVALID" if reasons else "VALID",
        "reasons": reasons,
        "machine": machine,
        "scenario": "offline",
        "device": choices.device,
        **sampling.as_json(len(times.ms[0])),
        "surroundings": asdict(times.surroundings),
        "photos_per_pass": plan.files,
        "fast": plan.fast,
        "photos": [name for name, _ in photos],
        "results": rows,
    }
