"""Bytes, a path or a PIL image -> the picture that they hold: upright, in RGB, of its own size.

The file's bytes alone decide what it is. Only the formats of `container.FORMATS` are read, each by
its own Pillow plugin; the pixel limit is checked on the header, before anything is decoded. EXIF
orientation is applied; colour profiles are not. Whatever a file holds, the result is a picture or a
PhotoError, and what Pillow raises and warns of while it reads the file stays inside. Any other
exception is a defect of ours.
"""

from __future__ import annotations

import io
import os
import stat
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from alexnet import container, jpeg, png
from alexnet.errors import MissingPackageError, optional_import
from alexnet.photo_error import (
    CorruptPhotoError,
    MissingPhotoError,
    PhotoError,
    TooManyPixelsError,
    UnreadablePhotoError,
    UnsupportedFormatError,
    needing_memory,
)
from alexnet.pixels import to_rgb
from alexnet.quiet import quiet_libtiff, quiet_pillow
from alexnet.tiff import TiffPhotoFile

MAX_PIXELS = 64_000_000
"""Width times height that is decoded at most, unless a caller says otherwise."""

Source = str | os.PathLike[str] | bytes | Image.Image

# The plugins' classes rather than Image.open: the format is known by then, so that an error is a
# damaged file of that format and never "not identified"; a JPEG stays one frame whatever its
# makers append (MPO); and PIL.Image.MAX_IMAGE_PIXELS, a limit of the process, is not touched.
_READERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffPhotoFile,
    "GIF": GifImagePlugin.GifImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}
_NAMES = "JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF or HEIC"
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)
_TILE_WIDTH, _TILE_LENGTH = 322, 323
# A PIL image is its owner's, who may hand it in twice; loading one is not safe in two threads.
_lent_image = threading.Lock()


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedPhoto:
    """A whole picture and what is known of the file it came from."""

    image: Image.Image
    """RGB and upright. It may be the very PIL image that was handed in: not to be altered."""
    width: int
    """Of the upright original, in pixels; `image` is smaller where the decoder shrank it."""
    height: int
    format: str
    """One of `container.FORMATS`; for a PIL image its own format, or "PIL"."""
    frames: int
    """Pictures in an animation or pages of a TIFF (counted to 10,000); the first one is used."""


def decode_photo(
    source: Source, *, smallest: int | None = None, max_pixels: int = MAX_PIXELS
) -> DecodedPhoto:
    """Decode a photo, turn it upright and convert it to RGB.

    `smallest` lets the JPEG decoder shrink the photo while it decodes, to a half, a quarter or an
    eighth, as long as no side falls below it. A PIL image is used as it is now (its current frame)
    and is not altered.

    Raises:
        PhotoError: the photo cannot be used; the subclass and `code` say why.
        OutOfMemoryError: there is no memory for it.
        TypeError: `source` is none of the four kinds.
    """
    with quiet_pillow(), needing_memory():
        if isinstance(source, Image.Image):
            data, kind, frames = None, source.format or "PIL", 1
            image = source
        else:
            data = source if isinstance(source, bytes) else _read(source)
            kind = _format_of(data)
            image = _open(data, kind, max_pixels)
            frames = _frames(image, data)
        width, height = image.size
        _check_size(image, kind, max_pixels)
        with _lent_image if data is None else nullcontext():
            image = _lent(image, kind) if data is None else _loaded(image, kind, data, smallest)
            # What Pillow raises on a file's bytes is behind us: from here on a fault is our own.
            turn = _turn(image)
            rgb = to_rgb(image)
        del image  # with it goes what its decoder keeps: of a WebP twice the picture
        if turn is not None:
            rgb = rgb.transpose(turn)
        if turn in _SIDEWAYS:
            width, height = height, width
        return DecodedPhoto(image=rgb, width=width, height=height, format=kind, frames=frames)


