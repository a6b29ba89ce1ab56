"""TIFF files as Pillow's reader opens them, with what it gets wrong put right.

Planes: a file whose channels lie one behind the other (PlanarConfiguration 2) has the pixels of the
same file with its channels interleaved. Pillow is right about such files with 8 bits a channel
only, and not about all of them; here each plane is decoded by itself, as a grey picture.

Palettes: some programs write 8-bit colours into the 16-bit numbers of the colour map unscaled.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from PIL import Image, ImagePalette
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from alexnet.photo_error import UnsupportedFormatError

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANAR = 273, 277, 278, 279, 284
_PREDICTOR, _COLOR_MAP, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 317, 320, 338, 339
_YCBCR_SUBSAMPLING = 530
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325
_INTERLEAVED, _IN_PLANES = 1, 2
_UNCOMPRESSED, _JPEGS, _YCBCR = 1, (6, 7), 6
_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1
_UNSPECIFIED, _PREMULTIPLIED, _SIGNED = 0, 1, 2
_PLANE_MISSING = "image file is truncated: a plane is not all there"
# What a plane's directory takes over from the picture's.
_SHARED = (_WIDTH, _LENGTH, _COMPRESSION, _FILL_ORDER, _PREDICTOR, _ROWS, _TILE_WIDTH, _TILE_LENGTH)


class TiffPhotoFile(TiffImageFile):
    """The first page of a TIFF, its pixels not read yet."""

    _in_planes = False
    """Whether the picture is put together here."""

    def _setup(self) -> None:
        tags = self.tag_v2
        # A plane in JPEG or of subsampled chroma is no grey picture: libtiff puts those together.
        own = tags.get(_COMPRESSION) not in _JPEGS and tags.get(_PHOTOMETRIC) != _YCBCR
        if own and tags.get(_PLANAR) == _IN_PLANES:
            self._in_planes = tags.get(_SAMPLES, 1) > 1
            _leave_out_unspecified(tags)
            tags[_PLANAR] = _INTERLEAVED  # Pillow takes the pixels' kind for that of such a file
        super()._setup()
        _check_pixels(tags)
        if self.mode in ("P", "PA") and max(tags[_COLOR_MAP], default=0) < 256:
            self.palette = ImagePalette.raw("RGB;L", bytes(tags[_COLOR_MAP]))

    def load(self) -> Any:
        """As Pillow's, for planes, too."""
        if self.tile and self._in_planes:
            self.im = self._merged().im
            self.load_prepare()  # gives it the palette
            self.tile = []
            self.readonly = 0
            self.load_end()
        return super().load()

    def _merged(self) -> Image.Image:
        """The picture from its planes."""
        count = len(self.getbands())
        planes = (TiffImageFile(io.BytesIO(self._plane(number))) for number in range(count))
        if count == 1:
            (plane,) = planes
            plane.load()
            return plane if self.mode != "P" else Image.frombytes("P", plane.size, plane.tobytes())
        bands = [_upper_bits(plane) for plane in planes]
        if self.mode == "LAB":  # a* and b* are signed in the file, and shifted by 128 in Pillow
            bands[1:] = [band.point([level ^ 128 for level in range(256)]) for band in bands[1:]]
        extra = _numbers(self.tag_v2, _EXTRA_SAMPLES)
        if self.mode == "RGBA" and extra[:1] == (_PREMULTIPLIED,):
            return Image.merge("RGBa", bands).convert("RGBA")
        return Image.merge(self.mode, bands)

    def _plane(self, number: int) -> bytes:
        """One plane as a TIFF of its own."""
        tags = self.tag_v2
        bits = _numbers(tags, _BITS)
        own = {_BITS: bits[0], _PHOTOMETRIC: _BLACK_IS_ZERO, _SAMPLES: 1, _PLANAR: _INTERLEAVED}
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            own[_PHOTOMETRIC] = _WHITE_IS_ZERO
        own |= {tag: tags[tag] for tag in _SHARED if tag in tags}
        tiled = _STRIP_OFFSETS not in tags
        pieces = self._pieces(number, bits[0], tiled=tiled)
        head = b"II*\0" if tags.prefix == b"II" else b"MM\0*"
        return _tiff(head, own, pieces, tiled=tiled)

    def _pieces(self, number: int, bits: int, *, tiled: bool) -> list[memoryview]:
        """The strips or tiles of a plane, as they lie in the file."""
        tags = self.tag_v2
        width, length = tags[_WIDTH], tags[_LENGTH]
        wide, high = width, min(tags.get(_ROWS, length), length)
        if tiled:
            wide, high = tags[_TILE_WIDTH], tags[_TILE_LENGTH]
        down = -(-length // high)
        count = -(-width // wide) * down
        place = slice(number * count, (number + 1) * count)
        starts = _numbers(tags, _TILE_OFFSETS if tiled else _STRIP_OFFSETS)[place]
        if len(starts) < count:  # a size can promise millions that are not in the file
            raise OSError(_PLANE_MISSING)
        if tags.get(_COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED:  # readers ignore its counts
            sizes = (high * (wide * bits // 8),) * count
            if not tiled:
                last = length - (down - 1) * high
                sizes = (*sizes[:-1], last * (wide * bits // 8))
        else:
            sizes = _numbers(tags, _TILE_BYTES if tiled else _STRIP_BYTES)[place]
        assert isinstance(self.fp, io.BytesIO)
        data = self.fp.getbuffer()
        if len(sizes) < count or sum(sizes) > len(data):
            raise OSError(_PLANE_MISSING)
        return [data[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def _check_pixels(tags: ImageFileDirectory_v2) -> None:
    """Refuse pixels that Pillow reads as something else.

    Raises:
        UnsupportedFormatError: signed numbers of up to 16 bits, whose white is not known.
        OSError: uncompressed YCbCr with fewer chroma values than pixels.
    """
    if _SIGNED in _numbers(tags, _SAMPLE_FORMAT) and max(_numbers(tags, _BITS), default=1) <= 16:
        raise UnsupportedFormatError(
            "This TIFF picture's pixels are signed numbers, whose white is not known: "
            "save it with 8 or 16 bits a channel and no sign."
        )
    plain = tags.get(_COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED
    has_chroma = tags.get(_PHOTOMETRIC) == _YCBCR and tags.get(_SAMPLES, 1) > 1
    if plain and has_chroma and tuple(tags.get(_YCBCR_SUBSAMPLING, (2, 2))) != (1, 1):
        raise OSError("uncompressed YCbCr with subsampled chroma")


def _leave_out_unspecified(tags: ImageFileDirectory_v2) -> None:
    """Forget channels that mean nothing, of which Pillow knows only some numbers."""
    extra, bits = _numbers(tags, _EXTRA_SAMPLES), _numbers(tags, _BITS)
    if extra and max(extra) == _UNSPECIFIED:
        tags[_SAMPLES] = tags.get(_SAMPLES, 1) - len(extra)
        if len(bits) > 1:
            tags[_BITS] = bits[: -len(extra)]
        del tags[_EXTRA_SAMPLES]


def _numbers(tags: ImageFileDirectory_v2, tag: int) -> tuple[int, ...]:
    value = tags.get(tag, ())
    return value if isinstance(value, tuple) else (value,)


def _upper_bits(plane: Image.Image) -> Image.Image:
    """A grey picture with 8 or 16 bits as one of 8: the upper ones, as Pillow keeps of colours."""
    plane.load()
    if plane.mode == "L":
        return plane.copy()
    return Image.fromarray((np.asarray(plane) >> 8).astype(np.uint8))


def _tiff(head: bytes, tags: dict[int, int], pieces: list[memoryview], *, tiled: bool) -> bytes:
    """A TIFF around strips or tiles: the directory first, its two lists, then they."""
    order = "<" if head.startswith(b"II") else ">"
    lists = 8 + 2 + 12 * (len(tags) + 2) + 4
    starts, at = [], lists + 8 * len(pieces)
    for piece in pieces:
        starts.append(at)
        at += len(piece)
    sizes = [len(piece) for piece in pieces]
    entries = {tag: (1, value) for tag, value in tags.items()}
    one = len(pieces) == 1  # a single number lies in the directory itself
    entries[_TILE_OFFSETS if tiled else _STRIP_OFFSETS] = (
        len(pieces),
        starts[0] if one else lists,
    )
    entries[_TILE_BYTES if tiled else _STRIP_BYTES] = (
        len(pieces),
        sizes[0] if one else lists + 4 * len(pieces),
    )
    directory = b"".join(
        struct.pack(order + "HHII", tag, 4, *entry) for tag, entry in sorted(entries.items())
    )
    numbers = struct.pack(f"{order}{2 * len(pieces)}I", *starts, *sizes)
    return b"".join(
        [
            head,
            struct.pack(order + "IH", 8, len(entries)),
            directory,
            bytes(4),
            numbers,
            *pieces,
        ]
    )
