"""What a file says of itself before any decoder runs: its format, its canvas, its frames."""

from __future__ import annotations

import re
import struct

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""The formats that are read, under Pillow's names."""
HEAD = 1024
"""Bytes from the start of a file that are enough to name its format."""
MAX_FRAMES = 10_000
"""Frames are counted up to here, so that a file of empty frames cannot keep the counter busy."""

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"MM*\0", b"II\0*")
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)

_OTHERS = {
    "AVIF": rb".{4}ftypavi[fs]",
    "HEIC": rb".{4}ftyp(hei|hev|mif1|msf1)",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "JPEG XL": rb"\0\0\0\x0cJXL |\xff\x0a",
    "JPEG XR": rb"II\xbc",
    "Photoshop": rb"8BPS",
    "icon": rb"\0\0[\x01\x02]\0[^\0]\0|icns",
    "PDF": rb"%PDF-",
    "PostScript": rb"%!PS",
    "SVG": rb"(\xef\xbb\xbf)?\s*(<\?xml.*)?<svg[\s>]",
    "PNM": rb"P[1-7]\s",
    "QOI": rb"qoif",
    "OpenEXR": rb"\x76\x2f\x31\x01",
    "Radiance": rb"#\?RADIANCE|#\?RGBE",
    "DDS": rb"DDS ",
    "SGI": rb"\x01\xda[\0\x01][\x01\x02]",
    "PCX": rb"\x0a[\0\x02-\x05]\x01[\x01\x02\x04\x08]",
    "FITS": rb"SIMPLE  =",
    "Windows metafile": rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF",
    "XPM": rb"/\* XPM \*/",
}
_OTHERS_COMPILED = {name: re.compile(what, re.DOTALL) for name, what in _OTHERS.items()}


def sniff(head: bytes) -> str | None:
    """The format of a file that begins with `head`, one of FORMATS; None when it is none of them.

    The bytes alone decide, never a file's name or declared type.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    # Two letters alone begin many a text: a bitmap also says how long its header is.
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head.startswith(_TIFF):
        return "TIFF"
    return "GIF" if head.startswith((b"GIF87a", b"GIF89a")) else None


def sniff_other(head: bytes) -> str | None:
    """The name of a picture format that is recognised but not read; None for foreign bytes."""
    return next((name for name, what in _OTHERS_COMPILED.items() if what.match(head)), None)


def webp_canvas(data: bytes) -> tuple[int, int] | None:
    """Width and height from a WebP header; None when it is damaged.

    libwebp allocates the canvas when it opens the file, so its size has to be known before.
    """
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X" and len(body) == 10:
        return (
            1 + int.from_bytes(body[4:7], "little"),
            1 + int.from_bytes(body[7:10], "little"),
        )
    if kind == b"VP8L" and body[:1] == b"\x2f":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", body[6:10].ljust(4, b"\0"))
        return width & 0x3FFF, height & 0x3FFF
    return None


def gif_frames(data: bytes) -> int:
    """Frames of a GIF, counted from its block structure; a file cut short counts what is there."""
    frames = 0
    at = 13 + _palette_bytes(data[10])
    try:
        while frames < MAX_FRAMES and data[at] != 0x3B:
            if data[at] == 0x2C:
                flags = data[at + 9]
                frames += 1
                at = _after_blocks(data, at + 11 + _palette_bytes(flags))
            elif data[at] == 0x21:
                at = _after_blocks(data, at + 2)
            else:
                at += 1  # a stray byte between blocks, which decoders pass over
    except IndexError:
        pass
    return frames


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    """The position after a chain of sub-blocks, which an empty block ends."""
    while length := data[at]:
        at += 1 + length
    return at + 1


def tiff_frames(data: bytes) -> int:
    """Pages of a TIFF: the length of its chain of directories, also of a BigTIFF."""
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    count_of, offset_of = struct.Struct(order + "HQ"[big]), struct.Struct(order + "IQ"[big])
    entry = 20 if big else 12
    seen: set[int] = set()
    try:
        (at,) = offset_of.unpack_from(data, 8 if big else 4)
        while at and at not in seen and len(seen) < MAX_FRAMES:
            (entries,) = count_of.unpack_from(data, at)
            seen.add(at)
            (at,) = offset_of.unpack_from(data, at + count_of.size + entries * entry)
    except struct.error:
        pass
    return len(seen)
