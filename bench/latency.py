"""`alexnet-bench latency`: how long one call takes, model by model, in one interleaved run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from alexnet.config import InputConfig
from alexnet.decoder import decode_photo
from alexnet.photo import fit_photo
from bench.conditions import conditions
from bench.interleave import Call
from bench.photos import PhotoFile, read_photos
from bench.rows import rows_of
from bench.sampling import Sampling, measure
from bench.statistics import percentile
from bench.validity import why_disturbed, why_uneven
from bench.variants import Choices, Variant, open_variants
from bench.work import Network, Query

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure, and for how long."""

    choices: Choices = field(default_factory=Choices)
    sampling: Sampling = field(default_factory=Sampling)
    scenario: Literal["single-stream", "multi-stream"] | None = None
    """None: the network alone. Else from the bytes of a photo, or of a batch, to the answers."""
    fast: bool = False
    """In a scenario: decode as `load_photo(fast=True)` does."""
    photos: Path | None = None


def latency(plan: Plan) -> dict[str, Any]:
    """Measure, and return everything that is known as JSON values (times in milliseconds).

    Raises:
        AlexNetError: a model or the photos can't be read.
    """
    machine = conditions(plan.choices.device)
    files = read_photos(plan.photos)
    sampling, data = plan.sampling, [file.data for file in files]
    with open_variants(
        plan.choices, open_session=sampling.open_session, shared=not sampling.isolate
    ) as variants:
        stages = _Stages(variants, files, plan.choices.device)
        calls = [v.backend.call(Network(data, v.batch)) for v in variants]
        if plan.scenario is not None:
            calls += [v.backend.call(Query(data, v.batch, plan.fast)) for v in variants]
        times = measure([*calls, *stages.calls], sampling)
        count = len(variants)
        runs, measured = times.ms[:count], times.ms[len(calls) - count : len(calls)]
        rows = rows_of(
            variants, measured, photos=[v.batch for v in variants], device=plan.choices.device
        )
        medians = [_median(sample) for sample in times.ms[len(calls) :]]
        for row, variant, run in zip(rows, variants, runs, strict=True):
            row["stages_ms_per_photo"] = {
                **stages.of(variant, medians),
                "run": _median(run) / variant.batch,
            }
    reasons = why_uneven([row["name"] for row in rows], measured)
    reasons += why_disturbed(times.surroundings)
    return {
        "benchmark": "latency",
        "verdict": "INVALID" if reasons else "VALID",
        "reasons": reasons,
        "machine": machine,
        "scenario": plan.scenario,
        "device": plan.choices.device,
        **sampling.as_json(len(measured[0])),
        "surroundings": asdict(times.surroundings),
        "photos": [file.name for file in files],
        "results": rows,
    }


class _Stages:
    """The stages besides the run, each timed on its own in the same rounds, in this process.

    Decoding does not depend on the model; resizing does, on the side it wants. The copy to a GPU is
    a part of the run, and depends on the batch as well.
    """

    def __init__(self, variants: Sequence[Variant], files: Sequence[PhotoFile], device: str):
        self._device = device
        fits = list(dict.fromkeys(_fit_of(v) for v in variants))
        self._keys: list[object] = ["decode", *(("fit", *fit) for fit in fits)]
        self.calls: list[Call] = [_each(files, lambda file: decode_photo(file.data))]
        self.calls += [_resize_call(files, config, whole=whole) for config, whole in fits]
        if device != "cpu":
            copies = list(dict.fromkeys((*_fit_of(v), v.batch) for v in variants))
            self._keys += [("copy", *copy) for copy in copies]
            for config, whole, batch in copies:
                pixels = fit_photo(files[0].decoded, config, whole=whole).pixels
                self.calls.append(_copy_call(np.stack([pixels] * batch), device))

    def of(self, variant: Variant, medians: Sequence[float]) -> dict[str, float]:
        """A variant's stages in milliseconds per photo, from the medians of `calls`."""
        found = dict(zip(self._keys, medians, strict=True))
        config, whole = _fit_of(variant)
        stages = {"decode": found["decode"], "resize": found["fit", config, whole]}
        if self._device != "cpu":
            stages["transfer"] = found["copy", config, whole, variant.batch] / variant.batch
        return stages


def _fit_of(variant: Variant) -> tuple[InputConfig, bool]:
    """To what photos are fitted, and whether they stay whole."""
    info = variant.backend.info
    return info.config.input, info.views == "dense"


def _median(sample: Sequence[float]) -> float:
    return percentile(sorted(sample), 50)


def _resize_call(files: Sequence[PhotoFile], config: InputConfig, *, whole: bool) -> Call:
    """Fitting a photo that is decoded already."""
    return _each(files, lambda file: fit_photo(file.decoded, config, whole=whole))


def _copy_call(pixels: NDArray[np.uint8], device: str) -> Call:
    """Copying a batch to the GPU, from memory as a caller has it."""
    import torch

    photos = torch.from_numpy(pixels)

    def copy() -> None:
        photos.to(device)
        torch.cuda.synchronize(device)

    return copy


def _each(items: Sequence[T], work: Callable[[T], object]) -> Call:
    """A call that does `work` on the next of `items`, over and over."""
    turn = cycle(items)
    return lambda: work(next(turn))
