"""Classes: the index of an output, its WordNet id and its name; with the ILSVRC-2012 list."""

from __future__ import annotations

import codecs
import difflib
import functools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from alexnet.errors import AlexNetError
from alexnet.json_text import to_json

_WNID_FIRST = re.compile(r"n\d{8} \S")


class LabelError(AlexNetError):
    """A class that does not exist, or a list of classes that can't be read."""


@dataclass(frozen=True)
class Label:
    """One class. Its index is its place in the tuple of a model's or a data set's labels."""

    wnid: str
    """WordNet id (`n01440764`), or the name of the class's folder for data without such ids."""
    name: str
    """For people: one name, or several with commas between them."""


@functools.cache
def ilsvrc2012() -> tuple[Label, ...]:
    """The 1000 classes of ILSVRC-2012 in their standard order (sorted by wnid)."""
    text = (resources.files("alexnet") / "assets" / "ilsvrc2012_classes.tsv").read_text("utf-8")
    rows = [line.split("\t") for line in text.splitlines()]
    assert [int(index) for index, _, _ in rows] == list(range(1000)), "the list is in index order"
    return tuple(Label(wnid, name) for _, wnid, name in rows)


def labels_to_json(labels: Iterable[Label]) -> str:
    """Labels as a JSON list of `{"wnid": ..., "name": ...}`, in index order."""
    rows = [{"wnid": label.wnid, "name": label.name} for label in labels]
    return to_json(rows)


def labels_from_json(text: str) -> tuple[Label, ...]:
    """The inverse of `labels_to_json`.

    Raises:
        LabelError: `text` is not such a list.
    """
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise LabelError(f"The list of classes is not JSON: {error}.") from error
    if not isinstance(rows, list):
        raise LabelError('The list of classes must be a JSON list of {"wnid", "name"}.')
    labels = []
    for index, row in enumerate(rows):
        wnid, name = (row.get("wnid"), row.get("name")) if isinstance(row, dict) else (None, None)
        if not isinstance(wnid, str) or not isinstance(name, str):
            raise LabelError(f'Class {index} must be {{"wnid": text, "name": text}}, not {row!r}.')
        labels.append(Label(wnid, name))
    return tuple(labels)


def read_labels(path: Path) -> tuple[Label, ...]:
    """The classes that a file names, in index order.

    It is one of

    - text, a line a class: a name; an id and a name with a tab between them, or with a space where
      the id is WordNet's (`n01440764 tench, Tinca tinca`); an index, an id and a name with tabs,
    - JSON: a list of names or of `{"wnid", "name"}`; an object of names with their indices
      (torchvision's `class_to_idx`), or of indices with a name or `[id, name]` (Keras'
      `imagenet_class_index.json`); a data set's dataset.json,

    in UTF-8, or in UTF-16 with its byte-order mark.

    Raises:
        LabelError: it is something else, or names no class, or one twice.
        OSError: it can't be read.
    """
    data = path.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelError(f"{path} is no text in UTF-8: save it as such.") from error
    try:
        rows = _json_rows(text) if text.lstrip()[:1] in ("[", "{", '"') else _text_rows(text)
        labels = tuple(Label(wnid, name) for wnid, name in rows)
    except (ValueError, TypeError, KeyError) as error:
        raise LabelError(f"{path} is no list of classes: {error}.") from error
    if not labels:
        raise LabelError(f"{path} names no classes.")
    seen: dict[str, int] = {}
    for index, label in enumerate(labels):
        first = seen.setdefault(label.wnid, index)
        if first != index:
            raise LabelError(
                f"{path} names '{label.wnid}' twice, as the classes {first} and {index}."
            )
    return labels


def _text_rows(text: str) -> list[tuple[str, str]]:
    lines = [line.rstrip("\r").strip(" ") for line in text.split("\n")]
    lines = [line for line in lines if line.strip()]
    rows = [[cell.strip() for cell in line.split("\t")] for line in lines]
    widths = {len(row) for row in rows}
    if widths == {1} and all(_WNID_FIRST.match(line) for line in lines):
        rows, widths = [line.split(" ", 1) for line in lines], {2}
    if len(widths) > 1 or not widths <= {1, 2, 3}:
        raise ValueError("its lines have different numbers of cells, or more than three")
    indices = [str(index) for index in range(len(rows))]
    if widths == {3} and [row[0] for row in rows] != indices:
        raise ValueError("the first of three cells must be the index: 0, 1, 2 and so on")
    if widths == {2}:
        for cells in zip(*rows, strict=True):
            if list(cells) != indices and sorted(cells) == sorted(indices):
                raise ValueError(
                    f"its lines hold the numbers 0 to {len(rows) - 1}, and not in this order: sort "
                    "them, or where the numbers are no indices leave them out"
                )
    return [(row[-2:][0], row[-1]) for row in rows]


def _json_rows(text: str) -> list[tuple[str, str]]:
    data = json.loads(text)
    if isinstance(data, dict) and isinstance(data.get("classes"), list):
        data = data["classes"]
    if isinstance(data, dict):
        data = _by_index(data)
    if not isinstance(data, list):
        raise ValueError("JSON of it is a list or an object")
    return [_json_row(index, row) for index, row in enumerate(data)]


def _by_index(data: dict[str, Any]) -> list[Any]:
    """The values of an object by their index: it stands on either side."""
    if all(type(index) is int for index in data.values()):
        named = {index: name for name, index in data.items()}
    else:
        named = {int(index): row for index, row in data.items()}
    if sorted(named) != list(range(len(data))):
        raise ValueError(f"the indices are not those from 0 to {len(data) - 1}, each once")
    return [named[index] for index in range(len(data))]


def _json_row(index: int, row: Any) -> tuple[str, str]:
    if isinstance(row, str):
        row = [row, row]
    elif isinstance(row, dict):
        row = [row.get("wnid"), row.get("name")]
    if not (isinstance(row, list) and len(row) == 2 and all(isinstance(x, str) for x in row)):
        raise ValueError(f'class {index} must be a name, or {{"wnid": text, "name": text}}')
    return row[0], row[1]


def find_label(labels: Sequence[Label], wanted: int | str) -> int:
    """The index of the class that `wanted` means.

    `wanted` is an index (also as text), a wnid, a whole name, or one of the names between commas;
    letters count the same in upper and lower case. A wnid goes before a name and a name before an
    index.

    Raises:
        LabelError: no class is meant (the sentence names similar ones), or several are.
    """
    text = str(wanted).strip()
    if isinstance(wanted, str):
        folded = text.casefold()
        for found in (
            [i for i, label in enumerate(labels) if label.wnid.casefold() == folded],
            [i for i, label in enumerate(labels) if folded in _names(label)],
        ):
            if len(found) > 1:
                wnids = ", ".join(labels[i].wnid for i in found)
                raise LabelError(f"'{text}' names {len(found)} classes: say which of {wnids}.")
            if found:
                return found[0]
    if text.isdecimal() and int(text) < len(labels):
        return int(text)
    raise LabelError(f"There is no class '{text}' among the {len(labels)}.{_similar(labels, text)}")


def _names(label: Label) -> set[str]:
    name = label.name.casefold()
    return {name, *(part.strip() for part in name.split(","))}


def _similar(labels: Sequence[Label], text: str) -> str:
    known = {name: label.name for label in labels for name in _names(label)}
    near = difflib.get_close_matches(text.casefold(), known, n=3)
    names = dict.fromkeys(known[name] for name in near)
    return f" Similar: {'; '.join(names)}." if names else ""
