"""`alexnet-bench latency`: how long one call takes, model by model, in one interleaved run."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from PIL import Image

from alexnet.backends import ArtifactInfo
from alexnet.config import InputConfig, Views
from alexnet.geometry import totals
from alexnet.photo import load_photo
from alexnet.views import views_of
from bench.interleave import Call, interleave
from bench.machine import describe_machine
from bench.photos import PhotoFile, read_photos, square_of
from bench.statistics import Ratio, Summary, ratio, summarise
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
    machine = describe_machine(plan.device)
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
        calls += [_each(files, _decode)]
        calls += [_resize_call(files, config) for config in inputs]
        times = interleave(calls, count=plan.count, duration=plan.duration, warmup=plan.warmup)
        runs, decode, resizes = times[: len(variants)], times[len(variants)], times[-len(inputs) :]
        summaries, (decoded, *resized) = _in_ms(runs), _in_ms([decode, *resizes])
        resize = dict(zip(inputs, resized, strict=True))
        results = []
        for variant, summary, times_as_fast in zip(
            variants, summaries, _ratios(variants, runs), strict=True
        ):
            stages = {
                "decode": decoded.p50,
                "resize": resize[variant.backend.info.config.input].p50,
                "run": summary.p50 / variant.batch,
            }
            results.append(
                {
                    **_facts(variant, summary),
                    "baseline": variant.baseline is not None
                    and variants[variant.baseline] is variant,
                    "ratio": None if times_as_fast is None else asdict(times_as_fast),
                    "stages_ms_per_photo": stages,
                }
            )
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
    return cast(dict[str, Any], _six_digits(result))


def why_invalid(names: Sequence[str], summaries: Sequence[Summary]) -> list[str]:
    """Sentences that say why the numbers should not be relied on; none where they can be."""
    fewest = min(summary.count for summary in summaries)
    reasons = []
    if fewest < FEWEST_CALLS:
        reasons.append(
            f"There were {fewest} rounds, and a comparison needs {FEWEST_CALLS}: "
            "give --count or a longer --duration."
        )
    reasons += [
        f"{name}: calls spread by {summary.spread:.0%} of their median (interquartile range), more "
        f"than {WIDEST_SPREAD:.0%}: measure longer or on a quieter machine."
        for name, summary in zip(names, summaries, strict=True)
        if summary.spread > WIDEST_SPREAD
    ]
    return reasons


def _six_digits(value: Any) -> Any:
    """`value` with every float in it rounded to six significant digits."""
    if isinstance(value, dict):
        return {key: _six_digits(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_six_digits(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _in_ms(times: Sequence[Sequence[float]]) -> list[Summary]:
    return [summarise([1000 * seconds for seconds in call]) for call in times]


def _ratios(variants: Sequence[Variant], runs: Sequence[Sequence[float]]) -> list[Ratio | None]:
    return [
        None if variant.baseline is None else ratio(runs[variant.baseline], run)
        for variant, run in zip(variants, runs, strict=True)
    ]


def _facts(variant: Variant, summary: Summary) -> dict[str, Any]:
    """A variant and its times; the names with `infer_`, `param_count` and `gmacs` are timm's."""
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
    }


# What is timed


def _run_call(variant: Variant, files: Sequence[PhotoFile]) -> Call:
    backend = variant.backend
    config = backend.info.config.input
    squares = [square_of(file, config) for file in files]
    photos = np.stack([squares[n % len(squares)] for n in range(variant.batch)])
    return lambda: backend.run(photos)


def _decode(file: PhotoFile) -> Image.Image:
    with Image.open(io.BytesIO(file.data)) as image:
        return image.convert("RGB")


def _resize_call(files: Sequence[PhotoFile], config: InputConfig) -> Call:
    """Fitting a decoded photo; the photos are decoded beforehand."""
    images = [_decode(file) for file in files]
    return _each(images, lambda image: load_photo(image, config))


def _each(items: Sequence[T], work: Callable[[T], object]) -> Call:
    """A call that does `work` on the next of `items`, over and over."""
    turn = cycle(items)
    return lambda: work(next(turn))
