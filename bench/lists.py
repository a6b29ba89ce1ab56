"""Options that take a list: values of one type with commas between them."""

from __future__ import annotations

from typing import Any

import click


class ListOf(click.ParamType[list[Any]]):
    """Values with commas between them, each of one type: `1,8,32`."""

    def __init__(self, kind: click.ParamType[Any]):
        self.kind = kind
        self.name = f"{kind.name},..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[Any]:
        """Each part by the type of the elements."""
        if isinstance(value, list):
            return value
        return [self.kind.convert(part.strip(), param, ctx) for part in str(value).split(",")]
