"""Tables that list photos: CSV or Parquet with a column of paths, read row by row."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

from alexnet.errors import optional_import
from alexnet.photo_error import PhotoError
from serve.folders import InputError
from serve.remote import is_url, local_path, open_url
from serve.web import is_web

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
"""What may stand between a table's cells, by a name that a shell leaves alone."""

_ROWS = 10_000
# Characters of a cell: a caption or an embedded thumbnail may stand beside the path. The csv
# module's own limit is 131,072, and without one a lost quote would read the whole table at once.
_LONGEST_CELL = 2**24
# Excel's first line, which says what stands between the cells and is no row.
_SEP = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
# What a spreadsheet's row without any cell filled holds.
_EMPTY = ' \t\r\n,;|"'
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}


def manifest_paths(manifest: str, column: str, *, delimiter: str | None = None) -> Iterator[str]:
    """The paths and URLs in a column of a table, in its order.

    A relative path begins at the table's folder. `.parquet` and `.pq` files are Parquet, and every
    other file is CSV with a line of names: in UTF-8, or in UTF-16 or UTF-32 where a byte-order mark
    or the zeros between its letters say so. Rows without any cell filled, which spreadsheets write,
    are passed over.

    Args:
        manifest: a path or URL.
        column: the name of the column.
        delimiter: what stands between the cells of a CSV; None: what Excel's line `sep=` says, else
            tab, semicolon, bar or comma, whichever parts the line of names into most.

    Raises:
        InputError: the table can't be read, has no such column or several, or a row of it has no
            path.
    """
    manifest = local_path(manifest) or manifest
    if is_parquet(manifest):
        cells = _parquet_cells(manifest, column)
    else:
        cells = _csv_cells(manifest, column, delimiter)
    for number, cell in cells:
        if not cell:
            raise InputError(f"{manifest} has no {column} in {number}.")
        yield _beside(manifest, cell)


def is_parquet(manifest: str) -> bool:
    """Whether a table of this name is read as Parquet."""
    return _ending(manifest) in (".parquet", ".pq")


def _without_query(manifest: str) -> str:
    return re.split("[?#]", manifest)[0] if is_web(manifest) else manifest


def _ending(manifest: str) -> str:
    return Path(_without_query(manifest)).suffix.lower()


def _beside(manifest: str, path: str) -> str:
    if is_url(path):
        return path
    if is_url(manifest):
        where = _without_query(manifest)
        return where[: where.rindex("/") + 1] + path.lstrip("/")
    return os.fspath(Path(manifest).parent / path)


def _open(manifest: str) -> IO[bytes]:
    try:
        return open_url(manifest) if is_url(manifest) else Path(manifest).open("rb")
    except PhotoError as error:
        raise InputError(f"The manifest can't be read: {error}") from error
    except OSError as error:
        raise InputError(f"The manifest {manifest} can't be read: {error.strerror}.") from error


def encoding_of(head: bytes) -> str:
    """The encoding of a text that begins with `head`, its byte-order mark left out by the codec."""
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding
    # Two letters of ASCII in UTF-16 have a zero each; no text in UTF-8 holds one.
    if head[1:4:2] == b"\0\0" and head[0:1] != b"\0":
        return "utf-16-le"
    if head[0:3:2] == b"\0\0" and head[1:2] != b"\0":
        return "utf-16-be"
    return "utf-8"


def _csv_cells(
    manifest: str, column: str, delimiter: str | None
) -> Iterator[tuple[str, str | None]]:
    with _open(manifest) as raw, io.BufferedReader(cast(io.RawIOBase, raw)) as file:
        encoding = encoding_of(file.peek(4)[:4])
        # Bytes that are not UTF-8 may be part of a path.
        errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
        text = io.TextIOWrapper(file, encoding, errors=errors, newline="")
        csv.field_size_limit(max(_LONGEST_CELL, csv.field_size_limit()))
        line = 0
        try:
            names, rows, skipped = _header(
                text, column, delimiter, tabs=_ending(manifest) == ".tsv"
            )
            _check_column(manifest, column, names)
            place, line = names.index(column), rows.line_num + skipped
            for row in rows:
                line = rows.line_num + skipped
                if not any(map(str.strip, row)):
                    continue
                if any(map(str.strip, row[len(names) :])):
                    raise InputError(
                        f"{manifest} has more cells than columns in line {line}: a path with the "
                        "table's delimiter in it stands in quotes; --delimiter names another."
                    )
                yield f"line {line}", row[place] if place < len(row) else None
        except (csv.Error, OSError, UnicodeError) as error:
            raise InputError(
                f"{manifest} can't be read as CSV, line {line + 1}: {error}."
            ) from error


def _header(
    text: IO[str], column: str, delimiter: str | None, *, tabs: bool
) -> tuple[list[str], Any, int]:
    """The names of the columns, a csv reader of the rows behind, and the lines before both."""
    skipped = 0
    while (first := text.readline()) and not first.strip(_EMPTY):
        skipped += 1
    if said := _SEP.fullmatch(first.strip("\r\n")):
        delimiter, first = delimiter or said[1], text.readline()
        skipped += 1
    if delimiter is None:
        delimiter = _found_delimiter(first, column, tabs=tabs)
    rows = csv.reader(chain([first], text), delimiter=delimiter, strict=True)
    return next(rows, []), rows, skipped


def _found_delimiter(first: str, column: str, *, tabs: bool) -> str:
    """What parts the line of names into `column` and the most others; a comma if nothing does."""

    def parted(delimiter: str) -> tuple[bool, int, bool]:
        names = next(csv.reader([first], delimiter=delimiter), [])
        return column in names, len(names), tabs and delimiter == "\t"

    return max(DELIMITERS.values(), key=parted)


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
        names = ", ".join(name for name in found[:20] if name) or "none"
        raise InputError(
            f"{manifest} has no column {column}: its columns are {names}. "
            "Name one with --path-column."
        )
    if found.count(column) > 1:
        raise InputError(
            f"{manifest} has {found.count(column)} columns {column}: rename all but one of them."
        )
