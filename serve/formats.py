"""The formats of the rows: how a part is written, and how parts become one file."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal

import numpy as np

from alexnet.errors import AlexNetError
from alexnet.files import open_stream
from serve import fiftyone, label_studio
from serve.records import Row, Schema, Value

Format = Literal["csv", "jsonl", "parquet", "label-studio", "fiftyone"]
ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
"""The format that the ending of a file's name means."""
ON_STDOUT = ("csv", "jsonl", "label-studio")
"""Formats that need no file."""
EXPORTS = ("label-studio", "fiftyone")
"""Formats with columns of their own."""
PART_ENDINGS: dict[Format, str] = {
    "csv": ".csv",
    "jsonl": ".jsonl",
    "parquet": ".parquet",
    "label-studio": ".json",
    "fiftyone": ".jsonl",
}

Write = Callable[[Row], object]


class OutputError(AlexNetError):
    """The rows can't be written where they should go."""


def check_schema(schema: Schema, format: Format) -> None:
    """Raise an `OutputError` where a format can't hold the columns."""
    lists = [name for name, kind in schema.items() if kind == "reals"]
    if format not in ("jsonl", "parquet") and lists:
        raise OutputError(
            f"{format} has no place for the lists of numbers in {' and '.join(lists)}: "
            "write Parquet (.parquet) or JSON lines (.jsonl)."
        )


@contextmanager
def open_part(path: Path, schema: Schema, *, format: Format) -> Iterator[Write]:
    """Yield a function that writes one row to `path`, a new file that stands for itself."""
    if format == "parquet":
        from serve.parquet import open_parquet  # its package is an extra

        with open_parquet(path, schema) as write:
            yield write
        return
    with path.open("w", encoding="utf-8", newline="") as file, _text(file, schema, format) as write:
        yield write


@contextmanager
def open_rows(schema: Schema, *, format: Format, stream: Path | None = None) -> Iterator[Write]:
    """Yield a function that writes one row to a device or a pipe, or to stdout.

    Raises:
        OutputError: the disk behind it is full.
        OutputPathError: the reader of a pipe went away.
    """
    assert format in ON_STDOUT
    try:
        # Rows are UTF-8 with plain newlines whatever the locale says.
        with (
            _opened(stream) as raw,
            io.TextIOWrapper(raw, "utf-8", newline="") as file,
            _text(file, schema, format) as write,
        ):
            yield write
    except BrokenPipeError:
        raise  # the reader of stdout has had enough: not an error worth a sentence
    except OSError as error:
        raise OutputError(f"The output could not be written: {error.strerror or error}.") from error


@contextmanager
def _opened(stream: Path | None) -> Iterator[BinaryIO]:
    if stream is not None:
        with open_stream(stream) as file:
            yield file
        return
    # Not sys.stdout itself: a disk that fills up shows here and not when Python ends.
    sys.stdout.flush()
    with os.fdopen(sys.stdout.fileno(), "wb", closefd=False) as file:
        yield file


def join(parts: Sequence[Path], target: Path, *, format: Format) -> None:
    """Make one file, or a folder in FiftyOne's case, of parts that `open_part` wrote.

    `target` is a new path; rows come in the order of the parts.
    """
    if format == "parquet":
        from serve.parquet import join_parquet

        join_parquet(parts, target)
    elif format == "label-studio":
        with target.open("w", encoding="utf-8", newline="") as file:
            file.writelines(label_studio.joined(_lines(parts)))
    elif format == "fiftyone":
        fiftyone.write_folder(target, lambda: map(json.loads, _lines(parts)))
    else:
        with target.open("wb") as file:
            for number, part in enumerate(parts):
                with part.open("rb") as source:
                    if format == "csv" and number:
                        source.readline()  # the names of the columns: none holds a line's end
                    shutil.copyfileobj(source, file, 2**20)


def _lines(parts: Sequence[Path]) -> Iterator[str]:
    for part in parts:
        with part.open(encoding="utf-8", newline="\n") as file:
            yield from file


@contextmanager
def _text(file: IO[str], schema: Schema, format: Format) -> Iterator[Write]:
    if format == "csv":
        file.write(_csv_line(list(schema)))
        yield lambda row: file.write(_csv_line([row[name] for name in schema]))
    elif format == "label-studio":
        before = itertools.chain([label_studio.FIRST], itertools.repeat(label_studio.FOLLOWING))
        yield lambda row: file.write(next(before) + label_studio.task(row))
        file.write(label_studio.NONE if next(before) == label_studio.FIRST else label_studio.END)
    else:
        yield lambda row: file.write(_json_line(row))


def _csv_line(cells: Sequence[Value]) -> str:
    # With "\n" as its line end, csv leaves a carriage return in a cell unquoted (until Python
    # 3.13), and no reader takes that. With "\r\n" it quotes both.
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n") + "\n"


def _json_line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False, default=_numbers) + "\n"


def _numbers(values: Any) -> list[float]:
    # Nine digits bring every float32 back to the bit.
    assert isinstance(values, np.ndarray)
    return [float(f"{value:.9g}") for value in values.tolist()]
