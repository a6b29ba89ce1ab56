"""An index of fc7 features: the Parquet files of a labelling, never in memory as a whole."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.errors import AlexNetError, optional_import

FEATURES = "features"
# Rows in memory at once, besides those that are being read: 16 MB of 4096 features.
_BLOCK = 1024
_PATHS = ("path", "filename")
_WORDNET = re.compile(r"n\d{8}")
_MODEL = ("model", "model_sha256", "views")


class IndexFileError(AlexNetError):
    """A file or folder that is no index of features."""


@dataclass(frozen=True)
class Model:
    """What the features were computed by."""

    name: str
    sha256: str
    views: str


@dataclass(frozen=True)
class Row:
    """What is known of a row."""

    path: str
    label: str


@dataclass(frozen=True)
class _Part:
    """A Parquet file of the index."""

    path: Path
    groups: tuple[int, ...]
    """Rows of each of its row groups."""


class FeatureIndex:
    """The rows of a labelling with `--features`, numbered from 0 over all its files."""

    def __init__(self, path: Path) -> None:
        """Open a Parquet file, or a folder of parts.

        Raises:
            IndexFileError: there is none, or it has no features.
            MissingPackageError: pyarrow is not installed.
        """
        self.path = path
        self._parquet: Any = optional_import("pyarrow.parquet", extra="parquet")
        self._parts: list[_Part] = []
        self.rows = 0
        names: list[str] = []
        for file in _files(path):
            with self._opened(file) as table:
                names = names or table.schema_arrow.names
                self._parts.append(self._part(file, table))
            self.rows += sum(self._parts[-1].groups)
        self._path_column = next((name for name in _PATHS if name in names), None)
        self._label_column = next((name for name in names if name.startswith("label")), None)

    @property
    def folder(self) -> Path:
        """Where relative paths begin, as far as the run says; else the current folder."""
        try:
            said = json.loads((self.path / "run.json").read_text("utf-8"))
            return Path(said["working_folder"])
        except (OSError, ValueError, KeyError, TypeError):
            return Path()

    @property
    def has_names(self) -> bool:
        """Whether its classes are written for people, and not as WordNet ids."""
        rows = self.look_up(range(min(self.rows, 100)))
        return not any(_WORDNET.fullmatch(row.label) for row in rows.values())

    def model(self) -> Model:
        """The one model of all rows.

        Raises:
            IndexFileError: the rows do not say it, or name several.
        """
        found: set[tuple[str, ...]] = set()
        for part in self._parts:
            with self._opened(part.path) as file:
                if not set(_MODEL) <= set(file.schema_arrow.names):
                    raise IndexFileError(
                        f"{self.path} does not say which model its features are from (timm's "
                        "columns do not): ask for neighbours of its own rows, with --query-rows."
                    )
                for group in range(file.num_row_groups):
                    batch = file.read_row_group(group, columns=list(_MODEL))
                    cells = (batch.column(name).to_pylist() for name in _MODEL)
                    found |= set(zip(*cells, strict=True))
        if len(found) != 1:
            raise IndexFileError(
                f"{self.path} has features of {len(found)} models, whose distances mean nothing: "
                "label all photos with one."
            )
        return Model(*found.pop())

    def blocks(self) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """Numbers (N,) and features (N, units) of the rows that have some, read a block ahead.

        Raises:
            IndexFileError: the rows have different numbers of features.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="alexnet-read-index") as reader:
            source, units = self._blocks(), 0
            coming: Future[Any] = reader.submit(next, source, None)
            while (block := coming.result()) is not None:
                coming = reader.submit(next, source, None)
                units = units or block[1].shape[1]
                if block[1].shape[1] != units:
                    raise IndexFileError(f"{self.path} has rows of different numbers of features.")
                yield block

    def features(self, numbers: Sequence[int]) -> npt.NDArray[np.float32]:
        """The features of some rows, (rows, units).

        Raises:
            IndexFileError: there is no such row, or it has no features.
        """
        found = self._cells(numbers, [FEATURES])
        for number, (cell,) in found.items():
            if cell is None:
                raise IndexFileError(f"Row {number} of {self.path} has no features: it failed.")
        return np.array([found[number][0] for number in numbers], dtype=np.float32)

    def look_up(self, numbers: Iterable[int]) -> dict[int, Row]:
        """Path and best class of some rows."""
        columns = [name for name in (self._path_column, self._label_column) if name]
        return {
            number: Row(
                path=str(cells[0]) if self._path_column else f"row {number}",
                label=str(cells[-1] or "") if self._label_column else "",
            )
            for number, cells in self._cells(list(numbers), columns).items()
        }

    @contextmanager
    def _opened(self, path: Path) -> Iterator[Any]:
        """A part, open only while it is read: a folder may have more than can be open at once."""
        # Opened here: pyarrow takes no name with a byte that is not UTF-8.
        with path.open("rb") as source:
            try:
                file = self._parquet.ParquetFile(source)
            except (OSError, ValueError) as error:
                raise IndexFileError(
                    f"{path} is not a whole Parquet file: neighbours are looked for in what "
                    "`alexnet-label --features -o labels.parquet` wrote."
                ) from error
            with file:
                yield file

    def _part(self, path: Path, file: Any) -> _Part:
        if FEATURES not in file.schema_arrow.names:
            raise IndexFileError(f"{path} has no column '{FEATURES}': label with --features.")
        groups = range(file.num_row_groups)
        return _Part(path, tuple(file.metadata.row_group(group).num_rows for group in groups))

    def _blocks(self) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        compute: Any = optional_import("pyarrow.compute", extra="parquet")
        first = 0
        for column in self._columns():
            rows = first + np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
            first += len(column)
            if not len(rows):
                continue
            lengths = compute.unique(compute.list_value_length(column.drop_null())).to_pylist()
            values = column.flatten().to_numpy(zero_copy_only=False)
            if len(lengths) != 1 or not lengths[0]:
                raise IndexFileError(f"{self.path} has rows of different numbers of features.")
            yield rows, values.astype(np.float32, copy=False).reshape(len(rows), lengths[0])

    def _columns(self) -> Iterator[Any]:
        """The features of all parts, block by block."""
        for part in self._parts:
            with self._opened(part.path) as file:
                # Of one group after another: asked for all, pyarrow reads ahead without a limit.
                for group in range(file.num_row_groups):
                    for batch in file.iter_batches(_BLOCK, row_groups=[group], columns=[FEATURES]):
                        yield batch.column(0)

    def _cells(self, numbers: Sequence[int], columns: list[str]) -> dict[int, list[Any]]:
        """Some columns of some rows; of the files only the row groups that hold them are read."""
        for number in numbers:
            if not 0 <= number < self.rows:
                raise IndexFileError(
                    f"{self.path} has the rows 0 to {self.rows - 1:,}, and no row {number}."
                )
        wanted, start = sorted(set(numbers)), 0
        found: dict[int, list[Any]] = {}
        for part in self._parts:
            end = start + sum(part.groups)
            here = wanted[bisect_left(wanted, start) : bisect_left(wanted, end)]
            if here:
                with self._opened(part.path) as file:
                    found |= _read_cells(file, part.groups, start, here, columns)
            start = end
        return found


