"""`alexnet-bench label`: how many photos a second a whole `alexnet-label` process labels."""

from __future__ import annotations

import csv
import os
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from alexnet.console import log
from alexnet.errors import AlexNetError
from alexnet.sample_photos import sample_photos
from bench.child import Finished, run_child
from bench.conditions import conditions
from bench.interleave import Call, Took, interleave
from bench.photos import read_photos
from bench.rows import note_in
from bench.statistics import percentile, summarise
from bench.validity import WIDEST_SPREAD, Observer, why_disturbed

FEWEST_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to label, and with what: every model on every backend with every set of options."""

    models: Sequence[Path] = ()
    """None is the model that ships."""
    backends: Sequence[str] = ("auto",)
    options: Sequence[str] = ("",)
    """Further options of alexnet-label, as one would type them."""
    photos: Path | None = None
    """A photo or a folder; None: the sample photos."""
    count: int = 200
    """Photos in one run: those that there are, again and again where they are fewer."""
    rounds: int = 5


class _Variant:
    """One command line, run on all photos and on one."""

    def __init__(self, model: Path | None, backend: str, options: str, *, folder: Path):
        self.model, self.backend, self.options = model, backend, options
        self.folder = folder
        words = ["the shipped model" if model is None else str(model), f"on {backend}", options]
        self.name = " ".join(word for word in words if word)
        self.runs: list[Finished] = []
        """Of all photos, in the order of the rounds."""

    def label(self, photos: Path, *, count: int) -> Finished:
        """Label a folder in a process of its own, and see that every photo has its row.

        Raises:
            AlexNetError: the process failed, or a row is missing or an error.
        """
        rows = self.folder / "rows.csv"
        rows.unlink(missing_ok=True)
        chosen = [] if self.model is None else ["--model", os.fspath(self.model)]
        finished = run_child(
            "serve",
            *(os.fspath(photos), "-o", os.fspath(rows), *chosen, "--backend", self.backend),
            *shlex.split(self.options),
            name=f"alexnet-label ({self.name})",
        )
        check_rows(rows, photos, count=count, name=self.name)
        return finished


def label(plan: Plan) -> dict[str, Any]:
    """Run all variants in turns, round after round, each on all photos and on one photo alone.

    What a run on one photo takes is the start-up; what the others add to it gives the rate.

    Raises:
        AlexNetError: the photos can't be read, or a run fails.
    """
    machine = conditions()
    with tempfile.TemporaryDirectory(prefix="alexnet-bench-") as name:
        folder = Path(name)
        many, one = folder / "photos", folder / "one"
        names = link_photos(many, plan.photos, count=plan.count)
        link_photos(one, plan.photos, count=1)
        variants = [
            _Variant(model, backend, options, folder=folder)
            for model, backend, options in product(
                plan.models or (None,), plan.backends, plan.options
            )
        ]
        calls: list[Call] = [_all(variant, many, plan.count) for variant in variants]
        calls += [_first(variant, one) for variant in variants]
        with Observer() as observer:
            times = interleave(calls, count=plan.rounds, warmup=0)
    wholes, firsts = times[: len(variants)], times[len(variants) :]
    rows = [
        _row(variant, speed(whole, first, count=plan.count))
        for variant, whole, first in zip(variants, wholes, firsts, strict=True)
    ]
    reasons = why_invalid(rows) + why_disturbed(observer.seen)
    return {
        "benchmark": "label",
        "verdict": "INVALID" if reasons else "VALID",
        "reasons": reasons,
        "machine": machine,
        "rounds": plan.rounds,
        "photos": names[:8],
        "different_photos": len(names),
        "count": plan.count,
        "results": rows,
    }


def link_photos(folder: Path, place: Path | None, *, count: int) -> list[str]:
    """Fill a new folder with `count` photos, and return the different ones' names.

    They are links to photos that can be read, evenly spread over `place`, and the same ones again
    where it has fewer.

    Raises:
        AlexNetError: there is no photo in `place`.
    """
    folder.mkdir()
    if place is None:
        files = read_photos(None)
        sources = []
        for file in files:
            source = folder / f".{file.name}"  # hidden: not labelled itself
            source.write_bytes(file.data)
            sources.append(source)
        names = [file.name for file in files]
    else:
        sources = [
            sample.path.absolute() for sample in sample_photos(place, count=count, left_out=log)
        ]
        names = [os.fspath(source) for source in sources]
    for number in range(count):
        source = sources[number % len(sources)]
        (folder / f"{number:07}{source.suffix}").symlink_to(source)
    return names[:count]


def check_rows(rows: Path, photos: Path, *, count: int, name: str) -> None:
    """See that a table has one good row for each photo of a folder, in their order.

    Raises:
        AlexNetError: it has not.
    """
    with rows.open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    wanted = sorted(os.fspath(path) for path in photos.iterdir() if path.name[0] != ".")
    assert len(wanted) == count, "the folder was made by link_photos"
    if [row["path"] for row in table] != wanted:
        raise AlexNetError(f"{name}: {len(table)} rows for {count} photos, or in another order.")
    bad = [row for row in table if row["status"] != "ok" or not row["label"]]
    if bad:
        raise AlexNetError(
            f"{name}: {len(bad)} of {count} photos were not labelled: {bad[0]['error_message']}"
        )


def why_invalid(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Sentences that say why the numbers should not be relied on; none where they can be."""
    reasons = []
    if rows[0]["rounds"] < FEWEST_ROUNDS:
        reasons.append(f"A comparison needs {FEWEST_ROUNDS} rounds: give --rounds.")
    for row in rows:
        if row["startup_s"] > row["seconds"] / 2:
            reasons.append(
                f"{row['name']}: more than half of a run is start-up: give a higher --count."
            )
        if not row["samples_ms"]:
            continue
        spread = summarise(row["samples_ms"]).spread
        if spread > WIDEST_SPREAD:
            reasons.append(
                f"{row['name']}: rounds spread by {spread:.0%} of their median (interquartile "
                f"range), more than {WIDEST_SPREAD:.0%}: take more photos or a quieter machine."
            )
    return reasons


