"""JSON that every reader takes: RFC 8259 knows no NaN and no Infinity, which Python writes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any


def to_json(
    value: Any,
    *,
    indent: int | None = None,
    sort_keys: bool = False,
    default: Callable[[Any], Any] | None = None,
) -> str:
    """Write `value` as JSON text, encodable as UTF-8; numbers that are not finite become null.

    Args:
        value: what `json.dumps` takes.
        indent: spaces of each level; None: everything in one line.
        sort_keys: whether objects are sorted by their keys.
        default: makes a JSON value of anything else, as for `json.dumps`.

    Raises:
        TypeError: there is something that has no JSON form.
    """

    def dump(finite: Any) -> str:
        return json.dumps(
            finite,
            indent=indent,
            sort_keys=sort_keys,
            default=default,
            ensure_ascii=False,
            allow_nan=False,
        )

    try:
        text = dump(value)
    except ValueError:  # rare: the common case is not walked through twice
        text = dump(_finite(value, default))
    # A byte of a file name that is not UTF-8 is a lone surrogate, whose escape is JSON's own, too.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _finite(value: Any, default: Callable[[Any], Any] | None) -> Any:
    """`value` with null in place of every float that JSON can't write."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item, default) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item, default) for item in value]
    if default is None or value is None or isinstance(value, str | int):
        return value
    return _finite(default(value), default)
