"""How long to measure, and the measurement itself: variants in turns, the machine watched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from alexnet.errors import AlexNetError
from bench.interleave import Call, interleave
from bench.processes import Apart
from bench.sessions import Here, OpenSession
from bench.validity import Observer, Surroundings


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How often each variant is timed, and where it runs."""

    count: int | None = None
    """Rounds."""
    duration: float | None = 10.0
    """Seconds; either this or `count` is None."""
    warmup: int = 3
    """Rounds before, which are not counted."""
    pause: float = 0.01
    """Seconds before each call.

    Threads of PyTorch and of ONNX Runtime spin for a while after a call, in case another one comes.
    With `mini`, ten views, on two cores, a call of ONNX Runtime took 16 ms alone, 21 ms right after
    one of PyTorch (in one process and in two), and 16.5 ms with 10 ms between them.
    """
    isolate: bool = False
    """Whether each variant has a process of its own.

    Otherwise they share the state of memory and threads: PyTorch took 15 to 17 ms alone, 16 to 18
    ms with ONNX Runtime in another process, and 10 to 12 ms with it in the same process, which
    nobody gets who runs one model. Therefore the commands isolate.
    """

    def __post_init__(self) -> None:
        if (self.count is None) == (self.duration is None):
            raise AlexNetError("Give --count or --duration, not both.")

    @property
    def open_session(self) -> OpenSession:
        """What opens a model as `isolate` wants it."""
        return Apart if self.isolate else Here

    def as_json(self, rounds: int) -> dict[str, Any]:
        """What a result says of how it was measured."""
        return {
            "rounds": rounds,
            "warmup_rounds": self.warmup,
            "pause_ms": 1000 * self.pause,
            "isolated": self.isolate,
        }


@dataclass(frozen=True, kw_only=True)
class Times:
    """What was measured."""

    ms: list[list[float]]
    """Of each call, round by round, in milliseconds."""
    surroundings: Surroundings


def measure(calls: Sequence[Call], sampling: Sampling) -> Times:
    """Time the calls in turns."""
    observer = Observer()
    seconds = interleave(
        calls,
        count=sampling.count,
        duration=sampling.duration,
        warmup=sampling.warmup,
        pause=sampling.pause,
        watch=observer,
    )
    ms = [[1000 * second for second in call] for call in seconds]
    return Times(ms=ms, surroundings=observer.seen)
