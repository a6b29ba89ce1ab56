"""`alexnet-bench peers`: what people use elsewhere and what is here, in one interleaved run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import Any

from alexnet.console import log
from alexnet.errors import AlexNetError
from alexnet.geometry import totals
from alexnet.machine import precision_note
from alexnet.views import views_of
from bench import peer_http, peer_local, peer_timm
from bench.conditions import conditions
from bench.peer import Peer, Setup, difference, run_room
from bench.photos import read_photos
from bench.sampling import Sampling, measure
from bench.statistics import ratio, summarise
from bench.validity import why_disturbed, why_uneven

TOLERANCE = 1e-5
"""Most by which probabilities of the same network in float32 may differ from the baseline's: of all
classes, and over HTTP of the best ones, which services send unrounded."""

Opener = Callable[[Setup, ExitStack], Peer]


def _graph(name: str, *options: str) -> Opener:
    return lambda setup, stack: peer_local.artifact(
        setup, stack, setup.graph(*options), name=f"{name}, ours"
    )


def _pipeline(name: str, *options: str) -> Opener:
    return lambda setup, stack: peer_local.pipelined(
        setup, stack, setup.graph(*options), name=f"{name}, pipelined"
    )


_ORT, _OPENVINO = ("--for", "onnxruntime"), ("--for", "openvino")
_BF16 = (*_OPENVINO, "--precision", "bf16", "--unvalidated")

PARTS: dict[str, dict[str, Opener]] = {
    "torchvision": {"torchvision's AlexNet, eager": peer_local.torchvision},
    "tencrop": {"PyTorch eager, TenCrop": peer_local.ten_crop_eager},
    "exported": {
        "PyTorch's export (legacy), ONNX Runtime": peer_local.legacy_export,
        "PyTorch's export (dynamo), ONNX Runtime": peer_local.dynamo_export,
    },
    "ours": {
        "ONNX Runtime fp32": _graph("ONNX Runtime fp32", *_ORT),
        "OpenVINO fp32": _graph("OpenVINO fp32", *_OPENVINO),
        "OpenVINO bf16": _graph("OpenVINO bf16", *_BF16),
    },
    "pipelined": {
        "ONNX Runtime fp32, pipelined": _pipeline("ONNX Runtime fp32", *_ORT),
        "OpenVINO fp32, pipelined": _pipeline("OpenVINO fp32", *_OPENVINO),
        "OpenVINO bf16, pipelined": _pipeline("OpenVINO bf16", *_BF16),
    },
    "services": {
        "FastAPI service": peer_http.fastapi,
        "BentoML service": peer_http.bentoml,
        "BentoML, adaptive batching service": peer_http.bentoml_batching,
        "our service": peer_http.our_own,
    },
    "timm": {"timm": peer_timm.timm, "our predictor": peer_timm.ours},
}
"""What can be measured beside the baseline, PyTorch eager: parts, and in each the peers."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure, and for how long."""

    preset: str = "paper"
    checkpoint: Path | None = None
    """In place of the preset: a trained network."""
    artifacts: Sequence[Path] = ()
    """Exported files to measure as `ours`; none: those that are exported now."""
    parts: Sequence[str] = tuple(PARTS)
    threads: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    photos: Path | None = None


def peers(plan: Plan) -> dict[str, Any]:
    """Measure, and return everything that is known as JSON values (times in milliseconds).

    Every peer runs in a process of its own, whatever `plan.sampling` says: in one process, runtimes
    change each other's times, and a row would depend on which others there are.

    Raises:
        AlexNetError: the checkpoint or the photos can't be read, or a peer fails after it answered.
    """
    machine, sampling = conditions(), replace(plan.sampling, isolate=True)
    files = read_photos(plan.photos)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="alexnet-peers-")))
        setup = Setup(
            checkpoint=_checkpoint(plan, folder),
            folder=folder,
            photos=files,
            threads=plan.threads,
        )
        found, skipped = _open(setup, plan, stack)
        times = measure([peer.call for peer in found], sampling)
    rows = [_row(found, times.ms, place) for place in range(len(found))]
    reasons = why_uneven([peer.name for peer in found], times.ms)
    reasons += why_disturbed(times.surroundings) + why_unequal(rows)
    return {
        "benchmark": "peers",
        "verdict": "INVALID" if reasons else "VALID",
        "reasons": reasons,
        "machine": machine,
        "threads": plan.threads,
        **sampling.as_json(len(times.ms[0])),
        "surroundings": asdict(times.surroundings),
        "preset": found[0].config.preset,
        "photos": [file.name for file in files],
        "skipped": skipped,
        "results": rows,
    }


