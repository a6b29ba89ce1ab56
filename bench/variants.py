"""What is measured: models on backends in every combination, and what each is compared with."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from alexnet.backends import BACKENDS, BackendError, Mode
from alexnet.checkpoint import save_checkpoint, shipped_model
from alexnet.config import Views
from alexnet.console import log
from alexnet.fresh import fresh_checkpoint
from bench.sessions import COMPILED, Here, Opening, OpenSession, Session


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Lists of which every combination is measured."""

    artifacts: Sequence[Path] = ()
    """Model files; none is the model that ships."""
    backends: Sequence[str] = ("auto",)
    batches: Sequence[int] = (1,)
    views: Sequence[Views | None] = (None,)
    """None is a file's own; of several, an exported file has its own, too."""
    threads: Sequence[int | None] = (None,)
    device: str = "cpu"
    mode: Mode = "latency"
    baseline: bool = True
    """Whether PyTorch eager is measured too."""


@dataclass(frozen=True)
class Variant:
    """One model on one backend with its threads, at one batch size."""

    model: str
    """The file's name; its path, where another file has that name too."""
    backend: Session
    batch: int
    """Photos in one call."""
    threads: int | None
    baseline: int | None
    """Place among the variants of PyTorch eager with the same network, views, threads and batch
    (its own, where it is that); None where no ratio is wanted."""

    @property
    def name(self) -> str:
        """For people, and to find the same variant in another run."""
        threads = "" if self.threads is None else f", threads {self.threads}"
        return (
            f"{self.model} on {self.backend.name}, {self.backend.info.views}, "
            f"batch {self.batch}{threads}"
        )


@contextmanager
def open_variants(
    choices: Choices, *, open_session: OpenSession = Here, shared: bool = True
) -> Iterator[list[Variant]]:
    """Open every artifact on every backend that runs its kind of file; close them in the end.

    PyTorch eager is added where it is wanted and not among them: with a given checkpoint of the
    same network, or else with fresh weights, which run as fast.

    Args:
        choices: what to open.
        open_session: opens a model.
        shared: whether one session serves all batch sizes.

    Raises:
        AlexNetError: a file can't be opened, or none of the backends runs it.
    """
    with ExitStack() as stack:

        def opened(opening: Opening) -> Session:
            session = open_session(opening)
            stack.callback(session.close)
            return session

        measured = [(opening, opened(opening)) for opening in _openings(choices)]
        eager = [one for one in measured if one[1].name == "torch"]
        added: list[tuple[Opening, Session]] = []
        for one in measured if choices.baseline else ():
            if not any(_same(one, other) for other in (*eager, *added)):
                path = _checkpoint_for(one[1], [session for _, session in eager], stack)
                views = one[1].info.views
                opening = replace(one[0], path=path, backend="torch", views=views)
                added.append((opening, opened(opening)))
        order = [*added, *measured]
        base = [_place_of_eager(one, order) if choices.baseline else None for one in order]
        models = _models([session.info.path for _, session in order])
        variants: list[Variant] = []
        for batch in choices.batches:
            start = len(variants)
            for (opening, session), model, place in zip(order, models, base, strict=True):
                ready = session if shared or not start else opened(opening)
                above = None if place is None else start + place
                variants.append(Variant(model, ready, batch, opening.threads, above))
        yield variants


def _openings(choices: Choices) -> Iterator[Opening]:
    for path in choices.artifacts or (shipped_model(),):
        # Only a checkpoint takes any views; what was exported has its own.
        several = len(choices.views) > 1 and path.suffix != BACKENDS["torch"]
        for name, views, threads in product(
            _fitting(path, choices.backends), (None,) if several else choices.views, choices.threads
        ):
            yield Opening(
                path=path,
                backend=name,
                views=views,
                threads=threads,
                device=choices.device,
                mode=choices.mode,
            )


def _fitting(path: Path, backends: Sequence[str]) -> list[str]:
    """Those of `backends` that run files like `path`; one alone is tried whatever it is."""
    if len(backends) == 1:
        return list(backends)
    endings = {**BACKENDS, COMPILED: BACKENDS["torch"], "auto": path.suffix}
    fitting = [name for name in backends if endings.get(name) == path.suffix]
    if not fitting:
        raise BackendError(f"None of the backends {', '.join(backends)} runs {path}.")
    for name in backends:
        if name not in fitting:
            log(f"Left out: {path.name} on {name}, which runs {endings[name]} files.")
    return fitting


def _same(one: tuple[Opening, Session], other: tuple[Opening, Session]) -> bool:
    """Whether they compute the same network on the same views with as many threads."""
    return (
        one[1].info.config == other[1].info.config
        and one[1].info.views == other[1].info.views
        and one[0].threads == other[0].threads
    )


def _place_of_eager(
    one: tuple[Opening, Session], order: Sequence[tuple[Opening, Session]]
) -> int | None:
    for place, other in enumerate(order):
        if other[1].name == "torch" and _same(one, other):
            return place
    return None


def _models(paths: Sequence[Path]) -> list[str]:
    """What each file is called: its name, or its path where another has that name."""
    names = Counter(path.name for path in set(paths))
    return [path.name if names[path.name] == 1 else str(path) for path in paths]


def _checkpoint_for(session: Session, given: Sequence[Session], stack: ExitStack) -> Path:
    """A checkpoint of the session's network: a given one, or a made one with fresh weights."""
    for other in given:
        if other.info.config == session.info.config:
            return other.info.path
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="alexnet-bench-")))
    path = folder / f"{session.info.config.preset}-fresh.safetensors"
    save_checkpoint(fresh_checkpoint(session.info.config, labels=session.info.labels), path)
    return path
