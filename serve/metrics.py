"""Prometheus metrics: what happens to requests and photos, counted in this process.

BentoML's own are switched off (service.py): their label is whatever address a client asks for, and
so any number of them, and they keep files in a folder that another service on the machine empties.
Here labels have values from short lists only. The service has one worker (service.py).
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from serve.observer import Stage

# 1 ms to 50 s, the longest that a request may take, by about the half of powers of ten.
_SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    25.0,
    50.0,
)
_PHOTOS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0, 64.0)
_STAGES: tuple[Stage, ...] = ("decode", "wait", "run")


class _Histogram:
    """Values by the bucket that they fall into."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count one value; a bucket holds those up to its bound, and the bound."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, *labels: str) -> None:
        """Add it to a family, with buckets that hold all values up to their bounds."""
        total, buckets = 0, []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, total))
        family.add_metric(labels, buckets, self._sum)


class Metrics(Collector):
    """The counts; an `Observer` of the batcher, and told of each request by the access log."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._problems: Counter[str] = Counter()
        self._photos: Counter[str] = Counter()
        self._seconds: dict[str, _Histogram] = {}
        self._stages = {stage: _Histogram(_SECONDS) for stage in _STAGES}
        self._batches = _Histogram(_PHOTOS)
        self._queue = 0
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def queue(self, photos: int) -> None:
        """See `Observer`."""
        self._queue = photos

    def batch(self, photos: int) -> None:
        """See `Observer`."""
        with self._lock:
            self._batches.add(photos)

    def spent(self, stage: Stage, seconds: float) -> None:
        """See `Observer`."""
        with self._lock:
            self._stages[stage].add(seconds)

    def request(
        self, route: str, status: int, *, seconds: float, code: str | None, photos: list[str]
    ) -> None:
        """A request has ended.

        Args:
            route: of `serve.paths`, so that there are few.
            status: 499 where the client did not wait for an answer.
            seconds: from its headers to the last byte of the answer.
            code: of its problem.
            photos: the outcome of each photo, as in `Note`.
        """
        with self._lock:
            self._requests[route, str(status)] += 1
            self._seconds.setdefault(route, _Histogram(_SECONDS)).add(seconds)
            self._photos.update(photos)
            if code is not None:
                self._problems[code] += 1

    def collect(self) -> Iterator[Metric]:
        """All of it as prometheus_client wants it."""
        with self._lock:
            requests = CounterMetricFamily(
                "alexnet_requests", "Requests answered.", labels=("route", "status")
            )
            for (route, status), count in self._requests.items():
                requests.add_metric((route, status), count)
            lasted = HistogramMetricFamily(
                "alexnet_request_seconds",
                "From a request's headers to the end of its answer.",
                labels=("route",),
            )
            for route, histogram in self._seconds.items():
                histogram.add_to(lasted, route)
            stages = HistogramMetricFamily(
                "alexnet_photo_seconds",
                "Per photo: in a decoder, waiting, in the backend with its batch.",
                labels=("stage",),
            )
            for stage, histogram in self._stages.items():
                histogram.add_to(stages, stage)
            batches = HistogramMetricFamily(
                "alexnet_batch_photos", "Photos that the backend got at once."
            )
            self._batches.add_to(batches)
            found = [
                requests,
                lasted,
                stages,
                batches,
                _counter("photos", "Photos answered, or what was wrong.", "outcome", self._photos),
                _counter("problems", "Requests refused or failed.", "code", self._problems),
                GaugeMetricFamily("alexnet_queue_photos", "Photos that wait.", value=self._queue),
            ]
        yield from found

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)

    async def show(self, _: Request) -> Response:
        """GET /metrics."""
        return Response(self.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _counter(name: str, help: str, label: str, counts: Counter[str]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"alexnet_{name}", help, labels=(label,))
    for value, count in counts.items():
        family.add_metric((value,), count)
    return family
