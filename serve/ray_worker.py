"""What runs in the processes of a Ray cluster: a predictor each, and the counting of shards."""

from __future__ import annotations

import dataclasses
import os
import pickle
from collections import Counter
from contextlib import ExitStack
from typing import Any

from alexnet import __version__
from alexnet.errors import AlexNetError, optional_import
from serve.labeller import open_local_labeller
from serve.records import RowMaker
from serve.shards import count_photos
from serve.stretches import Stretch, label_stretch
from serve.task import Labelling

STRETCH, LABELLED = "stretch", "labelled"
"""The one column of what goes to the predictors, and of what comes back: pickles of ours.

Rows travel as they are; as columns of Arrow, their types would be guessed anew in each stretch.
"""

_ATTEMPTS = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Orders:
    """What every process of the cluster is told."""

    task: Labelling
    """As one predictor is to do it."""
    folder: str
    """The working folder, which relative paths begin at."""
    version: str = __version__

    def enter(self) -> None:
        """Go to the working folder.

        Raises:
            AlexNetError: it is not on this machine, or this is another version of alexnet.
        """
        if self.version != __version__:
            raise AlexNetError(
                f"A machine of the cluster has alexnet {__version__}, and this one has "
                f"{self.version}: install the same on all."
            )
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise AlexNetError(
                f"A machine of the cluster can't enter the folder {self.folder}: photos and models "
                "must have the same paths on all machines."
            ) from error


def describe(orders: Orders) -> tuple[RowMaker, int]:
    """The maker of the rows, and the size of the batches, as a process of the cluster sees them."""
    orders.enter()
    with open_local_labeller(orders.task) as labeller:
        return labeller.rows, labeller.batch


def count(orders: Orders, shard: str) -> int:
    """The photos of a shard."""
    orders.enter()
    return count_photos(shard)


class Attempts:
    """Counts how often each stretch was begun, in one process for the whole cluster."""

    def __init__(self) -> None:
        self._begun: Counter[int] = Counter()

    def begin(self, number: int) -> int:
        """One more time; how often that makes."""
        self._begun[number] += 1
        return self._begun[number]


class Worker:
    """A predictor in a process of its own, which labels one stretch after another."""

    def __init__(self, orders: Orders, rows: RowMaker, attempts: str) -> None:
        """Load the model.

        Args:
            orders: what to do.
            rows: the maker that the rows are expected from.
            attempts: the name of an actor that is an `Attempts`.

        Raises:
            AlexNetError: it can't be loaded here, or is not the one that `rows` names.
        """
        orders.enter()
        self._ray: Any = optional_import("ray", extra="ray")
        self._attempts = self._ray.get_actor(attempts)
        self._open = ExitStack()
        self._labeller = self._open.enter_context(open_local_labeller(orders.task))
        if self._labeller.rows != rows:
            raise AlexNetError(
                f"The machines of the cluster have different models under the name {rows.model}."
            )

    def __call__(self, table: Any) -> Any:
        """Label stretches; tables of Arrow, in and out."""
        arrow: Any = optional_import("pyarrow", extra="ray")
        done = []
        for cell in table[STRETCH]:
            stretch: Stretch = pickle.loads(cell.as_py())
            check_attempts(self._ray.get(self._attempts.begin.remote(stretch.number)), stretch)
            labelled = list(label_stretch(self._labeller, stretch))
            done.append(pickle.dumps((stretch.number, labelled)))
        return arrow.table({LABELLED: arrow.array(done, arrow.large_binary())})


def check_attempts(count: int, stretch: Stretch) -> None:
    """Refuse a stretch that was begun too often.

    Ray begins it anew whenever its process died, without end; a photo that brings down every
    process must not take the run with it in silence.

    Raises:
        AlexNetError: it was begun more than `_ATTEMPTS` times.
    """
    if count > _ATTEMPTS:
        raise AlexNetError(
            f"The process died {_ATTEMPTS} times while it labelled the {stretch.photos} photos "
            f"from {stretch.entries[0]} on: label these alone to find the photo, and leave it out."
        )
