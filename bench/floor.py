"""`alexnet-bench floor`: the least time that a network can take on this machine, and the peaks.

The floor is the multiply-adds of all its full crops at the measured peak of the precision: no time
for memory, normalisation or pooling. An implementation that computes what crops share only once can
be faster than that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from alexnet.config import Config, Views
from alexnet.console import log, progress
from alexnet.geometry import layers, totals
from alexnet.machine import cores
from alexnet.views import views_of
from bench.conditions import conditions
from bench.probe import NoCompilerError, Peak, compiled

SECONDS = 0.5
"""For each peak, more where the machine is busy."""
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
"""Of a weight, by precision."""
CPU_PRECISIONS = ("fp32", "bf16", "int8")
"""Those in which networks are computed on CPUs."""
FEWER_CORES = 0.9
"""All cores that reach less than this part of what one core did have been disturbed."""


@dataclass(frozen=True, kw_only=True)
class Floor:
    """What this machine can do at most."""

    device: str
    cores: int
    """Of the CPU that were measured together."""
    how: str
    """What measured, and by which instructions, in words."""
    exact: bool
    """False: the peaks are lower bounds, and true floors lie below the ones given here."""
    one: Mapping[str, Peak]
    """Multiply-adds per second of one core (a GPU: all of it), by precision."""
    all: Mapping[str, Peak]
    """The same of all cores together."""
    read_one: Peak
    """Bytes per second from memory to one core; of a GPU read and written by a copy."""
    read_all: Peak
    """The same for all cores together."""

    def rate(self, precision: str, *, threads: int | None = None) -> float | None:
        """Multiply-adds per second of `threads` cores (None: all).

        bf16 and float16 without instructions of their own are computed as float32, and have its
        rate. So has what was measured to be slower: float32 holds every value of theirs. int8 that
        was not measured has None: other instructions than float32's multiply it, and faster.
        """
        rates = [
            self._rate(name, threads)
            for name in dict.fromkeys((precision, "fp32"))
            if name in self.all
        ]
        return None if precision == "int8" and precision not in self.all else max(rates)

    def _rate(self, name: str, threads: int | None) -> float:
        one = self.one[name].best
        together = max(self.all[name].best, one)  # one core's peak is within all cores' reach
        if threads is None or threads >= self.cores:
            return together
        return min(together, threads * one)

    def milliseconds(
        self, macs: float, precision: str, *, threads: int | None = None
    ) -> float | None:
        """The time for `macs` multiply-adds at the peak of `precision`; None as in `rate`."""
        rate = self.rate(precision, threads=threads)
        return None if rate is None else 1000 * macs / rate

    def note(self, precision: str) -> str | None:
        """What a floor of this precision is not, in words; None where its peak was measured."""
        if precision in self.all:
            return None
        if precision == "int8":
            return "int8 was not measured"
        return f"no {precision} instructions: the floor of float32"

    def with_weights(self, config: Config, crops: int, precision: str) -> float | None:
        """The time for one photo, in milliseconds, where weights come from memory.

        Convolutions at the peak; each fully connected layer at the peak or as fast as its weights
        are read, whichever is slower. They are too large for most caches. None as in `rate`.
        """
        time = 0.0
        for layer in layers(config):
            compute = self.milliseconds(crops * layer.macs, precision)
            if compute is None:
                return None
            if layer.kind == "full":
                size = layer.weights * BYTES[precision]
                compute = max(compute, 1000 * size / self.read_all.best)
            time += compute
        return time


def measure(device: str = "cpu", *, seconds: float = SECONDS) -> Floor:
    """Measure the peaks of this machine, about five seconds of work for all its cores.

    On a CPU by a small program that is compiled now; without a C compiler, and on a GPU, by
    PyTorch's matrix products.

    Raises:
        AlexNetError: the device is not there, or the program fails.
    """
    count = cores()
    if device == "cpu":
        try:
            return _by_probe(count, seconds)
        except NoCompilerError as error:
            log(f"{error} Measured by PyTorch instead: a lower bound of the peaks.")
    else:
        from alexnet.backends.base import BackendError, cuda_index
        from bench.conditions import gpu_model

        if cuda_index(device) is not None and gpu_model(device) is None:
            raise BackendError(f"PyTorch finds no '{device}' here: take cpu.")
    return _by_torch(device, count, seconds)


def _by_probe(count: int, seconds: float) -> Floor:
    with compiled() as probe:
        kinds = [name for name in CPU_PRECISIONS if name in probe.instructions]
        peaks: dict[int, dict[str, Peak]] = {1: {}, count: {}}
        with progress("Measuring peaks", total=len(peaks) * (len(kinds) + 1), unit="") as bar:
            for threads, found in peaks.items():
                for kind in (*kinds, "read"):
                    found[kind] = probe.peak(kind, threads=threads, seconds=seconds)
                    bar.advance()
        words = probe.instructions
        how = "compiled probe: " + ", ".join(f"{kind} by {words[kind]}" for kind in kinds)
        how += f", vectors of {words['bits']} bits"
        if "tiles" in words:
            how += f"; its matrix units ({words['tiles']}) are not measured, and are faster"
    return Floor(
        device="cpu",
        cores=count,
        how=how,
        exact="tiles" not in words,
        one={kind: peaks[1][kind] for kind in kinds},
        all={kind: peaks[count][kind] for kind in kinds},
        read_one=peaks[1]["read"],
        read_all=peaks[count]["read"],
    )


def _by_torch(device: str, count: int, seconds: float) -> Floor:
    from bench.probe_torch import torch_peaks

    with progress("Measuring peaks", total=None, unit=""):
        everything, read_all = torch_peaks(device, threads=count, seconds=seconds)
        one, read_one = everything, read_all
        if device == "cpu" and count > 1:
            one, read_one = torch_peaks(device, threads=1, seconds=seconds)
    return Floor(
        device=device,
        cores=count if device == "cpu" else 1,
        how="PyTorch's matrix products and copies",
        exact=False,
        one=one,
        all=everything,
        read_one=read_one,
        read_all=read_all,
    )


def floor(networks: Sequence[tuple[str, Config]], *, device: str = "cpu") -> dict[str, Any]:
    """Measure, and return peaks and floors of named networks as JSON values."""
    machine = conditions(device)
    found = measure(device, seconds=SECONDS)
    reasons = why_invalid(found)
    return {
        "benchmark": "floor",
        "verdict": "INVALID" if reasons else "VALID",
        "reasons": reasons,
        "machine": machine,
        "device": device,
        "how": found.how,
        "exact": found.exact,
        "peaks": peak_rows(found),
        "results": [
            network_row(found, name, config, views=views, precision=precision)
            for name, config in networks
            for views in ("ten", "centre")
            for precision in (CPU_PRECISIONS if device == "cpu" else found.all)
        ],
    }


def why_invalid(floor: Floor) -> list[str]:
    """Sentences that say why the peaks should not be relied on; none where they can be."""
    measured = {"memory": (floor.read_one, floor.read_all)}
    measured |= {name: (floor.one[name], floor.all[name]) for name in floor.all}
    reasons = []
    for name, (one, everything) in measured.items():
        for peak, who in {one: "one core", everything: f"{floor.cores} cores"}.items():
            who = who if floor.device == "cpu" else floor.device
            if not peak.confirmed:
                reasons.append(
                    f"{name}, {who}: only {peak.near} of {peak.runs} runs came within 3% of the "
                    "best, so that the peak may be higher: measure on a quieter machine."
                )
        if everything.best < FEWER_CORES * one.best:
            reasons.append(
                f"{name}: {floor.cores} cores reached less than one core did: something else ran."
            )
    return reasons


def network_row(
    floor: Floor, name: str, config: Config, *, views: Views, precision: str
) -> dict[str, Any]:
    """The floor of one photo for a network, on all cores, in milliseconds."""
    crops = len(views_of(config.input, views))
    macs = crops * totals(config).macs
    return {
        "name": f"{name}, {views}, {precision}",
        "model": name,
        "views": views,
        "crops_per_photo": crops,
        "precision": precision,
        "gmacs": macs / crops / 1e9,
        "floor_ms": floor.milliseconds(macs, precision),
        "with_weights_ms": floor.with_weights(config, crops, precision),
        "floor_note": floor.note(precision),
    }


def peak_rows(floor: Floor) -> list[dict[str, Any]]:
    """The peaks as JSON values, one core's first."""
    rows: list[dict[str, Any]] = []
    for count, peaks, read in (
        (1, floor.one, floor.read_one),
        (floor.cores, floor.all, floor.read_all),
    ):
        if rows and floor.cores == 1:
            break
        for name, peak in peaks.items():
            rows.append({"name": name, "cores": count, "unit": "multiply-adds/s", **asdict(peak)})
        rows.append({"name": "memory", "cores": count, "unit": "bytes/s", **asdict(read)})
    return rows
