"""FiftyOne's classification data sets in JSON: a folder with `data.json` and `labels.json`.

`fiftyone.Dataset.from_dir("FOLDER", dataset_type=fiftyone.types.FiftyOneImageClassificationDataset,
label_field="prediction")` reads one. The photos stay where they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from serve.records import Row
from serve.remote import is_url


def write_folder(folder: Path, rows: Callable[[], Iterable[Row]]) -> None:
    """Write both files of a new folder; `rows` gives the rows anew each time.

    A photo's id is its row's number, so that two photos of one name stay two; a photo without an
    answer has null for its label. Photos inside shards are named as their rows name them, and
    FiftyOne finds them once the shards are unpacked under their own names.
    """
    folder.mkdir()
    with (folder / "data.json").open("w", encoding="utf-8", newline="") as file:
        file.writelines(_object(map(_photo, rows())))
    with (folder / "labels.json").open("w", encoding="utf-8", newline="") as file:
        file.write('{"labels": ')
        file.writelines(_object(map(_label, rows())))
        file.write("}\n")


def _object(values: Iterable[object]) -> Iterator[str]:
    yield "{"
    for number, value in enumerate(values):
        yield f'{"," * bool(number)}\n"{number:010}": {json.dumps(value, ensure_ascii=False)}'
    yield "\n}\n"


def _photo(row: Row) -> str:
    path = str(row["path"])
    return path if is_url(path) else str(Path(path).absolute())


def _label(row: Row) -> dict[str, object] | None:
    if row["status"] != "ok":
        return None
    return {"label": row["label"], "confidence": row["score"]}
