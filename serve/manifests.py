"""Tables that list photos: CSV or Parquet with a column of paths, read row by row."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from alexnet.errors import optional_import
from alexnet.photo_error import PhotoError
from serve.folders import InputError
from serve.remote import is_url, open_url

_ROWS = 10_000
# Characters of a cell: a caption or an embedded thumbnail may stand beside the path. The csv
# module's own limit is 131,072, and without one a lost quote would read the whole table at once.
_LONGEST_CELL = 2**24


def manifest_paths(manifest: str, column: str) -> Iterator[str]:
    """The paths and URLs in a column of a table, in its order.

    A relative path begins at the table's folder. `.parquet` and `.pq` files are Parquet, `.tsv`
    has tabs between its cells, and every other file is CSV in UTF-8 with a line of names.

    Args:
        manifest: a path or URL.
        column: the name of the column.

    Raises:
        InputError: the table can't be read, has no such column, or a cell of it is empty.
    """
    if Path(manifest).suffix.lower() in (".parquet", ".pq"):
        cells = _parquet_cells(manifest, column)
    else:
        cells = _csv_cells(manifest, column)
    for number, cell in cells:
        if not cell:
            raise InputError(f"{manifest} has no {column} in {number}.")
        yield _beside(manifest, cell)


def _beside(manifest: str, path: str) -> str:
    if is_url(path):
        return path
    if is_url(manifest):
        root = manifest[: manifest.rindex("/") + 1]
        return root + path.lstrip("/")
    return os.fspath(Path(manifest).parent / path)


def _open(manifest: str) -> IO[bytes]:
    try:
        return open_url(manifest) if is_url(manifest) else Path(manifest).open("rb")
    except PhotoError as error:
        raise InputError(f"The manifest can't be read: {error}") from error
    except OSError as error:
        raise InputError(f"The manifest {manifest} can't be read: {error.strerror}.") from error


def _csv_cells(manifest: str, column: str) -> Iterator[tuple[str, str | None]]:
    with _open(manifest) as file:
        # Bytes that are not UTF-8 may be part of a path.
        text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
        delimiter = "\t" if manifest.lower().endswith(".tsv") else ","
        rows = csv.DictReader(text, delimiter=delimiter, strict=True)
        csv.field_size_limit(max(_LONGEST_CELL, csv.field_size_limit()))
        try:
            _check_column(manifest, column, list(rows.fieldnames or []))
            for row in rows:
                yield f"line {rows.line_num}", row[column]
        except (csv.Error, OSError) as error:
            raise InputError(
                f"{manifest} can't be read as CSV, line {rows.line_num}: {error}."
            ) from error


def _parquet_cells(manifest: str, column: str) -> Iterator[tuple[str, str | None]]:
    arrow: Any = optional_import("pyarrow", extra="parquet")
    parquet: Any = optional_import("pyarrow.parquet", extra="parquet")
    number = 0
    with _open(manifest) as file:
        try:
            table = parquet.ParquetFile(file)
            _check_column(manifest, column, table.schema_arrow.names)
            kind = table.schema_arrow.field(column).type
            if arrow.types.is_dictionary(kind):
                kind = kind.value_type
            if not (arrow.types.is_string(kind) or arrow.types.is_large_string(kind)):
                raise InputError(f"The column {column} of {manifest} holds {kind}, not text.")
            for batch in table.iter_batches(_ROWS, columns=[column]):
                for cell in batch.column(0).to_pylist():
                    number += 1
                    yield f"row {number}", cell
        except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise InputError(f"{manifest} can't be read as Parquet: {error}") from error


def _check_column(manifest: str, column: str, found: list[str]) -> None:
    if column not in found:
        names = ", ".join(found[:20]) or "none"
        raise InputError(
            f"{manifest} has no column {column}: its columns are {names}. "
            "Name one with --path-column."
        )
