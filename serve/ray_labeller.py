"""Labelling on a Ray cluster: Ray Data hands stretches of the listing to a pool of predictors.

Photos are read where they are decoded, so that no pixel crosses the network. Rows come back in
order and this process writes them, as it does with rows of its own: parts, run.json and --resume
are the same, and the machines need no disk in common for the output.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import pickle
import signal
import socket
import sys
import uuid
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from alexnet.child_process import ROOT
from alexnet.console import log, progress
from alexnet.errors import AlexNetError, optional_import
from serve.labeller import Labeller, batch_of
from serve.pipeline import Labelled
from serve.ray_worker import LABELLED, STRETCH, Attempts, Orders, Worker, count, describe
from serve.reading import Place
from serve.records import RowMaker
from serve.shards import is_shard
from serve.stretches import Stretch, stretches
from serve.task import Labelling

_LOCAL = "local"
# Entries that are looked through for shards at once.
_WINDOW = 10_000
# Of a Ray of our own: rows that wait to be written. Ray's default is a third of the memory.
_STORE = 512 * 2**20
# Seconds for a connection to the cluster.
_TIMEOUT = 10
# No reports of its use, and of its log nothing on the terminal: each actor that may be restarted
# gets a line there that calls for nothing.
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}


class RayError(AlexNetError):
    """The cluster can't be reached, or could not do the work."""


@contextmanager
def open_ray_labeller(task: Labelling) -> Iterator[Labeller]:
    """A labeller whose predictors run on the cluster `task.ray`, one for each `task.threads` CPUs
    (one by default) or for each GPU.

    Raises:
        MissingPackageError: Ray is not installed.
        AlexNetError: the cluster can't be reached, or can't run the model.
    """
    assert task.ray is not None
    # Before Ray is imported: it reports its use otherwise, and some settings are read only then.
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    optional_import("pyarrow", extra="ray")
    ray: Any = optional_import("ray", extra="ray")
    optional_import("ray.data", extra="ray")
    with _explained():
        _connect(ray, task.ray)
    try:
        with _explained():
            labeller = _opened(ray, task)
        yield labeller
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    host, colon, port = address.rpartition(":")
    if colon:
        # Ray itself would wait for minutes.
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT).close()
        except (OSError, OverflowError) as error:
            raise RayError(f"No Ray answers at {address}.") from error
    signals = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.getsignal(number) for number in signals]
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _STORE}
    try:
        # Ray lets its workers look for modules in the current folder before all others.
        with _silence(), _no_token(address), contextlib.chdir(ROOT):
            ray.init(
                address=address,
                logging_level=logging.CRITICAL,
                log_to_driver=False,
                **(own if address == _LOCAL else {}),
            )
    finally:
        # Ray ends the process at SIGTERM in its own way; parts are to be kept.
        for number, handler in zip(signals, handlers, strict=True):
            signal.signal(number, handler)


@contextmanager
def _no_token(address: str) -> Iterator[None]:
    """Say what may be wrong where a cluster answers and lets nobody in."""
    try:
        yield
    except (ConnectionError, RuntimeError) as error:
        if address == _LOCAL:
            raise
        where = "on this machine" if address == "auto" else f"at {address}"
        raise RayError(
            f"There is no Ray cluster {where} that lets this process in. Does it ask for a token? "
            "RAY_AUTH_MODE=token in the environment makes Ray send yours."
        ) from error


