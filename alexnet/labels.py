"""Classes: the index of an output, its WordNet id and its name; with the ILSVRC-2012 list."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources

from alexnet.errors import AlexNetError
from alexnet.json_text import to_json


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
