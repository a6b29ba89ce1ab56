"""`alexnet-bench serve`: a service under load over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from alexnet.console import log, progress
from bench.conditions import conditions
from bench.http_client import Target
from bench.knee import find_knee
from bench.load import Closed, Load, LoadError, Open, drive
from bench.load_row import FEWEST, Meter, load_row, why_few, why_invalid, why_not_held
from bench.photos import PhotoFile, read_photos
from bench.rows import note_in
from bench.scenarios import CLIENTS, Scenario
from bench.service_process import Service, free_port, our_service, running, their_command
from bench.statistics import percentile
from bench.validity import Observer, why_disturbed

OUR_PATH = "/v1/classify"
KNEE = "knee"
"""The name of the row that holds the highest load and nothing else."""
_LOWEST, _HIGHEST = 0.05, 100_000.0  # requests per second that the ramp tries
_MOST_SAMPLES = 600


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to load, and how."""

    url: str | None = None
    """With no path, `OUR_PATH` is added. `{port}` is replaced by a free one."""
    start: str | None = None
    """A command line that starts the service; `{port}` as in `url`."""
    model: Path | None = None
    """Start this project's service with this model."""
    scenario: Scenario = "server"
    rates: Sequence[float] = ()
    """Requests per second, one load after the other; none: find the knee."""
    bound_ms: float = 200.0
    seconds: float = 10.0
    clients: int | None = None
    """None: as `CLIENTS` says."""
    warmup: int = 20
    timeout: float = 10.0
    connections: int = 1000
    headers: tuple[tuple[str, str], ...] = ()
    field: str | None = None
    ready_path: str = "/readyz"
    photos: Path | None = None
    seed: int = 0


def serve(plan: Plan) -> dict[str, Any]:
    """Load the service, and return everything that is known as JSON values.

    Raises:
        LoadError: there is no service, it refuses every request, or it goes.
        AlexNetError: the photos can't be read.
    """
    machine = conditions()
    photos = read_photos(plan.photos)
    with _service(plan) as (url, service):
        target = Target(
            url=url,
            headers=plan.headers,
            field=plan.field,
            timeout=plan.timeout,
            connections=plan.connections,
        )
        loads = _Loads(plan, target, photos, service)
        typical = loads.warm_up()
        knee = None
        with Observer() as observer:
            if plan.scenario != "server":
                loads.closed()
            elif plan.rates:
                for rate in plan.rates:
                    loads.open(rate)
            else:
                knee = loads.knee(start=0.5 / typical)
        # Of a service that runs already, nobody here knows which work is its own.
        seen = observer.seen if service is not None else replace(observer.seen, others=None)
        described = None if service is None else _described(service)
        if service is not None and plan.model is not None:
            note = note_in(service.said())
            loads.rows = [row | {"precision_note": note} for row in loads.rows]
    reasons = [reason for row in loads.rows for reason in why_invalid(row)]
    # Loads that did not hold are what a ramp is there to find.
    held = [row for row in loads.rows if row.get("holds", True)]
    reasons += [reason for row in held for reason in why_few(row)] + why_disturbed(seen)
    ramp = plan.scenario == "server" and not plan.rates
    if ramp and knee is None:
        reasons.append(f"No load holds p99 within {plan.bound_ms:g} ms: give a higher --bound.")
    # What two runs have in common, whatever rates they tried.
    found = [] if knee is None else [{"name": KNEE, "infer_samples_per_sec": knee}]
    return {
        "benchmark": "serve",
        "verdict": "INVALID" if reasons else "VALID",
        "reasons": reasons,
        "machine": machine,
        "url": url,
        "field": plan.field,
        "scenario": plan.scenario,
        "bound_ms": plan.bound_ms if ramp else None,
        "knee_per_sec": knee,
        "timeout_s": plan.timeout,
        "seed": plan.seed,
        "photos": [photo.name for photo in photos],
        "service": described,
        "results": loads.rows + found,
    }