def speed(whole: Sequence[float], first: Sequence[float], *, count: int) -> dict[str, Any]:
    """The columns of speed and start-up.

    A round's sample is what each photo after the first added, in milliseconds. Where a run on all
    photos took no longer than one on a single photo, the machine was busier meanwhile, and no rate
    is known.

    Args:
        whole: seconds of the runs on `count` photos, round by round.
        first: seconds of the runs on one photo.
        count: at least 2.
    """
    samples = [1000 * (w - f) / (count - 1) for w, f in zip(whole, first, strict=True)]
    known = min(samples) > 0
    seconds = percentile(sorted(whole), 50)
    return {
        "rounds": len(whole),
        "infer_samples_per_sec": 1000 / summarise(samples).p50 if known else None,
        "infer_samples_per_sec_with_startup": count / seconds,
        "startup_s": percentile(sorted(first), 50),
        "seconds": seconds,
        "latency_ms": asdict(summarise(samples)) if known else None,
        "samples_ms": samples if known else [],
    }


def _row(variant: _Variant, columns: dict[str, Any]) -> dict[str, Any]:
    peaks = [run.peak_mib for run in variant.runs if run.peak_mib is not None]
    return {
        "name": variant.name,
        "model": None if variant.model is None else variant.model.name,
        "backend": variant.backend,
        "options": variant.options,
        **columns,
        "peak_mib": max(peaks, default=None),
        "precision_note": note_in(variant.runs[0].stderr),
    }


def _all(variant: _Variant, photos: Path, count: int) -> Call:
    def run() -> Took:
        variant.runs.append(variant.label(photos, count=count))
        return Took(variant.runs[-1].seconds)

    return run


def _first(variant: _Variant, photos: Path) -> Call:
    return lambda: Took(variant.label(photos, count=1).seconds)
