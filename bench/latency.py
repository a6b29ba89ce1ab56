"""`alexnet-bench latency`: how long one call takes, model by model, in one interleaved run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from alexnet.backends import ArtifactInfo
from alexnet.config import InputConfig, Views
from alexnet.decoder import decode_photo
from alexnet.geometry import totals
from alexnet.photo import fit_photo
from alexnet.views import views_of
from bench.conditions import conditions
from bench.interleave import Call, interleave
from bench.photos import PhotoFile, read_photos
from bench.statistics import Summary, ratio, summarise
from bench.variants import Variant, open_variants

T = TypeVar("T")

FEWEST_CALLS = 20
"""A median of fewer calls is not worth comparing."""
WIDEST_SPREAD = 0.2
"""Interquartile range over median from which calls are too uneven to compare."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure, and for how long."""

    artifacts: Sequence[Path] = ()
    """Model files; none is the model that ships."""
    backends: Sequence[str] = ("auto",)
    batches: Sequence[int] = (1,)
    views: Views | None = None
    threads: int | None = None
    device: str = "cpu"
    count: int | None = None
    duration: float | None = 10.0
    """Seconds; either this or `count` is None."""
    warmup: int = 3
    baseline: bool = True
    photos: Path | None = None


def latency(plan: Plan) -> dict[str, Any]:
    """Measure, and return everything that is known as JSON values (times in milliseconds).

    Raises:
        AlexNetError: a model or the photos can't be read.
    """
    machine = conditions(plan.device)
    files = read_photos(plan.photos)
    with open_variants(
        plan.artifacts,
        plan.backends,
        plan.batches,
        views=plan.views,
        threads=plan.threads,
        device=plan.device,
        baseline=plan.baseline,
    ) as variants:
        # Decoding does not depend on the model; resizing does, on the side it wants.
        inputs = list(dict.fromkeys(v.backend.info.config.input for v in variants))
        calls: list[Call] = [_run_call(variant, files) for variant in variants]
        calls += [_decode_call(files)]
        calls += [_resize_call(files, config) for config in inputs]
        times = interleave(calls, count=plan.count, duration=plan.duration, warmup=plan.warmup)
        runs, stages = times[: len(variants)], times[len(variants) :]
        summaries, (decode, *resizes) = _in_ms(runs), _in_ms(stages)
        resize = dict(zip(inputs, resizes, strict=True))
        results = []
        for place, (variant, summary) in enumerate(zip(variants, summaries, strict=True)):
            before = {"decode": decode.p50, "resize": resize[variant.backend.info.config.input].p50}
            compared = _comparison(variants, runs, place)
            results.append(_row(variant, summary, compared, before=before))
        reasons = why_invalid([v.name for v in variants], summaries)
    result = {
        "benchmark": "latency",
        "verdict": "INVALID" if reasons else "VALID",
        "reasons": reasons,
        "machine": machine,
        "threads": plan.threads,
        "device": plan.device,
        "rounds": len(runs[0]),
        "warmup_rounds": plan.warmup,
        "photos": [file.name for file in files],
        "results": results,
    }
    return cast(dict[str, Any], _rounded(result))


def why_invalid(names: Sequence[str], summaries: Sequence[Summary]) -> list[str]:
    """Sentences that say why the numbers should not be relied on; none where they can be."""
    fewest = min(summary.count for summary in summaries)
    reasons = []
    if fewest < FEWEST_CALLS:
        reasons.append(
            f"A comparison needs {FEWEST_CALLS} rounds, not {fewest}: "
            "give --count or a longer --duration."
        )
    reasons += [
        f"{name}: calls spread by {summary.spread:.0%} of their median (interquartile range), more "
        f"than {WIDEST_SPREAD:.0%}: measure longer or on a quieter machine."
        for name, summary in zip(names, summaries, strict=True)
        if summary.spread > WIDEST_SPREAD
    ]
    return reasons


def _rounded(value: Any) -> Any:
    """`value` with every float in it rounded to six significant digits."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _in_ms(times: Sequence[Sequence[float]]) -> list[Summary]:
    return [summarise([1000 * seconds for seconds in call]) for call in times]


def _comparison(
    variants: Sequence[Variant], runs: Sequence[Sequence[float]], place: int
) -> dict[str, Any]:
    """How many times as fast as its baseline the variant at `place` is, and whether it is that."""
    base = variants[place].baseline
    times_as_fast = None if base is None else asdict(ratio(runs[base], runs[place]))
    return {"baseline": base == place, "ratio": times_as_fast}


def _row(
    variant: Variant, summary: Summary, compared: dict[str, Any], *, before: dict[str, float]
) -> dict[str, Any]:
    """A variant and its times; the names with `infer_`, `param_count` and `gmacs` are timm's.

    `before` are the stages before the model runs, in milliseconds per photo.
    """
    info: ArtifactInfo = variant.backend.info
    counts = totals(info.config)
    return {
        "model": variant.model,
        "model_sha256": info.sha256,
        "preset": info.config.preset,
        "backend": variant.backend.name,
        "views": info.views,
        "crops_per_photo": len(views_of(info.config.input, info.views)),
        "infer_samples_per_sec": 1000 * variant.batch / summary.mean,
        "infer_step_time": summary.mean,
        "infer_batch_size": variant.batch,
        "infer_img_size": info.config.input.crop,
        "param_count": round(counts.parameters / 1e6, 2),
        "gmacs": counts.macs / 1e9,
        "latency_ms": asdict(summary),
        **compared,
        "stages_ms_per_photo": {**before, "run": summary.p50 / variant.batch},
    }


# What is timed


def _run_call(variant: Variant, files: Sequence[PhotoFile]) -> Call:
    backend = variant.backend
    config = backend.info.config.input
    squares = [fit_photo(file.decoded, config).pixels for file in files]
    photos = np.stack([squares[n % len(squares)] for n in range(variant.batch)])
    return lambda: backend.run(photos)


def _decode_call(files: Sequence[PhotoFile]) -> Call:
    return _each(files, lambda file: decode_photo(file.data))


def _resize_call(files: Sequence[PhotoFile], config: InputConfig) -> Call:
    """Fitting a photo that is decoded already."""
    return _each(files, lambda file: fit_photo(file.decoded, config))


def _each(items: Sequence[T], work: Callable[[T], object]) -> Call:
    """A call that does `work` on the next of `items`, over and over."""
    turn = cycle(items)
    return lambda: work(next(turn))