class _Loads:
    """One load after the other, each with its row."""

    def __init__(
        self, plan: Plan, target: Target, photos: Sequence[PhotoFile], service: Service | None
    ):
        self.rows: list[dict[str, Any]] = []
        self._plan, self._target, self._photos, self._service = plan, target, photos, service

    def warm_up(self) -> float:
        """A few requests that are not counted; the median of their latencies, in seconds.

        Raises:
            LoadError: none of them is answered well.
        """
        with progress("Warming up", total=self._plan.warmup, unit="answers") as bar:
            pattern = Closed(clients=1, seconds=0.0, fewest=max(1, self._plan.warmup))
            load = drive(self._target, self._photos, pattern, advance=bar.advance)
        good = sorted(shot.ended - shot.due for shot in load.shots if shot.reply.ok)
        if good:
            return percentile(good, 50)
        reply, where = load.shots[-1].reply, self._target.url
        if reply.status is None:
            raise LoadError(f"POST {where} got no answer: {reply.failure}.")
        raise LoadError(f"POST {where} is answered with status {reply.status}: {reply.start}")

    def open(self, rate: float, *, again: bool = False) -> dict[str, Any]:
        """Offer a rate."""
        plan = self._plan
        ramp = not plan.rates
        pattern = Open(
            rate=rate,
            seconds=plan.seconds,
            fewest=FEWEST if ramp else 1,
            seed=plan.seed + again,
        )
        return self._row(f"{rate:g}/s" + (" again" if again else ""), pattern)

    def closed(self) -> dict[str, Any]:
        """Let clients ask, each when its last answer has come."""
        plan = self._plan
        clients = plan.clients or CLIENTS[plan.scenario]
        together = plan.scenario == "multi-stream"
        pattern = Closed(clients=clients, seconds=plan.seconds, together=together)
        return self._row(f"{plan.scenario}, {clients} at once", pattern)

    def knee(self, *, start: float) -> float | None:
        """The highest rate that holds."""
        found = find_knee(self._holds, start=start, lowest=_LOWEST, highest=_HIGHEST)
        return None if found is None else _round(found)

    def _holds(self, rate: float) -> bool:
        """Whether the service holds a rate, at a second attempt where it is near at the first.

        On a machine that others use, too, an interruption is as likely at any rate.
        """
        rate = _round(rate)
        for again in (False, True):
            row = self.open(rate, again=again)
            why = why_not_held(row, self._plan.bound_ms)
            row["holds"] = why is None
            log(f"{row['name']}: {'holds' if why is None else why}")
            if why is None:
                return True
            if row["latency_ms"] is None or row["latency_ms"]["p50"] > self._plan.bound_ms:
                return False  # no interruption delays half of them
        return False

    def _row(self, name: str, pattern: Open | Closed) -> dict[str, Any]:
        service = self._service
        meter = None if service is None else Meter(service.watch)
        with progress(name, total=None, unit="answers") as bar:
            load: Load = drive(self._target, self._photos, pattern, advance=bar.advance)
        if service is not None:
            service.check()
        row = load_row(name, load, connections=self._target.connections)
        if meter is not None:
            row |= meter.columns(row["answers"]["ok"])
        self.rows.append(row)
        return row


@contextmanager
def _service(plan: Plan) -> Iterator[tuple[str, Service | None]]:
    """The address that photos go to, and the service where it is started here."""
    port = free_port()
    url = (plan.url or "http://127.0.0.1:{port}").replace("{port}", str(port))
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise LoadError(f"{url} is no address such as http://127.0.0.1:3000.")
    address = url if parts.path.strip("/") else url.rstrip("/") + OUR_PATH
    if plan.start is None and plan.model is None:
        yield address, None
        return
    environment: dict[str, str] = {}
    if plan.start is not None:
        command = their_command(plan.start, port)
    else:
        command = our_service(port)
        environment["ALEXNET_MODEL"] = str(plan.model)
    with running(
        command,
        url=f"{parts.scheme}://{parts.netloc}",
        ready_path=plan.ready_path,
        environment=environment,
    ) as service:
        yield address, service


def _described(service: Service) -> dict[str, Any]:
    """What the service took, from its start on; moments are seconds since then."""
    samples = service.watch.samples
    began = samples[0][0] if samples else 0.0  # none: this system does not tell
    step = 1 + len(samples) // _MOST_SAMPLES
    return {
        "command": service.command,
        "start_s": service.start_seconds,
        "processor_s": service.watch.processor_seconds(),
        "peak_mib": service.watch.peak(),
        "memory_mib": [[moment - began, mib] for moment, mib in samples[::step]],
    }


def _round(rate: float) -> float:
    """To three digits, as people would give it."""
    return float(f"{rate:.3g}")
