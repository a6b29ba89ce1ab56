"""Rows as Parquet, by pyarrow (the extra `parquet`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet.errors import optional_import
from serve.records import Kind, Row, Schema

if TYPE_CHECKING:
    from serve.formats import Write

# Rows that are held until they are written together; with fc7's 4096 numbers, 16 MB of them.
_ROWS, _LONG_ROWS = 10_000, 1000


def check_parquet() -> None:
    """Raise a `MissingPackageError` unless Parquet can be written."""
    optional_import("pyarrow.parquet", extra="parquet")


def arrow_schema(schema: Schema) -> Any:
    """The columns with pyarrow's types: scores as doubles, lists of float32."""
    arrow: Any = optional_import("pyarrow", extra="parquet")
    kinds: dict[Kind, Any] = {
        "text": arrow.string(),
        "integer": arrow.int32(),
        "real": arrow.float64(),
        "reals": arrow.list_(arrow.float32()),
    }
    return arrow.schema([(name, kinds[kind]) for name, kind in schema.items()])


@contextmanager
def open_parquet(path: Path, schema: Schema) -> Iterator[Write]:
    """Yield a function that writes one row to a new file, many at a time."""
    arrow: Any = optional_import("pyarrow", extra="parquet")
    parquet: Any = optional_import("pyarrow.parquet", extra="parquet")
    columns = arrow_schema(schema)
    together = _LONG_ROWS if "reals" in schema.values() else _ROWS
    waiting: list[Row] = []

    # Of a file that is open: pyarrow takes no name with a byte that is not UTF-8.
    with (
        path.open("wb") as target,
        parquet.ParquetWriter(target, columns, compression="zstd") as file,
    ):

        def flush() -> None:
            arrays = [
                arrow.array([row[field.name] for row in waiting], field.type) for field in columns
            ]
            file.write_table(arrow.Table.from_arrays(arrays, schema=columns))
            waiting.clear()

        def write(row: Row) -> None:
            waiting.append(row)
            if len(waiting) == together:
                flush()

        yield write
        if waiting:
            flush()


def join_parquet(parts: Sequence[Path], target: Path) -> None:
    """Write the rows of several files of the same columns to a new one, group by group."""
    parquet: Any = optional_import("pyarrow.parquet", extra="parquet")
    with parts[0].open("rb") as first:
        columns = parquet.read_schema(first)
    with (
        target.open("wb") as whole,
        parquet.ParquetWriter(whole, columns, compression="zstd") as file,
    ):
        for part in parts:
            with part.open("rb") as one, parquet.ParquetFile(one) as source:
                for group in range(source.num_row_groups):
                    file.write_table(source.read_row_group(group))
