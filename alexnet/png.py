"""The chunks of a PNG that its pixels and their orientation need, without those that describe it.

Colour profiles and comments are not used here, and decoders refuse a whole picture for one of them:
for a wrong checksum, or because it inflates to more than they take. They are left out unread, so
that they cost neither memory nor time. What the pixels are made of stays as it is, damage, too.
"""

from __future__ import annotations

import operator
import zlib
from collections.abc import Iterator
from typing import NamedTuple

_SIGNATURE = 8
_PIXELS = (b"IHDR", b"PLTE", b"TRNS", b"IDAT", b"IEND")
_CONTROLS = {b"acTL": 8, b"fcTL": 26}
_FRAMES = (*_CONTROLS, b"fdAT")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_MOST_TEXT = 1 << 20
"""Bytes of inflated text that Pillow takes."""
_ORIENTING = (b"XML:com.adobe.xmp", b"Raw profile type exif")
"""Keywords of texts that may say how a picture is to be turned."""


class _Chunk(NamedTuple):
    name: bytes
    begin: int
    end: int


def pixels_only(data: bytes) -> bytes:
    """A PNG without the chunks that change neither pixels nor orientation.

    Frames of an animation stay where what is said of them is right: else it is a still picture.
    """
    chunks = list(_chunks(data))
    frames = _is_animation(data, chunks)
    texts = {}
    for chunk in chunks:
        if chunk.name in _TEXTS:
            keyword = data[chunk.begin + 8 : chunk.begin + 88].partition(b"\0")[0]
            texts[keyword] = chunk  # of several the last one counts
    orienting = {texts[keyword] for keyword in _ORIENTING if keyword in texts}
    kept = [chunk for chunk in chunks if _is_kept(data, chunk, frames, orienting)]
    if len(kept) == len(chunks):
        return data
    whole = memoryview(data)
    end = chunks[-1].end
    return b"".join(
        [whole[:_SIGNATURE], *(whole[c.begin : c.end] for c in kept), whole[end:]],
    )


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """The whole chunks of a file, up to its end chunk."""
    at = _SIGNATURE
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        name = data[at + 4 : at + 8]
        if end > len(data):
            return
        yield _Chunk(name, at, end)
        if name == b"IEND":
            return
        at = end


def _is_animation(data: bytes, chunks: list[_Chunk]) -> bool:
    """Whether the chunks that control frames are as decoders take them: they refuse all else.

    A frame that is said to come before the pixels is these: the first one, of the whole canvas.
    """
    controls = [chunk for chunk in chunks if chunk.name in _CONTROLS]
    pixels = next((chunk.begin for chunk in chunks if chunk.name == b"IDAT"), len(data))
    counts = [one for one in controls if one.name == b"acTL"]
    before = [one for one in controls if one.name == b"fcTL" and one.begin < pixels]
    whole = bytes(4) + data[16:24] + bytes(8)  # its number, size as in the header, place
    return (
        all(_is_whole(data, one) and _length(one) == _CONTROLS[one.name] for one in controls)
        and all(_length(chunk) >= 4 for chunk in chunks if chunk.name == b"fdAT")
        and len(counts) == 1
        and counts[0].begin < pixels
        and len(before) < 2
        and all(data[one.begin + 8 : one.begin + 28] == whole for one in before)
    )


def _length(chunk: _Chunk) -> int:
    return chunk.end - chunk.begin - 12


def _is_kept(data: bytes, chunk: _Chunk, frames: bool, orienting: set[_Chunk]) -> bool:
    name = chunk.name
    is_critical = not name[0] & 0x20
    if is_critical or name == b"tRNS":
        return True
    if _resembles_pixels(name) and not _is_whole(data, chunk):
        return True  # one of them, whose name is damaged
    if name in _FRAMES:
        return frames
    if name == b"eXIf":
        return _is_whole(data, chunk)
    return chunk in orienting and _is_whole(data, chunk) and _is_short(data, chunk)


def _resembles_pixels(name: bytes) -> bool:
    """Whether no more than one letter is another than in a chunk that pixels are made of."""
    letters = name.upper()
    return any(sum(map(operator.eq, letters, other)) >= 3 for other in _PIXELS)


def _is_whole(data: bytes, chunk: _Chunk) -> bool:
    """Whether the checksum is right."""
    checksum = int.from_bytes(data[chunk.end - 4 : chunk.end], "big")
    return zlib.crc32(memoryview(data)[chunk.begin + 4 : chunk.end - 4]) == checksum


def _is_short(data: bytes, chunk: _Chunk) -> bool:
    """Whether Pillow can read a text."""
    _, _, rest = data[chunk.begin + 8 : chunk.end - 4].partition(b"\0")
    if chunk.name == b"tEXt":
        return True
    if chunk.name == b"zTXt":
        method, deflated = rest[:1], rest[1:]
    elif rest[:1] == b"\0":
        return True
    else:
        method, deflated = rest[1:2], rest[2:].split(b"\0", 2)[-1]
    inflating = zlib.decompressobj()
    try:
        inflating.decompress(deflated, _MOST_TEXT)
    except zlib.error:
        return False
    return method == b"\0" and not inflating.unconsumed_tail
