"""What TensorRT tells of a build while it runs, on the progress bar of the commands."""

from __future__ import annotations

import threading
from types import ModuleType
from typing import Any

from alexnet.console import Progress

PARTS = 1000
"""Into how many parts a bar for `monitor_of` is cut."""


class Phases:
    """Phases inside phases, each of a known number of steps, as one part done from 0 to 1.

    A phase that runs inside another one is a part of that one's current step.
    """

    def __init__(self) -> None:
        self._running: list[tuple[str, int, int]] = []  # name, steps done, steps in all
        self._done = 0.0

    def start(self, name: str, steps: int) -> None:
        """A phase begins inside the last one that has not ended."""
        self._running.append((name, 0, max(1, steps)))

    def step(self, name: str, number: int) -> None:
        """Step `number`, from 0 on, of a phase is done."""
        self._running = [
            (phase, number + 1 if phase == name else done, steps)
            for phase, done, steps in self._running
        ]

    def finish(self, name: str) -> None:
        """A phase has ended; so has what had begun inside of it."""
        names = [phase for phase, _, _ in self._running]
        if name in names:
            del self._running[names.index(name) :]
        if not self._running:
            self._done = 1.0

    @property
    def done(self) -> float:
        """Part of the whole that is done; it never falls."""
        part, width = 0.0, 1.0
        for _, done, steps in self._running:
            width /= steps
            part += min(done, steps - 1) * width
        self._done = max(self._done, part)
        return self._done


def monitor_of(library: ModuleType, bar: Progress) -> Any:
    """TensorRT's monitor of a build, which moves `bar`, of `PARTS` parts.

    Ctrl-C lets the build end early, with no engine, and sets `interrupted`.
    """

    class Monitor(library.IProgressMonitor):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.interrupted = False
            self._phases, self._shown = Phases(), 0
            self._lock = threading.Lock()  # the builder calls from threads of its own

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self._lock:
                self._phases.start(phase_name, num_steps)
            self._show(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._lock:
                self._phases.step(phase_name, step)
            self._show(phase_name)
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._phases.finish(phase_name)
            self._show("")

        def _show(self, note: str) -> None:
            try:
                with self._lock:
                    ahead = int(self._phases.done * PARTS) - self._shown
                    self._shown += ahead
                bar.advance(ahead)
                bar.note(note)
            except KeyboardInterrupt:  # no exception may pass through TensorRT
                self.interrupted = True

    return Monitor()
