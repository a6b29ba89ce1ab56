"""`alexnet-bench serve --peers`: our service, plain ones, and the backend alone, in one run.

All have the same exported graph and the same photos. They take turns of some seconds each, again
and again in another order; who has no turn idles, and what that takes of a core is told, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from alexnet.console import log
from alexnet.errors import AlexNetError, MissingPackageError
from bench import peer_http
from bench.conditions import conditions
from bench.http_client import Target
from bench.interleave import Took
from bench.load import Closed, LoadError, drive
from bench.load_row import kind
from bench.peer import difference
from bench.peer_http import Hosted
from bench.peers import why_unequal
from bench.photos import PhotoFile, read_photos
from bench.process_tree import Watch
from bench.processes import Apart
from bench.rows import note_on
from bench.sampling import Sampling, measure
from bench.scenarios import CLIENTS
from bench.sessions import Opening
from bench.statistics import ratio, summarise
from bench.throughput import FEWEST_PASSES
from bench.validity import why_disturbed, why_uneven
from bench.work import Answer, Pass

BATCH = 4
"""Photos that the backend alone is given at once, as our service does unless it is told."""
MOST_IDLE = 0.05
"""Cores that one may keep busy while another has its turn."""
_PAUSE = 0.2
"""Seconds before each turn, in which threads of the one before come to rest."""
_FIRST = 32
"""Photos of the backend's first passes, which tell how many fill a turn."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure, and for how long."""

    model: Path
    """An exported graph, .onnx."""
    clients: int = CLIENTS["offline"]
    """Requests under way at once."""
    seconds: float = 5.0
    """Of each turn."""
    rounds: int = 10
    """Turns of each."""
    timeout: float = 10.0
    photos: Path | None = None


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """What came of one turn."""

    photos: int
    """Answered."""
    seconds: float
    processor: float = 0.0
    """Seconds on processors, of the contender alone."""
    sender: float = 0.0
    """Cores that sending took."""
    failed: tuple[str, ...] = ()
    """What became of the requests that were no success."""


class _Contender:
    """One that has turns."""

    def __init__(self, name: str, what: str, answer: Callable[[], _Turn], watch: Watch) -> None:
        self.name, self.what = name, what
        self.turns: list[_Turn] = []
        self._answer, self._watch = answer, watch

    def turn(self) -> Took:
        """Answer photos for some seconds; the time that each of them took of these.

        Raises:
            AlexNetError: none is answered.
        """
        before = self.processor()
        turn = self._answer()
        if not turn.photos:
            raise LoadError(f"{self.name}: no request was answered: {', '.join(turn.failed)}.")
        self.turns.append(replace(turn, processor=self.processor() - before))
        return Took(turn.seconds / turn.photos)

    def processor(self) -> float:
        """Seconds on processors since its start."""
        seconds = self._watch.processor_seconds()
        if seconds is None:
            raise LoadError(f"{self.name}: its process has ended.")
        return seconds


def service_peers(plan: Plan) -> dict[str, Any]:
    """Measure, and return everything that is known as JSON values (times in milliseconds).

    Raises:
        AlexNetError: the model or the photos can't be read, or a service fails.
    """
    if plan.model.suffix != ".onnx":
        raise AlexNetError(f"--peers needs a graph that all of them run, .onnx, not {plan.model}.")
    machine = conditions()
    photos = read_photos(plan.photos)
    sampling = Sampling(count=plan.rounds, duration=None, warmup=1, pause=_PAUSE, isolate=True)
    with ExitStack() as stack:
        session = Apart(Opening(path=plan.model, mode="throughput"))
        stack.callback(session.close)
        hosted, skipped = _host(plan.model, stack)
        differs = [None, *_differences(hosted, photos)]
        contenders = [_backend(session, plan, photos, stack)]
        contenders += [_service(one, plan, photos) for one in hosted]
        began = [contender.processor() for contender in contenders]
        times = measure([contender.turn for contender in contenders], sampling)
        spent = [one.processor() - at for one, at in zip(contenders, began, strict=True)]
    rows = [_row(contenders, times.ms, place) for place in range(len(contenders))]
    for row, idle, differ in zip(rows, _idle_cores(contenders, spent), differs, strict=True):
        row |= {
            "idle_cores": idle,
            "max_difference": differ,
            "precision": session.info.precision,
            "precision_note": note_on(session.info.precision, backend=session.name),
        }
    names = [row["name"] for row in rows]
    reasons = why_uneven(names, times.ms, unit="turns", fewest=FEWEST_PASSES)
    reasons += why_disturbed(times.surroundings) + why_unequal(rows) + why_wrong(rows)
    return {
        "benchmark": "serve-peers",
        "verdict": "INVALID" if reasons else "VALID",
        "reasons": reasons,
        "machine": machine,
        "model": plan.model.name,
        "model_sha256": session.info.sha256,
        "preset": session.info.config.preset,
        "views": session.info.views,
        "backend": session.name,
        "streams": session.streams,
        "clients": plan.clients,
        "turn_s": plan.seconds,
        **sampling.as_json(plan.rounds),
        "surroundings": asdict(times.surroundings),
        "photos": [photo.name for photo in photos],
        "skipped": skipped,
        "results": rows,
    }