def _read_cells(
    file: Any, groups: Sequence[int], start: int, wanted: Sequence[int], columns: list[str]
) -> dict[int, list[Any]]:
    """Some columns of some rows of a part, whose first row is number `start`."""
    found: dict[int, list[Any]] = {}
    for group, rows in enumerate(groups):
        here = wanted[bisect_left(wanted, start) : bisect_left(wanted, start + rows)]
        if here:
            table = file.read_row_group(group, columns=columns)
            cells = [table.column(name) for name in columns]
            for number in here:
                found[number] = [column[number - start].as_py() for column in cells]
        start += rows
    return found


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.is_file():
            raise IndexFileError(f"There is no file or folder {path}.")
        return [path]
    run = path / "run.json"
    if run.is_file() and '"state": "finished"' not in run.read_text("utf-8"):
        raise IndexFileError(f"The labelling in {path} is unfinished: give it once more, --resume.")
    files = sorted(path.glob("*.parquet"), key=_order)
    if not files:
        raise IndexFileError(f"There are no Parquet files in {path}.")
    return files


def _order(path: Path) -> tuple[int, str]:
    """Parts in the order of their numbers, which have more digits from 100,000 on."""
    number = re.fullmatch(r"part-(\d+)\.parquet", path.name)
    return (int(number[1]) if number else 0, path.name)
