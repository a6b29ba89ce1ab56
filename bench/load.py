"""Load on a service: requests at times fixed beforehand, or one after the other's answer.

An open loop sends when a user would, whatever the service is doing, and counts a request's latency
from the moment at which it should have gone out. A closed loop waits for answers, so that a service
that stalls is hardly asked while it does: its latencies say how fast the service can be, and not
what users see.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from alexnet.errors import AlexNetError
from bench.http_client import Client, Reply, Target, open_client
from bench.photos import PhotoFile

PATIENCE = 2.0
"""Seconds without any connection after which a service counts as gone."""
_HEAD_START = 0.02  # seconds from the clock's start to the first request's earliest time


class LoadError(AlexNetError):
    """The service can't be loaded, or has gone."""


@dataclass(frozen=True, kw_only=True)
class Open:
    """Poisson arrivals, as of many users who know nothing of each other."""

    rate: float
    """Requests per second."""
    seconds: float
    fewest: int = 1
    """Requests to send at least, even where that takes longer than `seconds`."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Closed:
    """Clients that send a request when their last one is answered."""

    clients: int
    seconds: float
    together: bool = False
    """All send at the same moment, and again once all are answered: they make one query."""
    fewest: int = 1


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One request; times are seconds from the beginning of the load."""

    query: int
    """Requests of the same query have the same number."""
    due: float
    """When it should have been sent."""
    sent: float
    ended: float
    reply: Reply


@dataclass(kw_only=True)
class Load:
    """What was sent and what came of it."""

    pattern: Open | Closed
    shots: list[Shot] = field(default_factory=list)
    """In the order of their ends."""
    seconds: float = 0.0
    """From the beginning to the last answer, and at least as long as was asked for."""
    most_at_once: int = 0
    """Requests that were under way at the same time."""
    processor: float = 0.0
    """Share of one core that sending took."""

    def late(self) -> list[float]:
        """How much later than due each request was sent, in seconds."""
        return [shot.sent - shot.due for shot in self.shots]


def arrivals(pattern: Open) -> list[float]:
    """Seconds from the beginning at which requests are due, in order.

    They are so many that the rate is what was asked for: of a Poisson process whose count is known,
    each arrival is equally likely at any moment.
    """
    chance = random.Random(pattern.seed)
    count = max(round(pattern.rate * pattern.seconds), pattern.fewest)
    span = count / pattern.rate
    return sorted(chance.uniform(0.0, span) for _ in range(count))


def drive(
    target: Target,
    photos: Sequence[PhotoFile],
    pattern: Open | Closed,
    *,
    advance: Callable[[], object] = lambda: None,
) -> Load:
    """Send the photos in turn, as the pattern says, and wait for the last answer.

    Args:
        target: the service.
        photos: at least one.
        pattern: when to send.
        advance: is called for each answer.

    Raises:
        LoadError: nothing takes connections there for `PATIENCE` seconds.
    """
    return asyncio.run(_drive(target, photos, pattern, advance))


async def _drive(
    target: Target,
    photos: Sequence[PhotoFile],
    pattern: Open | Closed,
    advance: Callable[[], object],
) -> Load:
    load = Load(pattern=pattern)
    async with open_client(target, photos) as client:
        run = _Run(client, load, advance)
        processor = time.process_time()
        send = run.open(pattern) if isinstance(pattern, Open) else run.closed(pattern)
        await run.until_done(send)
    load.seconds = max(pattern.seconds, *(shot.ended for shot in load.shots))
    load.processor = (time.process_time() - processor) / load.seconds
    return load


class _Run:
    """One load while it goes on."""

    def __init__(self, client: Client, load: Load, advance: Callable[[], object]):
        self._client, self._load, self._advance = client, load, advance
        self._tasks: set[asyncio.Future[None]] = set()
        self._sent = self._under_way = self._broken = 0
        self._broken_since: float | None = None
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._start = time.perf_counter() + _HEAD_START

    async def until_done(self, send: Coroutine[Any, Any, None]) -> None:
        """Wait until all is sent and answered, or the service has gone."""
        try:
            await self._or_gone(self._begin(send))
            if self._tasks:
                await self._or_gone(asyncio.create_task(asyncio.wait(self._tasks.copy())))
        finally:
            left = list(self._tasks)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            self._gone.cancel()

    async def _or_gone(self, work: asyncio.Future[Any]) -> None:
        await asyncio.wait([work, self._gone], return_when=asyncio.FIRST_COMPLETED)
        if self._gone.done():
            work.cancel()
            self._gone.result()  # raises

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._gone.done():
            self._gone.set_exception(error)

    async def open(self, pattern: Open) -> None:
        """Send each request at its time, whatever became of those before."""
        for query, due in enumerate(arrivals(pattern)):
            # Also where it is late already: what was sent needs the loop to get on its way.
            await asyncio.sleep(max(0.0, due - self._now()))
            self._begin(self._shoot(query, due))

    async def closed(self, pattern: Closed) -> None:
        """Let `clients` send until the time is over."""
        await asyncio.sleep(max(0.0, -self._now()))
        groups = 1 if pattern.together else pattern.clients

        async def client(number: int) -> None:
            query = number
            while self._now() < pattern.seconds or self._sent < pattern.fewest:
                due = self._now()
                count = pattern.clients if pattern.together else 1
                await asyncio.gather(*(self._shoot(query, due) for _ in range(count)))
                query += groups
                if self._broken:
                    await asyncio.sleep(0.05)  # nobody is there: do not ask without a pause

        await asyncio.gather(*(client(number) for number in range(groups)))

    async def _shoot(self, query: int, due: float) -> None:
        number, self._sent = self._sent, self._sent + 1
        self._under_way += 1
        self._load.most_at_once = max(self._load.most_at_once, self._under_way)
        sent = self._now()
        reply = await self._client.post(number)
        ended = self._now()
        self._under_way -= 1
        self._load.shots.append(Shot(query=query, due=due, sent=sent, ended=ended, reply=reply))
        self._advance()
        self._notice(reply, ended)

    def _notice(self, reply: Reply, now: float) -> None:
        if reply.failure is None or reply.failure == "timeout":
            self._broken, self._broken_since = 0, None
            return
        self._broken += 1
        if self._broken_since is None:
            self._broken_since = now
        gone_for = now - self._broken_since
        if gone_for >= PATIENCE and self._broken > 2 and not self._gone.done():
            answers = sum(shot.reply.ok for shot in self._load.shots)
            self._gone.set_exception(
                LoadError(
                    f"The service took no connection any more from second "
                    f"{self._broken_since:.1f} on, after {answers:,} answers: {reply.failure}."
                )
            )

    def _now(self) -> float:
        return time.perf_counter() - self._start
