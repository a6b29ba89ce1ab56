"""`alexnet-label neighbours`: photos of an index that are nearest to query photos, as in [P fig 4].

The rows of a labelling are the index; distances are Euclidean ones of fc7's values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alexnet.checkpoint import shipped_model
from alexnet.console import progress
from alexnet.errors import AlexNetError
from alexnet.files import sha256_of
from serve.feature_index import FeatureIndex, Row
from serve.inputs import Inputs, entries
from serve.labeller import open_local_labeller
from serve.nearest import Nearest
from serve.reading import START
from serve.records import one_line
from serve.task import Labelling


class QueryError(AlexNetError):
    """A query that can't be compared with the index."""


@dataclass(frozen=True)
class Query:
    """A photo to find neighbours of."""

    path: str
    label: str
    """Its best class."""
    row: int | None
    """Its number, where it is a row of the index."""
    features: npt.NDArray[np.float32]
    """(units,)"""


@dataclass(frozen=True)
class Neighbour:
    """A row of the index near a query."""

    row: int
    path: str
    label: str
    distance: float


@dataclass(frozen=True)
class Answer:
    """A query and what is nearest to it, nearest first."""

    query: Query
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True, kw_only=True)
class Runner:
    """What computes the features of query photos."""

    model: Path | None = None
    """None is the model that ships."""
    backend: str = "auto"
    device: str = "cpu"
    threads: int | None = None


def photo_queries(index: FeatureIndex, photos: Sequence[str], runner: Runner) -> list[Query]:
    """Queries by photos: files, folders, globs and whatever else `serve.inputs` takes.

    Raises:
        QueryError: the model is not that of the index, or a photo can't be read.
        AlexNetError: as `FeatureIndex.model`, `entries` and `open_backend`.
    """
    model = index.model()
    path = shipped_model() if runner.model is None else runner.model
    if not path.is_file():
        raise QueryError(f"There is no model {path}.")
    digest = sha256_of(path)
    if digest != model.sha256:
        raise QueryError(
            f"{index.path} was made with {model.name} (SHA-256 {model.sha256[:12]}...), and "
            f"{path} is another model ({digest[:12]}...): name that one with --model."
        )
    inputs = Inputs(arguments=tuple(photos))
    # A graph has its views inside.
    views = model.views if path.suffix == ".safetensors" else None
    task = Labelling(
        inputs=inputs,
        output=None,
        model=path,
        backend=runner.backend,
        views=views,  # type: ignore[arg-type]  # a row says them as text
        device=runner.device,
        threads=runner.threads,
        features=True,
        names=index.has_names,
        top_k=1,
    )
    queries = []
    with (
        open_local_labeller(task, shown=True) as labeller,
        closing(labeller.label(entries(inputs), START)) as labelled,
    ):
        for photo in labelled:
            row = photo.row
            features = row["features"]
            if not isinstance(features, np.ndarray):
                name, reason = one_line(str(row["path"])), one_line(str(row["error_message"]))
                raise QueryError(f"The query {name} has no features: {reason}")
            queries.append(Query(str(row["path"]), str(row["label"]), None, features))
    return queries


def row_queries(index: FeatureIndex, numbers: Sequence[int]) -> list[Query]:
    """Queries by rows of the index itself; each is its own nearest neighbour, at distance 0.

    Raises:
        IndexFileError: there is no such row, or it has no features.
    """
    rows = index.look_up(numbers)
    return [
        Query(rows[number].path, rows[number].label, number, features)
        for number, features in zip(numbers, index.features(numbers), strict=True)
    ]


def find(index: FeatureIndex, queries: Sequence[Query], count: int) -> list[Answer]:
    """The `count` rows nearest to each query, all queries in one reading of the index.

    Raises:
        IndexFileError: the index is damaged.
        QueryError: queries and index have different numbers of features.
    """
    search = Nearest(np.stack([query.features for query in queries]), count)
    units = len(queries[0].features)
    with progress("Searching", total=index.rows, unit="rows") as bar:
        last = -1
        for rows, features in index.blocks():
            if features.shape[1] != units:
                raise QueryError(
                    f"{index.path} has {features.shape[1]} features in a row, and the queries "
                    f"have {units}."
                )
            search.add(rows, features)
            bar.advance(int(rows[-1]) - last)
            last = int(rows[-1])
    found = search.found()
    known = index.look_up({int(row) for one in found for row in one.rows})
    return [
        Answer(query, tuple(_neighbours(one.rows.tolist(), one.distances.tolist(), known)))
        for query, one in zip(queries, found, strict=True)
    ]


def _neighbours(
    rows: Iterable[int], distances: Iterable[float], known: dict[int, Row]
) -> list[Neighbour]:
    return [
        Neighbour(row, known[row].path, known[row].label, distance)
        for row, distance in zip(rows, distances, strict=True)
    ]
