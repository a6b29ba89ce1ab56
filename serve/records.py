"""The rows of a labelling, and the writers that turn them into CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from alexnet.backends import Backend
from alexnet.errors import AlexNetError
from alexnet.files import atomic_path
from alexnet.predictor import Prediction

Format = Literal["csv", "jsonl"]
FORMATS: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""The format that the ending of a file's name means."""

Row = dict[str, str | int | float | None]
"""Column to value; None is an empty CSV cell and a JSON null."""


class OutputError(AlexNetError):
    """The rows can't be written where they should go."""


@dataclass(frozen=True)
class RowMaker:
    """Predictions to rows. All rows of one maker have the same columns."""

    backend: Backend
    top_k: int
    names: bool
    """Write class names for people in the place of WordNet ids."""

    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        best = [f"{kind}_{k}" for k in range(1, self.top_k + 1) for kind in ("label", "score")]
        return [
            *("path", "status", "error_code", "error_message", "index", "label", "score"),
            *best,
            *("width", "height", "model", "model_sha256", "backend", "views"),
        ]

    def row(self, path: Path, prediction: Prediction) -> Row:
        """The row of one photo: its best classes, or why it has none."""
        row: Row = dict.fromkeys(self.columns())
        row["path"] = readable(os.fspath(path))
        if prediction.error is not None:
            row["status"] = "error"
            row["error_code"] = prediction.error.code
            row["error_message"] = readable(str(prediction.error))
        else:
            row["status"] = "ok"
            row["width"], row["height"] = prediction.width, prediction.height
            for k, score in enumerate(prediction.scores, 1):
                row[f"label_{k}"] = score.name if self.names else score.label
                row[f"score_{k}"] = six_digits(score.probability)
            row["index"] = prediction.scores[0].index
            row["label"], row["score"] = row["label_1"], row["score_1"]
        info = self.backend.info
        row["model"], row["model_sha256"] = readable(info.path.name), info.sha256
        row["backend"], row["views"] = self.backend.name, info.views
        return row


def six_digits(value: float) -> float:
    """`value` rounded to six significant digits, what a float32 holds: 0.123456789 -> 0.123457."""
    return float(f"{value:.6g}")


def readable(text: str) -> str:
    r"""`text` as valid UTF-8: a byte of a file name that is none is written as `\xNN`."""
    return os.fsencode(text).decode("utf-8", errors="backslashreplace")


def _csv_line(cells: list[object]) -> str:
    # With "\n" as its line end, csv leaves a carriage return in a cell unquoted (until Python
    # 3.13), and no reader takes that. With "\r\n" it quotes both.
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n") + "\n"


def _json_line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


@contextmanager
def open_writer(
    target: Path | None, columns: list[str], *, format: Format
) -> Iterator[Callable[[Row], object]]:
    """Yield a function that writes one row to `target`, or to stdout where that is None.

    The rows of a file go into a temporary one beside it, which takes the file's place when the
    block ends well: whoever reads `target` sees the old file or all rows.

    Raises:
        OutputError: the folder can't be written, or the disk is full; `target` is as it was.
    """
    try:
        with _stdout() if target is None else _file(target) as file:
            if format == "csv":
                file.write(_csv_line(list(columns)))
                yield lambda row: file.write(_csv_line([row[name] for name in columns]))
            else:
                yield lambda row: file.write(_json_line(row))
    except BrokenPipeError:
        raise  # the reader of stdout has had enough: not an error worth a sentence
    except OSError as error:
        where = "The output" if target is None else str(target)
        raise OutputError(
            f"{where} could not be written: {error.strerror}."
            + ("" if target is None else " Nothing was changed there.")
        ) from error


@contextmanager
def _file(target: Path) -> Iterator[IO[str]]:
    if target.is_dir():
        raise OutputError(f"{target} is a folder: name a file in it.")
    if target.exists() and not target.is_file():
        raise OutputError(f"{target} is no ordinary file: write to '-' and redirect that.")
    with (
        atomic_path(target) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        yield file


@contextmanager
def _stdout() -> Iterator[IO[str]]:
    # Not sys.stdout itself: rows are UTF-8 with plain newlines whatever the locale says, and a
    # disk that fills up shows here and not when Python ends.
    sys.stdout.flush()
    with os.fdopen(sys.stdout.fileno(), "w", encoding="utf-8", newline="", closefd=False) as file:
        yield file
