"""Frozen dataclasses to and from JSON, and changed by `--set section.field=value`.

The only code that turns text into a config. An unknown field or a value of the wrong type is an
error: no option is parsed and then ignored.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from alexnet.errors import AlexNetError

T = TypeVar("T")


class SettingsError(AlexNetError):
    """A setting that does not exist, or whose value is not of its type."""


class _Given(dict[str, Any]):
    """An object that a setting gave as a whole: fields with defaults may be missing in it."""


def to_dict(config: Any) -> dict[str, Any]:
    """A frozen dataclass as plain JSON values (tuples become lists)."""
    value = _plain(config)
    assert isinstance(value, dict), "to_dict takes a dataclass"
    return value


def from_dict(cls: type[T], data: Mapping[str, Any]) -> T:
    """The inverse of `to_dict`: every field of `cls` must fit, and none may be left over.

    Raises:
        SettingsError: a field is unknown, missing without a default, or of the wrong type.
    """
    value = _typed(cls, data, where="")
    assert isinstance(value, cls)
    return value


def with_settings(config: T, settings: Iterable[str]) -> T:
    """`config` with each `section.field=value` applied in turn, and checked once all are.

    Values are JSON where they parse as JSON (`3`, `0.5`, `true`, `null`, `[1, 2]`) and text
    otherwise. Elements of a tuple are named by their position: `network.convs.0.maps=64`.

    Raises:
        SettingsError: not of the form `field=value`, an unknown field, a wrong type, values that
            do not go together, or a field that an option of the command sets (`chosen_by`).
    """
    data = to_dict(config)
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise SettingsError(f"'{setting}' is not of the form section.field=value.")
        try:
            value = json.loads(text, object_hook=_Given)
        except json.JSONDecodeError:
            value = text
        _assign(data, path.strip(), value)
    changed = from_dict(type(config), data)
    _check_chosen(config, changed, where="")
    return changed


def chosen_by(option: str) -> dict[str, str]:
    """Metadata of a field that names what filled its neighbours: only `option` sets it."""
    return {"option": option}


def at_least(least: float, **values: float | None) -> None:
    """Check numbers of a config; None stands for no number.

    Raises:
        ValueError: one is lower than `least`, infinite or not a number; the sentence names it.
    """
    for name, value in values.items():
        if value is not None and not least <= value < math.inf:
            raise ValueError(f"{name} must be at least {least:g}, not {value:g}.")


def differences(before: Any, now: Any) -> list[tuple[str, Any, Any]]:
    """The settings in which two configs of one type differ: (name as --set takes it, value, value).

    A tuple of another length, and a section that is missing in one, differ as a whole.
    """
    return list(_differences(_plain(before), _plain(now), where=""))


def _differences(before: Any, now: Any, *, where: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        before, now = dict(enumerate(before)), dict(enumerate(now))
    if isinstance(before, dict) and isinstance(now, dict) and before.keys() == now.keys():
        for name, old in before.items():
            yield from _differences(old, now[name], where=f"{where}.{name}" if where else str(name))
    elif before != now:
        yield where, before, now


def _check_chosen(before: Any, after: Any, *, where: str) -> None:
    for field in dataclasses.fields(before):
        old, new = getattr(before, field.name), getattr(after, field.name)
        option = field.metadata.get("option")
        if option and old != new:
            raise SettingsError(f"{where}{field.name} is set with {option}, not with --set.")
        if dataclasses.is_dataclass(old) and dataclasses.is_dataclass(new):
            _check_chosen(old, new, where=f"{where}{field.name}.")


def _assign(data: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    node: Any = data
    for depth, key in enumerate([*parents, last]):
        where = ".".join(path.split(".")[:depth])
        if isinstance(node, list):
            if not key.isdecimal() or int(key) >= len(node):
                raise SettingsError(
                    f"There is no '{path}': {where} has the elements 0 to {len(node) - 1}."
                )
            index: Any = int(key)
        elif isinstance(node, dict):
            if key not in node and not (depth == len(parents) and isinstance(node, _Given)):
                names = ", ".join(node) or "no fields"
                raise SettingsError(f"There is no setting '{path}': {where or 'here'} has {names}.")
            index = key
        else:
            raise SettingsError(f"There is no setting '{path}': {where} is a single value.")
        if depth == len(parents):
            node[index] = value
        else:
            node = node[index]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _typed(kind: Any, value: Any, *, where: str) -> Any:
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _typed_dataclass(kind, value, where=where)
    if origin in (typing.Union, types.UnionType):
        return _typed_union(kind, value, where=where)
    if origin is typing.Literal:
        if any(value == choice and type(value) is type(choice) for choice in typing.get_args(kind)):
            return value
        choices = ", ".join(str(choice) for choice in typing.get_args(kind))
        raise SettingsError(f"{where} must be one of {choices}, not {value!r}.")
    if origin is tuple:
        return _typed_tuple(kind, value, where=where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise SettingsError(f"{where} must be of type {kind.__name__}, not {value!r}.")


def _typed_dataclass(kind: type[Any], value: Any, *, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise SettingsError(f"{where or kind.__name__} must hold the fields of {kind.__name__}.")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = [name for name in value if name not in fields]
    if unknown:
        raise SettingsError(
            f"{where or kind.__name__} has no field '{unknown[0]}': its fields are "
            f"{', '.join(fields)}."
        )
    for name, field in fields.items():
        if name not in value and field.default is dataclasses.MISSING:
            raise SettingsError(f"{where or kind.__name__} lacks its field '{name}'.")
    prefix = f"{where}." if where else ""
    try:
        return kind(
            **{
                name: _typed(hints[name], item, where=f"{prefix}{name}")
                for name, item in value.items()
            }
        )
    except SettingsError:
        raise
    except ValueError as error:  # the dataclass's own check of its values
        raise SettingsError(f"{where + ': ' if where else ''}{error}") from error


def _typed_union(kind: Any, value: Any, *, where: str) -> Any:
    choices = typing.get_args(kind)
    if value is None and type(None) in choices:
        return None
    (other,) = [choice for choice in choices if choice is not type(None)]
    return _typed(other, value, where=where)


def _typed_tuple(kind: Any, value: Any, *, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise SettingsError(f"{where} must be a list, not {value!r}.")
    items = typing.get_args(kind)
    if len(items) == 2 and items[1] is Ellipsis:
        items = (items[0],) * len(value)
    if len(items) != len(value):
        raise SettingsError(f"{where} must have {len(items)} elements, not {len(value)}.")
    return tuple(
        _typed(item, element, where=f"{where}.{index}")
        for index, (item, element) in enumerate(zip(items, value, strict=True))
    )
