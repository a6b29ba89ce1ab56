"""What a process and those that it started take of the machine, while they run."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import psutil  # type: ignore[import-untyped]

MIB = 2**20


class Watch:
    """Notes the memory of a process and its descendants from time to time, in a thread.

    Memory is the sum of their resident sets: a page that two of them share counts twice.
    """

    def __init__(self, pid: int, *, every: float = 1.0):
        """Begin to watch.

        Args:
            pid: the process at the top.
            every: seconds between two looks.
        """
        self.samples: list[tuple[float, float]] = []
        """Moments, in seconds as `time.perf_counter` counts them, and MiB."""
        self._root = psutil.Process(pid)
        self._every = every
        self._over = threading.Event()
        self.look()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def processor_seconds(self) -> float | None:
        """Time on processors so far, of those that have ended too; None once the top one has."""
        try:
            times = [process.cpu_times() for process in self._tree()]
        except psutil.Error:
            return None
        if not times:
            return None
        # A process that has ended and was waited for is in its parent's `children_...`.
        return float(sum(t.user + t.system + t.children_user + t.children_system for t in times))

    def peak(self, *, since: float = 0.0) -> float | None:
        """The most MiB that were seen at or after a moment; None where nobody looked then."""
        return max((mib for moment, mib in self.samples if moment >= since), default=None)

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._every):
            self.look()

    def look(self) -> None:
        """Note the memory of this moment, besides the regular looks."""
        total = 0
        for process in self._tree():
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue  # it has just ended
        if total:
            self.samples.append((time.perf_counter(), total / MIB))

    def _tree(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.Error:
            return []


def slope_per_minute(samples: Sequence[tuple[float, float]]) -> float | None:
    """MiB per minute that memory grows by, of the later half of the samples.

    The earlier half is left out, since a service grows until every part of it has run once. The
    line is that of least squares; None where the half holds fewer than ten samples.
    """
    later = samples[len(samples) // 2 :]
    if len(later) < 10:
        return None
    middle = sum(moment for moment, _ in later) / len(later)
    level = sum(mib for _, mib in later) / len(later)
    rise = sum((moment - middle) * (mib - level) for moment, mib in later)
    run = sum((moment - middle) ** 2 for moment, _ in later)
    return 60 * rise / run
