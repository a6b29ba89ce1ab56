"""What is measured: model files on backends at batch sizes, and what each is compared with."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from alexnet.backends import BACKENDS, Backend, BackendError, open_backend
from alexnet.checkpoint import save_checkpoint, shipped_model
from alexnet.config import Views
from alexnet.console import log
from alexnet.fresh import fresh_checkpoint


@dataclass(frozen=True)
class Variant:
    """One model on one backend at one batch size."""

    model: str
    """The file's name; its path, where another file has that name too."""
    backend: Backend
    batch: int
    """Photos in one call."""
    baseline: int | None
    """Place among the variants of PyTorch eager with the same network, views and batch (its own,
    where it is that); None where no ratio is wanted."""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.model} on {self.backend.name}, batch {self.batch}"


@contextmanager
def open_variants(
    artifacts: Sequence[Path],
    backends: Sequence[str],
    batches: Sequence[int],
    *,
    views: Views | None = None,
    threads: int | None = None,
    device: str = "cpu",
    baseline: bool = True,
) -> Iterator[list[Variant]]:
    """Open every artifact on every backend that runs its kind of file; close them in the end.

    No artifact means the model that ships. With `baseline`, PyTorch eager is added at every batch
    size where it is not among them: with a given checkpoint of the same network, or else with fresh
    weights, which run as fast.

    Raises:
        AlexNetError: a file can't be opened, or none of the backends runs it.
    """
    with ExitStack() as stack:

        def opened(path: Path, name: str, views: Views | None) -> Backend:
            backend = open_backend(path, backend=name, views=views, threads=threads, device=device)
            stack.callback(backend.close)
            return backend

        measured = [
            opened(path, name, views)
            for path in artifacts or (shipped_model(),)
            for name in _fitting(path, backends)
        ]
        eager: list[Backend] = []
        for backend in measured if baseline else ():
            if not any(_same(backend, other) for other in eager):
                given = [other for other in measured if other.name == "torch"]
                found = next((other for other in given if _same(backend, other)), None)
                if found is None:
                    path = _checkpoint_for(backend, given, stack)
                    found = opened(path, "torch", backend.info.views)
                eager.append(found)
        yield _in_order(measured, eager, batches)


def _in_order(
    measured: Sequence[Backend], eager: Sequence[Backend], batches: Sequence[int]
) -> list[Variant]:
    """For each batch size: the baselines that were added, then what was asked for, in its order."""
    added = [backend for backend in eager if all(backend is not other for other in measured)]
    files = {backend.info.path for backend in (*added, *measured)}
    names = Counter(path.name for path in files)
    variants: list[Variant] = []
    for batch in batches:
        start = len(variants)
        order = [*added, *measured]
        place = {id(backend): start + n for n, backend in enumerate(order)}
        for backend in order:
            base = next((place[id(other)] for other in eager if _same(backend, other)), None)
            path = backend.info.path
            model = path.name if names[path.name] == 1 else str(path)
            variants.append(Variant(model, backend, batch, base))
    return variants


def _fitting(path: Path, backends: Sequence[str]) -> list[str]:
    """Those of `backends` that run files like `path`; one alone is tried whatever it is."""
    if len(backends) == 1:
        return list(backends)
    fitting = [name for name in backends if BACKENDS.get(name) == path.suffix]
    if not fitting:
        raise BackendError(f"None of the backends {', '.join(backends)} runs {path}.")
    for name in backends:
        if name not in fitting:
            log(f"Left out: {path.name} on {name}, which runs {BACKENDS[name]} files.")
    return fitting


def _same(one: Backend, other: Backend) -> bool:
    """Whether they compute the same network on the same views."""
    return one.info.config == other.info.config and one.info.views == other.info.views


def _checkpoint_for(backend: Backend, given: Sequence[Backend], stack: ExitStack) -> Path:
    """A checkpoint of the backend's network: a given one, or a made one with fresh weights."""
    for other in given:
        if other.info.config == backend.info.config:
            return other.info.path
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="alexnet-bench-")))
    path = folder / f"{backend.info.config.preset}-fresh.safetensors"
    save_checkpoint(fresh_checkpoint(backend.info.config, labels=backend.info.labels), path)
    return path