@contextmanager
def _silence() -> Iterator[None]:
    """Send stderr nowhere: Ray's native part says there that it will say nothing."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _opened(ray: Any, task: Labelling) -> Labeller:
    orders = Orders(task=for_one(task), folder=str(Path.cwd()))
    cpus, gpus = orders.task.threads or 1, int(task.device != "cpu")
    resources = {"num_cpus": cpus, "num_gpus": gpus}
    there: dict[str, float] = ray.cluster_resources()
    room = there.get("CPU", 0) // cpus
    if gpus:
        room = min(room, there.get("GPU", 0))
    if room < 1:
        raise RayError(
            f"A predictor needs {cpus} CPUs and {gpus} GPUs, and the cluster has "
            f"{there.get('CPU', 0):g} and {there.get('GPU', 0):g}."
        )
    with progress("Loading the model", total=None, unit=""):
        rows, batch = ray.get(ray.remote(**resources)(describe).remote(orders))
    log(f"Ray: {int(room)} predictors, {cpus} CPUs each.")
    return RayLabeller(ray, orders, rows, batch=batch, pool=int(room), resources=resources)


def for_one(task: Labelling) -> Labelling:
    """`task` for one of many predictors: a core each, and the batches of a local run."""
    threads = task.threads or 1
    return dataclasses.replace(
        task,
        threads=threads,
        decoders=task.decoders or threads,
        batch=batch_of(task),
        ray=None,
        output=None,
    )


class RayLabeller:
    """A pool of predictors, each an actor of Ray's."""

    def __init__(
        self,
        ray: Any,
        orders: Orders,
        rows: RowMaker,
        *,
        batch: int,
        pool: int,
        resources: dict[str, Any],
    ) -> None:
        """Bind what is known of the cluster; the actors start with `label`."""
        self.rows, self.batch = rows, batch
        self.session: dict[str, Any] = {"ray": {"predictors": pool, **resources}}
        self._ray, self._orders, self._pool, self._resources = ray, orders, pool, resources

    def label(self, entries: Iterable[str], start: Place) -> Generator[Labelled]:
        """See `Labeller`."""
        with _explained():
            yield from self._label(entries, start)

    def _label(self, entries: Iterable[str], start: Place) -> Iterator[Labelled]:
        counted = self._counted(islice(entries, start[0], None))
        work, photos = [], []
        for one in stretches(counted, start=start, batch=self.batch):
            work.append(self._put(one))
            photos.append(one.photos)
        if not work:
            return
        data = self._ray.data
        _calm(data.DataContext.get_current())
        name = f"alexnet-attempts-{uuid.uuid4().hex}"
        attempts = self._ray.remote(num_cpus=0, max_restarts=-1)(Attempts)
        attempts = attempts.options(name=name).remote()  # it lives as long as the name is held
        # An actor whose process died is started again, and what it was doing is done again: that
        # is Ray Data's default.
        done = data.from_arrow_refs(work).map_batches(
            Worker,
            fn_constructor_args=(self._orders, self.rows, name),
            batch_size=None,
            batch_format="pyarrow",
            compute=data.ActorPoolStrategy(size=min(self._pool, len(work))),
            **self._resources,
        )
        tables = done.iter_batches(batch_size=None, batch_format="pyarrow")
        yield from in_order((pickle.loads(c.as_py()) for t in tables for c in t[LABELLED]), photos)

    def _counted(self, entries: Iterable[str]) -> Iterator[tuple[str, int]]:
        """Entries and the number of their photos; shards are counted on the cluster."""
        remote = self._ray.remote(count)
        entries = iter(entries)
        while window := list(islice(entries, _WINDOW)):
            shards = [name for name in window if is_shard(name)]
            counts = iter(self._ray.get([remote.remote(self._orders, name) for name in shards]))
            for name in window:
                yield name, next(counts) if is_shard(name) else 1

    def _put(self, stretch: Stretch) -> Any:
        """Put a stretch into Ray's store, which moves to the disk what memory does not hold."""
        arrow: Any = optional_import("pyarrow", extra="ray")
        cell = arrow.array([pickle.dumps(stretch)], arrow.large_binary())
        return self._ray.put(arrow.table({STRETCH: cell}))


def in_order(
    done: Iterable[tuple[int, Sequence[Labelled]]], photos: Sequence[int]
) -> Iterator[Labelled]:
    """The rows of all stretches, which have to come whole and in their order.

    Args:
        done: number and rows of each stretch, as they come back.
        photos: of each stretch.

    Raises:
        RayError: a row would be lost, doubled or in another's place.
    """
    number = 0
    for found, labelled in done:
        if found != number or number == len(photos) or len(labelled) != photos[number]:
            raise RayError(
                f"Ray gave back {len(labelled):,} rows of piece {found:,} where those of piece "
                f"{number:,} were due: its rows can't be trusted, give the command with --resume."
            )
        yield from labelled
        number += 1
    if number != len(photos):
        raise RayError(
            f"Ray gave back {number:,} pieces of {len(photos):,}: give the command with --resume."
        )


def _calm(context: Any) -> None:
    """Let Ray Data keep the order and say nothing; the bar of a labelling is drawn already."""
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def _explained() -> Iterator[None]:
    """One sentence for what went wrong on the cluster; a sentence of ours as it is."""
    try:
        yield
    except RayError:
        raise
    except Exception as error:
        # What failed in another process arrives as an error of both kinds, with its traceback.
        ours = [one for one in _causes(error) if isinstance(one, AlexNetError)]
        if ours:
            raise ours[-1] from None
        text = str(error).strip().splitlines()
        reason = text[0].rstrip(".:") if text else type(error).__name__
        raise RayError(f"Ray could not do it: {reason}.") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = getattr(error, "cause", None) or error.__cause__
