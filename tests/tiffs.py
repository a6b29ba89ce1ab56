"""TIFF files written by hand: any layout of channels, strips and tiles, and cameras' raw files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

INTERLEAVED, IN_PLANES = 1, 2
UNCOMPRESSED, LZW, DEFLATE = 1, 5, 8
WHITE_IS_ZERO, GREY, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
UNSPECIFIED, PREMULTIPLIED, ALPHA = 0, 1, 2
_SHORT, _LONG = 3, 4
_SHORTS = (258, 320, 338, 339, 530)


def tiff_of(
    values: np.ndarray,
    photometric: int,
    *,
    planar: int = INTERLEAVED,
    order: str = "<",
    rows: int | None = None,
    tile: tuple[int, int] | None = None,
    compression: int = UNCOMPRESSED,
    predictor: int = 1,
    extra: Sequence[int] = (),
    more: dict[int, list[int]] | None = None,
) -> bytes:
    """A TIFF of (height, width, channels) values, uint8 or uint16.

    Args:
        values: the samples, as they are to lie in the file.
        photometric: what they mean.
        planar: whether a pixel's channels lie side by side or in planes of their own.
        order: byte order, `<` or `>`.
        rows: of a strip; None: one strip.
        tile: width and length of tiles, in the place of strips.
        compression: UNCOMPRESSED, LZW or DEFLATE.
        predictor: 2 for differences between neighbours.
        extra: what the channels past the colours mean.
        more: further tags, or others in the place of these.
    """
    height, width, channels = values.shape
    planes = np.split(values, channels, axis=2) if planar == IN_PLANES else [values]
    pieces = [
        _compressed(_bytes(piece, order, predictor), compression)
        for plane in planes
        for piece in _pieces(plane, rows or height, tile)
    ]
    tags = {256: [width], 257: [height], 258: [8 * values.itemsize] * channels}
    tags |= {259: [compression], 262: [photometric], 277: [channels], 284: [planar]}
    tags |= {317: [predictor]} if predictor > 1 else {}
    tags |= {338: list(extra)} if extra else {}
    tags |= {322: [tile[0]], 323: [tile[1]]} if tile else {278: [rows or height]}
    return written(tags | (more or {}), pieces, order=order, tiled=tile is not None)


def written(
    tags: dict[int, list[int]], pieces: Sequence[bytes], *, order: str = "<", tiled: bool = False
) -> bytes:
    """A TIFF of these tags around strips or tiles."""
    starts, counts = (324, 325) if tiled else (273, 279)
    tags = tags | {starts: [0] * len(pieces), counts: [len(piece) for piece in pieces]}
    outside = sum(_size(tag, tags[tag]) for tag in tags if _size(tag, tags[tag]) > 4)
    first = 8 + 2 + 12 * len(tags) + 4
    tags[starts] = [
        first + outside + sum(map(len, pieces[:number])) for number in range(len(pieces))
    ]
    entries, lists = b"", b""
    for tag, numbers in sorted(tags.items()):
        code, kind = ("H", _SHORT) if tag in _SHORTS else ("I", _LONG)
        field = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        if len(field) > 4:
            lists += field
            field = struct.pack(order + "I", first + len(lists) - len(field))
        entries += struct.pack(order + "HHI", tag, kind, len(numbers)) + field.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(tags))
    return head + entries + bytes(4) + lists + b"".join(pieces)


def raw_file(first: dict[int, list[int]], sub: dict[int, list[int]] | None = None) -> bytes:
    """A file as cameras write: a thumbnail first, and behind it a directory of the sensor's values.

    Args:
        first: further tags of the first directory.
        sub: tags of the directory within it; None: there is none.
    """
    grey = bytes(range(48)) * 64
    tags = {256: [64], 257: [48], 258: [8], 262: [GREY], 277: [1], 278: [48]}
    own = {} if sub is None else {330: [0]}
    data = bytearray(written(tags | own | first, [grey]))
    if sub is not None:
        at = data.index(struct.pack("<HHI", 330, _LONG, 1)) + 8
        data[at : at + 4] = struct.pack("<I", len(data))
        data += struct.pack("<H", len(sub))
        for tag, (number,) in sorted(sub.items()):
            data += struct.pack("<HHII", tag, _LONG, 1, number)
        data += bytes(4)
    return bytes(data)


def _size(tag: int, numbers: Sequence[int]) -> int:
    return len(numbers) * (2 if tag in _SHORTS else 4)


def _pieces(plane: np.ndarray, rows: int, tile: tuple[int, int] | None) -> Iterator[np.ndarray]:
    height, width, channels = plane.shape
    if tile is None:
        yield from (plane[top : top + rows] for top in range(0, height, rows))
        return
    for top in range(0, height, tile[1]):
        for left in range(0, width, tile[0]):
            whole = np.zeros((tile[1], tile[0], channels), plane.dtype)
            part = plane[top : top + tile[1], left : left + tile[0]]
            whole[: part.shape[0], : part.shape[1]] = part
            yield whole


def _bytes(piece: np.ndarray, order: str, predictor: int) -> bytes:
    if predictor > 1:
        piece = np.concatenate([piece[:, :1], piece[:, 1:] - piece[:, :-1]], axis=1)  # wraps round
    return piece.astype(piece.dtype.newbyteorder(order)).tobytes()


def _compressed(data: bytes, compression: int) -> bytes:
    if compression == DEFLATE:
        return zlib.compress(data)
    if compression == LZW:  # codes of nine bits only: the table is cleared before it grows
        codes = [256]
        for at in range(0, len(data), 250):
            codes += [*data[at : at + 250], 256]
        bits = "".join(f"{code:09b}" for code in (*codes, 257))
        bits += "0" * (-len(bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8, "big")
    return data
