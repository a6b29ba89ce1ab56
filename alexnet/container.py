"""What a file says of itself before any decoder runs: its format, its canvas, its frames."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIF")
"""The formats that are read, under Pillow's names; HEIF, which is HEIC, with the extra `heif`."""
RAW = "camera raw"
"""The names of formats of cameras' raw files begin so."""
HEAD = 1024
"""Bytes from the start of a file that are enough to name its format."""
MAX_FRAMES = 10_000
"""Frames are counted up to here, so that a file of empty frames cannot keep the counter busy."""

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"MM*\0", b"II\0*")
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {
    *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"),
    *(b"mif1", b"mif2", b"msf1"),
}
_SUBFILE_TYPE, _PHOTOMETRIC, _SUB_DIRECTORIES, _DNG_VERSION = 254, 262, 330, 50706
_SENSOR = {32803, 34892}  # a colour filter array, and its values made into colours linearly
_RAW_PAGES, _RAW_TAGS = 16, 1000
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)

_OTHERS = {
    f"{RAW} CR3": rb".{4}ftypcrx ",
    f"{RAW} RAF": rb"FUJIFILMCCD-RAW",
    f"{RAW} ORF": rb"II(RO|RS)|MMOR",
    f"{RAW} RW2": rb"IIU\0",
    f"{RAW} X3F": rb"FOVb",
    f"{RAW} MRW": rb"\0MRM",
    f"{RAW} CRW": rb"II.{4}HEAPCCDR",
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
    "XCF": rb"gimp xcf ",
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
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    return _heif(head) if head[4:8] == b"ftyp" else None


def _heif(head: bytes) -> str | None:
    """AVIF or HEIF by the brands of a file of their container, if it is a still picture of one."""
    brands = head[8 : min(len(head), int.from_bytes(head[:4], "big"))]
    found = {brands[at : at + 4] for at in range(0, len(brands), 4) if at != 4}  # 4: its version
    if found & _AVIF_BRANDS:
        return "AVIF"
    return "HEIF" if found & _HEIF_BRANDS else None


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
    return sum(1 for _ in _Directories(data))


def raw_tiff(data: bytes) -> str | None:
    """The name of a camera's raw file that is a TIFF by its first bytes; None for other TIFFs.

    What decoders find in such a file is its thumbnail.
    """
    if data[8:10] == b"CR":
        return f"{RAW} CR2"
    if data[8:12] in (b"IIII", b"MMMM"):
        return f"{RAW} IIQ"
    directories = _Directories(data)
    pages = [directories.tags(at) for at in islice(directories, _RAW_PAGES)]
    if not pages:
        return None
    if _DNG_VERSION in pages[0]:
        return f"{RAW} DNG"
    within = [directories.tags(at) for at in pages[0].get(_SUB_DIRECTORIES, ())[:_RAW_PAGES]]
    of_sensor = any(_SENSOR & {*page.get(_PHOTOMETRIC, ())} for page in (*pages, *within))
    is_thumbnail = bool(within) and any(kind & 1 for kind in pages[0].get(_SUBFILE_TYPE, ()))
    return RAW if of_sensor or is_thumbnail else None


class _Directories:
    """The directories of a TIFF or BigTIFF: their positions, in the chain's order."""

    def __init__(self, data: bytes) -> None:
        order, self._big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
        self._data = data
        self._count = struct.Struct(order + "HQ"[self._big])
        self._offset = struct.Struct(order + "IQ"[self._big])
        self._entry = struct.Struct(order + ("HHI4s", "HHQ8s")[self._big])
        self._numbers = {3: (2, order + "%dH"), 4: (4, order + "%dI"), 13: (4, order + "%dI")}
        self._numbers |= {1: (1, order + "%dB"), 16: (8, order + "%dQ"), 18: (8, order + "%dQ")}

    def __iter__(self) -> Iterator[int]:
        seen: set[int] = set()
        with suppress(struct.error, OverflowError):  # a BigTIFF's offsets have 64 bits
            (at,) = self._offset.unpack_from(self._data, 8 if self._big else 4)
            while at and at not in seen and len(seen) < MAX_FRAMES:
                (entries,) = self._count.unpack_from(self._data, at)
                seen.add(at)
                yield at
                next_at = at + self._count.size + entries * self._entry.size
                (at,) = self._offset.unpack_from(self._data, next_at)

    def tags(self, at: int) -> dict[int, tuple[int, ...]]:
        """The whole numbers in the directory at a position, up to 16 of a tag."""
        found: dict[int, tuple[int, ...]] = {}
        with suppress(struct.error, OverflowError):
            (entries,) = self._count.unpack_from(self._data, at)
            for number in range(min(entries, _RAW_TAGS)):
                place = at + self._count.size + number * self._entry.size
                tag, kind, count, field = self._entry.unpack_from(self._data, place)
                if kind not in self._numbers:
                    continue
                size, format = self._numbers[kind]
                count = min(count, 16)
                if size * count <= len(field):
                    found[tag] = struct.unpack_from(format % count, field)
                else:
                    (start,) = self._offset.unpack(field)
                    found[tag] = struct.unpack_from(format % count, self._data, start)
        return found