def _read(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file that begins like a picture; other files are not read to their end."""
    name = os.fspath(path)
    try:
        if not stat.S_ISREG(Path(name).stat().st_mode):
            raise MissingPhotoError(f"'{name}' is not a file.", code="unreadable_file")
        with Path(name).open("rb") as file:
            head = file.read(container.HEAD)
            _format_of(head)
            return head + file.read()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingPhotoError(f"There is no file '{name}'.") from error
    except OSError as error:
        reason = error.strerror or "the disk gives no reason"
        raise MissingPhotoError(
            f"'{name}' cannot be read: {reason}.", code="unreadable_file"
        ) from error
    except PhotoError:
        raise
    except ValueError as error:  # a null character in the path
        raise MissingPhotoError(f"{name!r} is not a file name.") from error


def _format_of(data: bytes) -> str:
    if not data:
        raise UnreadablePhotoError("The file is empty.", code="empty_file")
    head = data[: container.HEAD]
    if kind := container.sniff(head):
        return kind
    if other := container.sniff_other(head):
        raise _not_read(other)
    raise UnreadablePhotoError(f"This is no picture: its bytes are not those of a {_NAMES} file.")


def _not_read(format: str) -> UnsupportedFormatError:
    if format.startswith(container.RAW):
        name = format.removeprefix(container.RAW).strip()
        return UnsupportedFormatError(
            f"This is a camera's raw file{f' ({name})' * bool(name)}, which is not developed here: "
            "save it as JPEG, PNG or TIFF with the camera's or another raw converter."
        )
    return UnsupportedFormatError(
        f"This is a file of the format {format}, which is not read: save it as {_NAMES}."
    )


def _open(data: bytes, kind: str, max_pixels: int) -> ImageFile.ImageFile:
    if kind == "WEBP" and (canvas := container.webp_canvas(data)):
        _check_pixels(*canvas, max_pixels)
    if kind == "TIFF":
        if raw := container.raw_tiff(data):
            raise _not_read(raw)
        quiet_libtiff()
    reader = _reader(kind)
    try:
        return reader(io.BytesIO(png.pixels_only(data) if kind == "PNG" else data))
    except PhotoError:
        raise
    except Exception as error:
        raise _failure(kind, error) from error


def _reader(kind: str) -> type[ImageFile.ImageFile]:
    """What opens files of a format.

    Raises:
        UnsupportedFormatError: it is not installed.
    """
    if kind == "HEIF":
        try:
            plugin = optional_import("pillow_heif", extra="heif")
        except MissingPackageError as error:
            raise UnsupportedFormatError(f"This is a HEIC photo. {error}") from error
        reader: type[ImageFile.ImageFile] = plugin.HeifImageFile
        return reader
    if kind == "AVIF" and not AvifImagePlugin.SUPPORTED:
        raise UnsupportedFormatError(
            "This is an AVIF photo, and Pillow was built without AVIF here: "
            "install Pillow from its own wheels."
        )
    return _READERS[kind]


def _frames(image: ImageFile.ImageFile, data: bytes) -> int:
    # Pillow's n_frames of GIF and TIFF takes minutes on a file made for that; ours is bounded.
    if isinstance(image, GifImagePlugin.GifImageFile):
        return max(1, container.gif_frames(data))
    if isinstance(image, TiffPhotoFile):
        return max(1, container.tiff_frames(data))
    return min(container.MAX_FRAMES, int(getattr(image, "n_frames", 1)))


def _check_size(image: Image.Image, kind: str, max_pixels: int) -> None:
    if not image.width or not image.height:
        raise CorruptPhotoError(f"This {kind} picture is {image.width} x {image.height}: empty.")
    _check_pixels(image.width, image.height, max_pixels)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # The decoder allocates a whole tile, which may be larger than the picture.
        sides = image.tag_v2.get(_TILE_WIDTH), image.tag_v2.get(_TILE_LENGTH)
        if isinstance(sides[0], int) and isinstance(sides[1], int):
            _check_pixels(sides[0], sides[1], max_pixels)


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooManyPixelsError(
            f"The picture has {width} x {height} = {width * height / 1e6:.1f} megapixels; "
            f"the limit is {max_pixels / 1e6:g} megapixels."
        )


def _lent(image: Image.Image, kind: str) -> Image.Image:
    """A PIL image with its pixels, to be read only."""
    try:
        image.load()
        # Pillow writes transparency into the palette of a picture that it converts.
        return image.copy() if image.mode in ("P", "PA") else image
    except Exception as error:
        raise _failure(kind, error) from error


def _loaded(image: Image.Image, kind: str, data: bytes | None, draft: int | None) -> Image.Image:
    """The picture of the file `data` with its pixels."""
    try:
        if draft is not None and kind == "JPEG":
            image.draft(None, (draft, draft))
        image.load()
    except PhotoError:
        raise
    except Exception as error:
        if kind == "JPEG" and isinstance(error, OSError) and data and (whole := _with_end(data)):
            return _loaded(_READERS[kind](io.BytesIO(whole)), kind, None, draft)
        raise _failure(kind, error) from error
    return image


def _with_end(data: bytes) -> bytes | None:
    try:
        return jpeg.with_end(data)
    except MemoryError:
        raise
    except Exception:  # of Pillow: the file has other damage
        return None


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What turns a loaded picture upright, by EXIF or XMP; damaged metadata turn nothing."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except MemoryError:
        raise
    except Exception:
        return None


def _failure(kind: str, error: Exception) -> PhotoError:
    """The sentence for whatever Pillow raised."""
    if isinstance(error, MemoryError):
        raise error  # the fault is not the file's
    if isinstance(error, Image.DecompressionBombError):  # a caller's limit may lie above Pillow's
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        return TooManyPixelsError(
            f"This {kind} picture has over {most:.0f} megapixels, more than Pillow decodes."
        )
    if "truncated" in str(error).lower():
        return CorruptPhotoError(f"This {kind} file breaks off: a part of the picture is missing.")
    return CorruptPhotoError(
        f"This {kind} file is damaged or written in an unusual way: "
        "open it in a picture editor and save it anew."
    )
