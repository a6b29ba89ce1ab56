"""A load on a service as a row: how many answers of which kind, how fast, and if that holds."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.load import Closed, Load, Open, Shot
from bench.process_tree import Watch, slope_per_minute
from bench.statistics import percentile, summarise

REFUSALS = (429, 503)
"""Statuses by which a service says that it is full."""
FEWEST = 100
"""Answers without which there is no 99th percentile."""
LATEST = 2.0
"""Milliseconds by which requests may be late: the clock that an event loop sleeps by has steps of
one."""
LATEST_SHARE = 0.1
"""Of the latency's 99th percentile: requests may be late by this, where it is more."""


class Meter:
    """What a service of ours takes while a load goes on."""

    def __init__(self, watch: Watch):
        self._watch, self._since = watch, time.perf_counter()
        self._processor = watch.processor_seconds()
        watch.look()

    def columns(self, photos: int) -> dict[str, float | None]:
        """Memory and processor time since the meter was made, for so many answers."""
        self._watch.look()
        since, now = self._processor, self._watch.processor_seconds()
        spent = None if since is None or now is None else now - since
        samples = [sample for sample in self._watch.samples if sample[0] >= self._since]
        return {
            "service_peak_mib": self._watch.peak(since=self._since),
            "service_mib_per_minute": slope_per_minute(samples),
            "service_processor_s": spent,
            "service_processor_ms_per_photo": 1000 * spent / photos if spent and photos else None,
        }


def load_row(name: str, load: Load, *, connections: int) -> dict[str, Any]:
    """The row; latencies are of the successful answers and, up to then, of what was given up.

    Answers that refuse or fail are counted, and have no latency: a service that fails fast is not a
    fast one.
    """
    kinds = Counter(kind(shot) for shot in load.shots)
    times = [1000 * seconds for seconds in _latencies(load)]
    late = sorted(1000 * seconds for seconds in load.late())
    pattern = load.pattern
    return {
        "name": name,
        "rate": pattern.rate if isinstance(pattern, Open) else None,
        "clients": pattern.clients if isinstance(pattern, Closed) else None,
        "seconds": load.seconds,
        "sent": len(load.shots),
        "infer_samples_per_sec": kinds["ok"] / load.seconds,
        "infer_batch_size": 1,
        "answers": {name: kinds[name] for name in ("ok", "refused", "errors", "timeouts")},
        "statuses": dict(_sorted(str(s.reply.status) for s in load.shots if s.reply.status)),
        "failures": dict(_sorted(s.reply.failure for s in load.shots if s.reply.failure)),
        "latency_ms": asdict(summarise(times)) if times else None,
        "samples_ms": times,
        "late_ms": {
            "p50": percentile(late, 50),
            "p99": percentile(late, 99),
            "max": late[-1],
        },
        "sender_processor_share": load.processor,
        "most_at_once": load.most_at_once,
        "connections": connections,
        "response_bytes": sum(shot.reply.size for shot in load.shots),
    }


def kind(shot: Shot) -> str:
    """`ok`, `refused` (the service is full), `timeouts` or `errors`."""
    if shot.reply.ok:
        return "ok"
    if shot.reply.status in REFUSALS:
        return "refused"
    return "timeouts" if shot.reply.failure == "timeout" else "errors"


def why_not_held(row: dict[str, Any], bound_ms: float) -> str | None:
    """In a few words why a service does not hold a load; None where it does.

    It holds a load when every request was answered, and 99 of 100 within the bound.
    """
    failed = {name: count for name, count in row["answers"].items() if name != "ok" and count}
    if failed:
        return ", ".join(f"{count:,} {name}" for name, count in failed.items())
    p99 = row["latency_ms"]["p99"]
    assert p99 is not None, "a load for a bound has 100 requests"
    return None if p99 <= bound_ms else f"p99 {p99:.0f} ms"


def why_invalid(row: dict[str, Any]) -> list[str]:
    """Sentences that say why the row's numbers are the sender's, rather than the service's."""
    reasons = []
    late, latency = row["late_ms"]["p99"], row["latency_ms"]
    answered_in = percentile(sorted(row["samples_ms"]), 99) if latency else 0.0
    if late > max(LATEST, LATEST_SHARE * answered_in):
        reasons.append(
            f"{row['name']}: one request in a hundred left {late:.1f} ms late or later, so this "
            "program or its machine is too busy for the load: send from another machine."
        )
    if row["most_at_once"] > row["connections"]:
        reasons.append(
            f"{row['name']}: requests waited for one of {row['connections']} connections: give "
            "--connections, or offer less."
        )
    return reasons


def why_few(row: dict[str, Any]) -> list[str]:
    """Sentences about answers that are too few, or too bad, to say how fast a service is."""
    if not row["answers"]["ok"]:
        kinds = {**row["statuses"], **row["failures"]}
        what = ", ".join(f"{count:,} x {name}" for name, count in kinds.items())
        return [f"{row['name']}: no request was answered well ({what}), so nothing was measured."]
    count = len(row["samples_ms"])
    if count < FEWEST:
        return [
            f"{row['name']}: Too few samples: a 99th percentile needs {FEWEST} answers, not "
            f"{count}: give a longer --duration."
        ]
    return []


def _latencies(load: Load) -> list[float]:
    """Of each query, in seconds: the last of its answers counts."""
    queries: defaultdict[int, list[Shot]] = defaultdict(list)
    for shot in load.shots:
        queries[shot.query].append(shot)
    return [
        max(shot.ended for shot in shots) - shots[0].due
        for shots in queries.values()
        if all(kind(shot) in ("ok", "timeouts") for shot in shots)
    ]


def _sorted(values: Any) -> Sequence[tuple[str, int]]:
    return sorted(Counter(values).items())