def why_unequal(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Sentences about rows that should compute the baseline's network and do not."""
    return [
        f"{row['name']}: its probabilities differ from the baseline's by "
        f"{row['max_difference']:.1e}, more than {TOLERANCE:g}: it does not compute the same."
        for row in rows
        if row["precision"] == "fp32" and (row["max_difference"] or 0.0) > TOLERANCE
    ]


def _checkpoint(plan: Plan, folder: Path) -> Path:
    """The network: a given one, or one with fresh weights, scaled so that answers differ."""
    if plan.checkpoint is not None:
        return plan.checkpoint
    path = folder / f"{plan.preset}.safetensors"
    run_room("train", "init", "--preset", plan.preset, "--scaled", "-o", path)
    return path


def _open(setup: Setup, plan: Plan, stack: ExitStack) -> tuple[list[Peer], list[dict[str, str]]]:
    """The peers, the baseline first, and those that are left out with the reason."""
    openers: dict[str, Opener] = {}
    for part in plan.parts:
        if part == "ours" and plan.artifacts:
            for path in plan.artifacts:
                openers[str(path)] = _given(path)
        else:
            openers |= PARTS[part]
    found = [peer_local.eager(setup, stack)]
    skipped: list[dict[str, str]] = []
    for name, opener in openers.items():
        log(f"Opening: {name}")
        attempt = ExitStack()
        try:
            peer = opener(setup, attempt)
        except AlexNetError as error:
            attempt.close()
            skipped.append({"name": name, "why": str(error)})
        except BaseException:
            attempt.close()
            raise
        else:
            stack.push(attempt)
            found.append(peer)
    return found, skipped


def _given(path: Path) -> Opener:
    return lambda setup, stack: peer_local.artifact(setup, stack, path)


def _row(
    found: Sequence[Peer],
    times: Sequence[Sequence[float]],
    place: int,
) -> dict[str, Any]:
    """A peer and its times; the baseline is the first of all."""
    peer, sample = found[place], times[place]
    other = next((n for n, one in enumerate(found) if one.part == "torchvision"), None)
    summary = summarise(sample)
    differs = None
    if peer.answers is not None and found[0].answers is not None and peer.same(found[0]):
        pairs = zip(peer.answers, cycle(found[0].answers), strict=False)
        differs = max(difference(*pair) for pair in pairs)
    return {
        "name": peer.name,
        "part": peer.part,
        "what": peer.what,
        "views": peer.views,
        "crops_per_photo": len(views_of(peer.config.input, peer.views)),
        "precision": peer.precision,
        "precision_note": precision_note(peer.precision),
        "threads": peer.threads,
        "gmacs": totals(peer.config).macs / 1e9,
        "infer_samples_per_sec": 1000 / summary.mean,
        "infer_step_time": summary.mean,
        "infer_batch_size": 1,
        "latency_ms": asdict(summary),
        "samples_ms": list(sample),
        "baseline": place == 0,
        "ratio": _ratio(times[0], sample, peer),
        "ratio_to_torchvision": None if other is None else _ratio(times[other], sample, peer),
        "max_difference": differs,
    }


def _ratio(
    baseline: Sequence[float], sample: Sequence[float], peer: Peer
) -> dict[str, float] | None:
    """How many times as fast as the baseline; None of one view, which is less work."""
    return asdict(ratio(baseline, sample)) if peer.views == "ten" else None
