"""Classes' names as figures can show them."""

from __future__ import annotations

import textwrap

from alexnet.labels import Label


def short_name(label: Label, *, longest: int = 30) -> str:
    """The first of a class's names, cut to `longest` characters; figures.json has all of them."""
    first = label.name.split(",")[0].strip() or label.wnid
    return first if len(first) <= longest else first[: longest - 1].rstrip() + "…"


def wrapped_name(label: Label, *, width: int) -> str:
    """The first of a class's names in two lines of at most `width` characters."""
    lines = textwrap.wrap(short_name(label, longest=2 * width - 2), width)
    if len(lines) > 2:
        lines = [lines[0], short_name(Label("", " ".join(lines[1:])), longest=width)]
    return "\n".join(lines)