def why_wrong(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Sentences about requests that failed, and about services that are busy without any."""
    reasons = []
    for row in rows:
        if row["failed"]:
            what = ", ".join(f"{count:,} x {name}" for name, count in row["failed"].items())
            reasons.append(f"{row['name']}: not every request was answered: {what}.")
        if row["idle_cores"] > MOST_IDLE:
            reasons.append(
                f"{row['name']}: it kept {row['idle_cores']:.2f} cores busy while others had their "
                "turns, whose numbers are too low for that."
            )
    return reasons


def _host(model: Path, stack: ExitStack) -> tuple[list[Hosted], list[dict[str, str]]]:
    """Our service, then the plain ones, and those that are left out with the reason."""
    log("Opening: our service")
    found = [peer_http.host_ours(model, None, stack)]
    skipped = []
    for name in peer_http.PLAIN:
        log(f"Opening: {name}")
        try:
            found.append(peer_http.host_plain(name, model, None, stack))
        except MissingPackageError as error:
            skipped.append({"name": name, "why": str(error)})
    return found, skipped


def _differences(hosted: Sequence[Hosted], photos: Sequence[PhotoFile]) -> list[float]:
    """The largest of each service's probabilities from those of ours, the first."""
    answers: list[list[Answer]] = [[one.ask(photo.data) for photo in photos] for one in hosted]
    return [max(map(difference, theirs, answers[0])) for theirs in answers]


def _backend(
    session: Apart, plan: Plan, photos: Sequence[PhotoFile], stack: ExitStack
) -> _Contender:
    """The backend without a service: a predictor over the photos' bytes, decoding included."""
    data = [photo.data for photo in photos]
    first = session.call(Pass(data, _FIRST, BATCH))
    first()  # which warms it up
    count = max(_FIRST, round(plan.seconds / _seconds(first()) * _FIRST))
    call = session.call(Pass(data, count, BATCH))
    watch = Watch(session.pid)
    stack.callback(watch.stop)
    return _Contender(
        "backend alone",
        f"predictor on {session.name}, no HTTP",
        lambda: _Turn(photos=count, seconds=_seconds(call())),
        watch,
    )


def _seconds(took: object) -> float:
    assert isinstance(took, Took), "calls in another process are timed there"
    return took.seconds


def _service(hosted: Hosted, plan: Plan, photos: Sequence[PhotoFile]) -> _Contender:
    target = Target(url=hosted.url, field="image", timeout=plan.timeout, connections=plan.clients)
    pattern = Closed(clients=plan.clients, seconds=plan.seconds)

    def answer() -> _Turn:
        load = drive(target, photos, pattern)
        hosted.service.check()
        bad = [shot.reply for shot in load.shots if kind(shot) != "ok"]
        return _Turn(
            photos=len(load.shots) - len(bad),
            seconds=load.seconds,
            sender=load.processor,
            failed=tuple(reply.failure or str(reply.status) for reply in bad),
        )

    return _Contender(hosted.name, hosted.what, answer, hosted.service.watch)


def _idle_cores(contenders: Sequence[_Contender], spent: Sequence[float]) -> list[float]:
    """How many cores each kept busy outside its turns, of `spent` seconds on processors."""
    turns = sum(turn.seconds for contender in contenders for turn in contender.turns)
    return [
        max(0.0, seconds - sum(turn.processor for turn in contender.turns))
        / max(turns - sum(turn.seconds for turn in contender.turns), 1e-9)
        for contender, seconds in zip(contenders, spent, strict=True)
    ]


def _row(
    contenders: Sequence[_Contender], times: Sequence[Sequence[float]], place: int
) -> dict[str, Any]:
    """The row of one of them; the backend alone is the first, our service the second."""
    contender, sample = contenders[place], times[place]
    turns = contender.turns[-len(sample) :]  # without the warm-up
    photos = sum(turn.photos for turn in turns)
    summary = summarise(sample)
    return {
        "name": contender.name,
        "what": contender.what,
        # Of the median turn, as the ratios are.
        "infer_samples_per_sec": 1000 / summary.p50,
        "infer_batch_size": 1,
        "latency_ms": asdict(summary),
        "samples_ms": list(sample),
        "baseline": place == 0,
        "ratio": asdict(ratio(times[0], sample)),
        "ours_is": asdict(ratio(sample, times[1])),
        "answered": photos,
        "failed": dict(Counter(what for turn in turns for what in turn.failed)),
        "processor_ms_per_photo": 1000 * sum(turn.processor for turn in turns) / photos,
        "sender_cores": sum(turn.sender for turn in turns) / len(turns),
    }
