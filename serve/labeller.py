"""What turns a listing into rows: a model of this process, or the predictors of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Protocol

from alexnet.backends import BackendError, open_backend, warm_up
from alexnet.console import log, progress
from alexnet.errors import AlexNetError
from alexnet.machine import share_cores
from alexnet.photo import Photo, PhotoError
from alexnet.photo_error import needing_memory
from alexnet.predictor import Prediction, Predictor
from serve.formats import check_schema
from serve.pipeline import Answers, Labelled
from serve.reading import Place, items
from serve.records import RowMaker
from serve.task import Labelling


class Labeller(Protocol):
    """Labels photos with one model."""

    rows: RowMaker
    batch: int
    """Photos that the model gets at once."""
    session: dict[str, Any]
    """What run.json says of where the work is done, besides this machine."""

    def label(self, entries: Iterable[str], start: Place) -> Generator[Labelled]:
        """The rows of the photos of a listing from `start` on, in order; to be closed.

        Raises:
            AlexNetError: memory is short, or the backend or the cluster fails.
        """
        ...


class LocalLabeller:
    """A model of this process. Reading, decoding and running overlap."""

    def __init__(self, predictor: Predictor, rows: RowMaker, *, readers: int) -> None:
        """Bind them; the predictor's backend stays the caller's to close."""
        self.rows, self.batch = rows, predictor.batch
        self.session: dict[str, Any] = {}
        self._predictor, self._readers = predictor, readers

    def label(self, entries: Iterable[str], start: Place) -> Generator[Labelled]:
        """See `Labeller`."""
        source = items(entries, start=start, readers=self._readers)
        answers = Answers(source, self._predictor, self.rows, readers=self._readers)
        with needing_memory(), closing(answers):
            for item, prediction in answers:
                row = self.rows.row(item.path, prediction)
                failed = prediction.error is not None
                yield Labelled(row, failed, item.next, item.folders)


class _Predictor(Predictor):
    """One whose backend may fail: a sentence ends the run then, and its parts are kept."""

    def run(self, loaded: Sequence[Photo | PhotoError], **options: Any) -> list[Prediction]:
        """See `Predictor.run`."""
        try:
            return super().run(loaded, **options)
        except (AlexNetError, MemoryError):
            raise
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise BackendError(
                f"{self.backend.name} failed with a batch of {len(loaded)} photos: {reason}."
            ) from error


@contextmanager
def open_labeller(task: Labelling) -> Iterator[Labeller]:
    """What does the work of `task`, ready to run.

    Raises:
        AlexNetError: the model can't be run, the output can't hold the rows, or Ray can't be used.
    """
    if task.ray is not None:
        from serve.ray_labeller import open_ray_labeller  # its package is an extra

        with open_ray_labeller(task) as labeller:
            _check(labeller, task)
            yield labeller
        return
    with open_local_labeller(task, explain=log, shown=True) as labeller:
        _check(labeller, task)
        yield labeller


@contextmanager
def open_local_labeller(
    task: Labelling, *, explain: Callable[[str], object] | None = None, shown: bool = False
) -> Iterator[Labeller]:
    """A labeller of this process.

    Args:
        task: what to open.
        explain: as in `open_backend`.
        shown: whether a terminal shows that the model is loading.

    Raises:
        AlexNetError: the model can't be run.
    """
    with progress("Loading the model", total=None, unit="", shown=shown):
        share_cores()
        backend = open_backend(
            task.model,
            backend=task.backend,
            views=task.views,
            threads=task.threads,
            device=task.device,
            mode=task.mode,
            explain=explain,
        )
        predictor = _Predictor(
            backend,
            decoders=task.decoders,
            batch=batch_of(task),
            fast=task.fast,
            max_pixels=task.max_pixels,
        )
        warm_up(backend, batches=(predictor.batch,))
    with closing(backend):
        rows = RowMaker.of(
            backend,
            top_k=_top_k(task.top_k, classes=len(backend.info.labels)),
            names=task.names,
            naming=task.naming,
            probabilities=task.probabilities,
            features=task.features,
        )
        yield LocalLabeller(predictor, rows, readers=task.readers)


def batch_of(task: Labelling) -> int:
    """Photos that the model gets at once.

    As many for one command on every machine and on a cluster: rows differ in their last digits with
    the photos beside them, and a run may be resumed elsewhere. 4 where batches run side by side,
    which already read the weights of fully connected layers once for 40 crops, else 16.
    """
    if task.batch is not None:
        return task.batch
    side_by_side = task.device == "cpu" and task.mode == "throughput" and task.threads != 1
    return 4 if side_by_side else 16


def _check(labeller: Labeller, task: Labelling) -> None:
    format = task.format if task.output is None else task.output.format
    check_schema(labeller.rows.schema, format)


def _top_k(wanted: int | None, *, classes: int) -> int:
    if wanted is None:
        return min(5, classes)
    if wanted > classes:
        raise AlexNetError(f"The model has {classes} classes: --top-k can be {classes} at most.")
    return wanted
