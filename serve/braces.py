"""Braces in names, as WebDataset's users write them: `train-{0000..0146}.tar`, `{a,b}.tar`."""

from __future__ import annotations

import re
from collections.abc import Iterator

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def has_braces(text: str) -> bool:
    """Whether `text` stands for several names."""
    return any(_alternatives(found[1]) is not None for found in _BRACES.finditer(text))


def expand(text: str) -> Iterator[str]:
    """The names that `text` stands for, the last braces counting fastest; `text` without any.

    `{0000..0146}` counts, also downwards, with as many digits as its longer end has where one of
    them begins with a zero; `{a,b}` gives a choice. Braces around anything else stay as they are.
    """
    for found in _BRACES.finditer(text):
        choices = _alternatives(found[1])
        if choices is not None:
            before = text[: found.start()]
            for choice in choices:
                for after in expand(text[found.end() :]):
                    yield before + choice + after
            return
    yield text


def _alternatives(inside: str) -> Iterator[str] | None:
    if found := _RANGE.fullmatch(inside):
        return _count(found[1], found[2])
    return iter(inside.split(",")) if "," in inside else None


def _count(first: str, last: str) -> Iterator[str]:
    padded = any(len(end) > 1 and end.startswith("0") for end in (first, last))
    width = max(len(first), len(last)) if padded else 0
    step = 1 if int(first) <= int(last) else -1
    return (f"{number:0{width}}" for number in range(int(first), int(last) + step, step))
