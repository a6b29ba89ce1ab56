"""The compiled probe, bench/probe.c: peaks of multiply-adds and of memory on a CPU."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet.errors import AlexNetError

SOURCE = Path(__file__).with_name("probe.c")
# The name of "this very processor" differs between processors and compilers; none is a last resort.
_TARGETS = (("-march=native",), ("-mcpu=native",), ())
# Runs this near to the best one show that it was no accident.
_NEAR = 0.03
_ENOUGH = 3
# On a busy machine a peak is looked for this many times as long.
_PATIENCE = 4


class NoCompilerError(AlexNetError):
    """There is no C compiler here, or it does not compile the probe."""


@dataclass(frozen=True, kw_only=True)
class Peak:
    """What many short runs reached, in multiply-adds or bytes per second."""

    best: float
    """The fastest run: what disturbs a run can only slow it down."""
    median: float
    runs: int
    near: int
    """Runs within 3 % of the best one."""

    @property
    def confirmed(self) -> bool:
        """Whether the best run was no accident."""
        return self.near >= _ENOUGH


@dataclass(frozen=True, kw_only=True)
class Run:
    """One short run of all threads."""

    seconds: float
    amount: int
    """Multiply-adds or bytes of all threads together."""
    checksum: int
    """Counted by the operations themselves."""


class Probe:
    """The compiled program."""

    def __init__(self, program: Path):
        self._program = program
        self.instructions: dict[str, Any] = json.loads(self._output("describe"))
        """What it multiplies with: `fp32`, `bf16` and `int8` (the latter two where the processor
        has instructions for that: int8 on every x86 since SSSE3), `bits` of a vector, and `tiles`
        where there are matrix units that it does not measure."""

    def runs(self, kind: str, *, threads: int, seconds: float, megabytes: int = 512) -> list[Run]:
        """Run `kind` (`fp32`, `bf16`, `int8`, `read`) over and over, all threads at once.

        `read` reads `megabytes` in all, which should be far more than the caches hold.

        Raises:
            AlexNetError: the probe fails, or did not do all that it was timed for.
        """
        output = self._output(kind, str(threads), f"{seconds:.3f}", str(megabytes))
        runs = []
        for line in output.splitlines():
            duration, amount, checksum = line.split()
            runs.append(Run(seconds=float(duration), amount=int(amount), checksum=int(checksum)))
        if not runs or any(run.checksum != run.amount for run in runs):
            raise AlexNetError(f"The probe left {kind} operations out: its times mean nothing.")
        return runs

    def peak(self, kind: str, *, threads: int, seconds: float) -> Peak:
        """The peak of `kind`, looked for longer where other work disturbs the first runs."""
        rates: list[float] = []
        for _ in range(_PATIENCE):
            runs = self.runs(kind, threads=threads, seconds=seconds)
            rates += [run.amount / run.seconds for run in runs]
            if peak_of(rates).confirmed:
                break
        return peak_of(rates)

    def _output(self, *arguments: str) -> str:
        done = subprocess.run(
            [self._program, *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise AlexNetError(
                f"The probe of this machine's peaks failed on '{' '.join(arguments)}' "
                f"(exit code {done.returncode}). {done.stderr.strip()}".rstrip()
            )
        return done.stdout


def peak_of(rates: Sequence[float]) -> Peak:
    """The peak among rates of at least one run."""
    ordered = sorted(rates)
    best = ordered[-1]
    return Peak(
        best=best,
        median=ordered[len(ordered) // 2],
        runs=len(ordered),
        near=sum(rate >= best * (1 - _NEAR) for rate in ordered),
    )


@contextmanager
def compiled(*options: str) -> Iterator[Probe]:
    """The probe, compiled for this processor into a folder that is removed in the end.

    Compiled with $CC, or the first of cc, gcc and clang that there is.

    Args:
        options: of the compiler that name the instructions, `-march=x86-64-v3` say for AVX2; none:
            all that this processor has.

    Raises:
        NoCompilerError: there is none, or it does not compile the probe.
    """
    compiler = _compiler()
    with tempfile.TemporaryDirectory(prefix="alexnet-probe-") as folder:
        program = Path(folder) / "probe"
        for target in (options,) if options else _TARGETS:
            files = ("-o", os.fspath(program), os.fspath(SOURCE))
            command = [*compiler, "-std=gnu11", "-O3", *target, *files, "-pthread"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                yield Probe(program)
                return
        raise NoCompilerError(
            f"{compiler[0]} does not compile {SOURCE.name}: {done.stderr.strip().splitlines()[:1]}"
        )


def _compiler() -> list[str]:
    named = shlex.split(os.environ.get("CC", ""))
    for command in (named, ["cc"], ["gcc"], ["clang"]):
        if command and shutil.which(command[0]):
            return command
    raise NoCompilerError("There is no C compiler: install gcc or clang, or name one in CC.")
