"""One variant and its times, as a row of a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from alexnet.backends import ArtifactInfo
from alexnet.geometry import totals
from alexnet.machine import precision_note
from alexnet.views import views_of
from bench.columns import distinct
from bench.statistics import ratio, summarise
from bench.variants import Variant

_RUNTIMES = ("onnxruntime", "openvino")
_ROUNDED = ("fp16", "bf16", "int8")


def rows_of(
    variants: Sequence[Variant],
    times: Sequence[Sequence[float]],
    *,
    photos: Sequence[int],
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """A row for each variant.

    Args:
        variants: what was measured.
        times: of each, in milliseconds, round by round.
        photos: how many photos a time of each is of.
        device: what they ran on.

    The names with `infer_`, `param_count` and `gmacs` are timm's; `gmacs` are of one crop.
    """
    names = distinct([variant.name for variant in variants])
    rows = []
    for place, variant in enumerate(variants):
        sample, base = times[place], variant.baseline
        compared = None if base is None else asdict(ratio(times[base], sample))
        rows.append(
            {
                "name": names[place],
                **_identity(variant),
                **_speed(sample, photos[place]),
                "samples_ms": list(sample),
                "baseline": base == place,
                "ratio": compared,
                "startup_ms": 1000 * variant.backend.startup,
                "peak_mib": variant.backend.peak_mib(),
                "precision_note": note_on(
                    variant.backend.info.precision, backend=variant.backend.name, device=device
                ),
            }
        )
    return rows


def note_on(precision: str, *, backend: str, device: str = "cpu") -> str | None:
    """The sentence about a precision that this CPU has no instructions for; None where it has."""
    on_cpu = device == "cpu" and backend in _RUNTIMES
    return precision_note(precision) if on_cpu else None


def note_in(said: str) -> str | None:
    """The same sentence, where a process has said it as it opened its model."""
    notes = (precision_note(precision) for precision in _ROUNDED)
    return next((note for note in notes if note is not None and note in said), None)


def _identity(variant: Variant) -> dict[str, Any]:
    info = variant.backend.info
    counts = totals(info.config)
    return {
        "model": variant.model,
        "model_sha256": info.sha256,
        "preset": info.config.preset,
        "target": info.target,
        "precision": info.precision,
        "accuracy": None if info.accuracy is None else dict(info.accuracy),
        "backend": variant.backend.name,
        "views": info.views,
        "crops_per_photo": _crops(info),
        "threads": variant.threads,
        "streams": variant.backend.streams,
        "infer_batch_size": variant.batch,
        "infer_img_size": info.config.input.crop,
        "param_count": round(counts.parameters / 1e6, 2),
        "gmacs": counts.macs / 1e9,
    }


def _crops(info: ArtifactInfo) -> int | None:
    """None for dense answers, whose number of places depends on the photo's shape."""
    return None if info.views == "dense" else len(views_of(info.config.input, info.views))


def _speed(sample: Sequence[float], photos: int) -> dict[str, Any]:
    summary = summarise(sample)
    return {
        "infer_samples_per_sec": 1000 * photos / summary.mean,
        "infer_step_time": summary.mean,
        "latency_ms": asdict(summary),
    }
