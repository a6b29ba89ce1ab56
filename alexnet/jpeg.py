"""JPEG files without their end marker, of which every row can be decoded all the same.

Some cameras and programs leave the marker out or write something of their own in its place. With
the marker set behind the coded pixels, the decoder reads such a file; but it would as well fill up
a picture that breaks off, and says nothing of it. So the pixels count only where they do not depend
on what follows the file's last byte: a picture that lacks anything decodes differently with each
continuation that is tried, and the one that was cut off is one of those.
"""

from __future__ import annotations

import io
import random
import re

from PIL import Image, ImageChops
from PIL.JpegImagePlugin import JpegImageFile

_END = b"\xff\xd9"
_SCAN, _RESTARTS = 0xDA, range(0xD0, 0xD8)
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # no stuffed zero, no restart
_RESTART_INTERVAL = b"\xff\xdd"
_COEFFICIENTS = 64
_ROWS = 256
# The first bits of each are others, since a single symbol may be all that lacks.
_CONTINUATIONS = tuple(
    bytes([first, *(byte for byte in random.Random(first).choices(range(255), k=400))])
    for first in (0xE6, 0xA9, 0x35, 0x1A, 0xD4)
)


def with_end(data: bytes) -> bytes | None:
    """The JPEG with its end marker set; None where the marker is not all that it lacks.

    Decodes the picture up to six times, eleven where it has restart markers, so this is for files
    that could not be decoded as they are.

    Raises:
        Exception: what Pillow raises on a file that is damaged besides.
    """
    end = _end_of_last_scan(data)
    if end is None:
        return None
    continuations = _CONTINUATIONS
    if _RESTART_INTERVAL in data[:end]:
        restart = _next_restart(data, end)
        continuations += tuple(restart + more for more in _CONTINUATIONS)
    whole = data[:end] + _END
    picture = _decoded(whole)
    for more in continuations:
        if not _equal(picture, _decoded(data[:end] + more + _END)):
            return None
    return whole


def _decoded(data: bytes) -> Image.Image:
    picture = JpegImageFile(io.BytesIO(data))
    picture.load()
    return picture


def _equal(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pictures have the same pixels, from the bottom up and without a copy of them."""
    for bottom in range(one.height, 0, -_ROWS):
        box = (0, max(0, bottom - _ROWS), one.width, bottom)
        difference = ImageChops.difference(one.crop(box), other.crop(box))
        if difference.getbbox(alpha_only=False) is not None:
            return False
    return True


def _end_of_last_scan(data: bytes) -> int | None:
    """Where the coded pixels end, if the scans name every coefficient and no end marker follows."""
    lacking: dict[int, list[bool]] = {}
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        code, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        if code == 0xFF:  # a fill byte
            at += 1
            continue
        at += 2 + length
        if code in _FRAMES and len(body) > 5:
            lacking = {component: [True] * _COEFFICIENTS for component in body[6::3]}
        elif code == _SCAN and body:
            _strike_out(lacking, body)
            at = _next_marker(data, at)
            if not any(map(any, lacking.values())):
                return None if data[at : at + 2] == _END else at
    return None


def _next_restart(data: bytes, end: int) -> bytes:
    """The restart marker that would come next: before it, decoders pass over everything."""
    scan = data.rfind(bytes([0xFF, _SCAN]), 0, end)
    last = max(data.rfind(bytes([0xFF, code]), scan, end) for code in _RESTARTS)
    number = 0 if last < 0 else (data[last + 1] + 1) % len(_RESTARTS)
    return bytes([0xFF, _RESTARTS[number]])


def _strike_out(lacking: dict[int, list[bool]], scan: bytes) -> None:
    """Note what a scan gives to full precision."""
    count = scan[0]
    components, last = scan[1 : 1 + 2 * count : 2], scan[1 + 2 * count :]
    if len(last) < 3 or last[2] & 15:
        return
    for component in components:
        for place in range(last[0], min(last[1], _COEFFICIENTS - 1) + 1):
            lacking.get(component, [])[place : place + 1] = [False]


def _next_marker(data: bytes, at: int) -> int:
    """The next marker but for those within coded pixels; the end of the data, if there is none."""
    found = _MARKER.search(data, at)
    return found.start() if found else len(data.rstrip(b"\xff"))
