"""Messages in protobuf's wire format, read without a schema: fields by their numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import DTypeLike, NDArray

from alexnet.errors import AlexNetError

Value = int | memoryview

# Wire types: how the bytes of a field end.
_VARINT, _EIGHT, _LENGTH, _FOUR = 0, 1, 2, 5


class WireError(AlexNetError):
    """Bytes that are no whole message; the sentence goes on from the file's name."""


class Message:
    """One message. What the caller does not ask for is never looked into."""

    def __init__(self, data: bytes | memoryview):
        """Find the fields of `data`.

        Raises:
            WireError: the bytes end in the middle of a field, or are no message.
        """
        self._fields: dict[int, list[Value]] = {}
        for number, value in _fields(memoryview(data)):
            self._fields.setdefault(number, []).append(value)

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    def messages(self, number: int) -> list[Message]:
        """Every message of a field, in their order."""
        return [Message(part) for part in self._parts(number)]

    def message(self, number: int) -> Message:
        """The last message of a field; an empty one where there is none."""
        return (self.messages(number) or [Message(b"")])[-1]

    def text(self, number: int) -> str:
        """A field of UTF-8; "" where there is none."""
        parts = self._parts(number)
        return bytes(parts[-1]).decode(errors="replace") if parts else ""

    def integers(self, number: int) -> list[int]:
        """Every integer of a field, packed or not."""
        found: list[int] = []
        for value in self._fields.get(number, []):
            found += [value] if isinstance(value, int) else _varints(value)
        return found

    def integer(self, number: int, default: int) -> int:
        """The last integer of a field, or the default."""
        return (self.integers(number) or [default])[-1]

    def reals(self, number: int, dtype: DTypeLike = "<f4") -> NDArray[np.floating]:
        """Every number of a field of floats (`<f4`) or doubles (`<f8`), packed or not.

        Raises:
            WireError: the field's bytes are no whole number of them.
        """
        parts = self._parts(number)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if len(data) % np.dtype(dtype).itemsize:
            raise WireError("holds numbers that break off.")
        return np.frombuffer(data, dtype)

    def real(self, number: int, default: float) -> float:
        """The last float of a field, as the shortest decimal that rounds to it, or the default."""
        found = self.reals(number)
        return float(str(found[-1])) if len(found) else default

    def _parts(self, number: int) -> list[memoryview]:
        values = self._fields.get(number, [])
        parts = [value for value in values if isinstance(value, memoryview)]
        if len(parts) < len(values):
            raise WireError("holds integers where text or numbers belong.")
        return parts


def _fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise WireError("is no message of protobuf.")
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _LENGTH:
            size, at = _varint(data, at)
        elif kind in (_EIGHT, _FOUR):
            size = 8 if kind == _EIGHT else 4
        else:
            raise WireError("is no message of protobuf.")
        if size > len(data) - at:
            raise WireError("breaks off in the middle.")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """An integer of seven bits a byte, the lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise WireError("breaks off in the middle.")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise WireError("is no message of protobuf.")


def _varints(data: memoryview) -> list[int]:
    found, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        found.append(value)
    return found
