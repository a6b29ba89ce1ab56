"""Photos for tests: made from nothing in every format and every kind of damage, and real ones."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
"""The repository."""
SHARED = ROOT.parent / "shared"
"""The folder of photos beside the repository, which users do not have."""


# Real photographs


def sklearn_photos() -> tuple[Path, Path]:
    """china.jpg and flower.jpg of scikit-learn's wheel, both 640 x 427."""
    import sklearn.datasets

    folder = Path(sklearn.datasets.__file__).parent / "images"
    return folder / "china.jpg", folder / "flower.jpg"


def imagenet_samples() -> list[Path]:
    """The 200 photos of ../shared/data/imagenet-samples; skips the test where there are none."""
    return sorted(shared_data("imagenet-samples").glob("*.JPEG"))


def shared_data(name: str) -> Path:
    """A file or folder of ../shared/data, which users do not have; skips the test without it."""
    path = SHARED / "data" / name
    if not path.exists():
        pytest.skip(f"needs ../shared/data/{name}, which is not on this machine")
    return path


# Pictures without a file


def pattern(width: int = 96, height: int = 72, *, seed: int = 0) -> Image.Image:
    """An RGB picture of smooth colours that no turn or mirror maps onto itself."""
    phase = np.random.default_rng(seed).uniform(0.2, 1.0, 3)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    colour = np.stack(
        [
            x * 200 + 20 * np.sin(9 * y + phase[0]),
            y * 220 + 15 * np.cos(7 * x + phase[1]),
            120 + 100 * np.sin(5 * (x + 2 * y) + 6 * phase[2]),
        ],
        axis=-1,
    )
    return Image.fromarray(np.clip(np.rint(colour), 0, 255).astype(np.uint8))


def plain(colour: tuple[int, int, int], *, side: int = 80) -> Image.Image:
    """A square of one colour."""
    return Image.new("RGB", (side, side), colour)


# What is expected of them


def fitted(
    image: Image.Image, size: int = 64, method: Image.Resampling = Image.Resampling.BILINEAR
) -> np.ndarray:
    """Shorter side to `size`, other side in proportion, central square: with Pillow, by hand."""
    short = min(image.size)
    width, height = (int(size * side / short) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    whole = image.resize((width, height), method)
    return np.asarray(whole.crop((left, top, left + size, top + size)))


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference of two photos, in levels of 255."""
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


# Files as bytes


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    """The picture as a file of that format."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def with_orientation(image: Image.Image, orientation: int, format: str = "JPEG") -> bytes:
    """A file that says by EXIF how it is to be turned; its stored pixels are those of `image`."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {"exif": exif}
    if format == "TIFF":
        options = {"tiffinfo": {0x0112: orientation}}
    if format == "WEBP":
        options["lossless"] = True
    if format == "JPEG":
        options |= {"quality": 100, "subsampling": 0}
    return encode(image, format, **options)


def with_broken_exif(image: Image.Image) -> bytes:
    """A good JPEG whose EXIF block points past its own end, which Pillow warns about."""
    entry = struct.pack("<HHII", 0x010E, 2, 5000, 99999)
    return encode(image, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + b"\x03\0" + entry * 3)


def grey16(values: np.ndarray, format: str = "PNG") -> bytes:
    """Grey values 0..65535 as a 16-bit file; TIFF-BE is a TIFF in Motorola's byte order."""
    if format == "TIFF-BE":
        return tiff(values.astype(">u2").tobytes(), values.shape[::-1], order=">")
    return encode(Image.fromarray(values.astype(np.uint16)), format)


def animation(format: str, frames: int = 3, *, size: tuple[int, int] = (96, 72)) -> bytes:
    """An animated GIF, WEBP or PNG, or a TIFF of several pages; the first frame is pattern()."""
    pictures = [pattern(*size, seed=seed) for seed in range(frames)]
    options: dict[str, object] = {"save_all": True, "append_images": pictures[1:]}
    if format == "WEBP":
        options["lossless"] = True
    if format == "GIF":
        pictures = [picture.quantize(64) for picture in pictures]
        options["append_images"] = pictures[1:]
    return encode(pictures[0], format, **options)


def palette_with_hole() -> Image.Image:
    """Palette picture, 64 x 64: the left half opaque red, the right half transparent green."""
    image = Image.new("P", (64, 64), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.paste(1, (32, 0, 64, 64))
    image.info["transparency"] = 1
    return image


def every_kind() -> dict[str, bytes]:
    """A small good file of each format and pixel kind, by a name for it."""
    rgb = pattern()
    grey = rgb.convert("L")
    alpha = grey.point(lambda level: 255 - level)
    rgba, la = rgb.copy(), grey.copy()
    rgba.putalpha(alpha)
    la.putalpha(alpha)
    deep = np.asarray(grey).astype(np.uint16) * 257
    return {
        "jpeg": encode(rgb, "JPEG"),
        "jpeg progressive": encode(rgb, "JPEG", progressive=True),
        "jpeg grey": encode(grey, "JPEG"),
        "jpeg cmyk": encode(rgb.convert("CMYK"), "JPEG"),
        "jpeg turned": with_orientation(rgb, 6),
        "png": encode(rgb, "PNG"),
        "png rgba": encode(rgba, "PNG"),
        "png la": encode(la, "PNG"),
        "png palette": encode(rgb.quantize(32), "PNG"),
        "png palette with a hole": encode(palette_with_hole(), "PNG", transparency=1),
        "png 1-bit": encode(rgb.convert("1"), "PNG"),
        "png 16-bit": grey16(deep),
        "png animated": animation("PNG"),
        "webp": encode(rgb, "WEBP"),
        "webp lossless alpha": encode(rgba, "WEBP", lossless=True),
        "webp animated": animation("WEBP"),
        "bmp": encode(rgb, "BMP"),
        "bmp palette": encode(rgb.quantize(32), "BMP"),
        "tiff": encode(rgb, "TIFF"),
        "tiff lzw": encode(rgb, "TIFF", compression="tiff_lzw"),
        "tiff deflate turned": encode(
            rgb, "TIFF", compression="tiff_adobe_deflate", tiffinfo={0x0112: 8}
        ),
        "tiff jpeg": encode(rgb, "TIFF", compression="jpeg"),
        "tiff cmyk": encode(rgb.convert("CMYK"), "TIFF"),
        "tiff 16-bit": grey16(deep, "TIFF"),
        "tiff 16-bit big-endian": grey16(deep, "TIFF-BE"),
        "tiff pages": animation("TIFF"),
        "gif": encode(rgb.quantize(64), "GIF"),
        "gif animated": animation("GIF"),
    }


# Files built by hand


def tiff(
    data: bytes,
    size: tuple[int, int],
    *,
    bits: int = 16,
    sample: int = 1,
    photometric: int = 1,
    order: str = "<",
    more: dict[int, int] | None = None,
) -> bytes:
    """An uncompressed grey TIFF around pixel data in byte order `order`, with `more` tags."""
    tags = {256: size[0], 257: size[1], 258: bits, 259: 1, 262: photometric, 277: 1, 278: size[1]}
    tags |= {279: len(data), 339: sample} | (more or {})
    start = 8 + 2 + 12 * (len(tags) + 1) + 4
    tags[273] = start
    entries = b"".join(
        struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())
    )
    magic = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(order + "I", 8) + struct.pack(order + "H", len(tags)) + entries
    return magic + directory + bytes(4) + data


def png_chunk(name: bytes, body: bytes) -> bytes:
    """One chunk of a PNG, with its length and checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def bomb(width: int = 20_000, height: int = 20_000) -> bytes:
    """A valid RGB PNG of black, a thousandth of its decoded size; its pixels are never allocated.

    The deflate stream is one compressed block of zeros, flushed to a byte boundary and repeated.
    """
    total, block = height * (1 + 3 * width), 1 << 20
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = compressor.compress(bytes(block)) + compressor.flush(zlib.Z_FULL_FLUSH)
    rest = zlib.compressobj(9, zlib.DEFLATED, -15)
    last = rest.compress(bytes(total % block)) + rest.flush()
    adler = (total % 65521) << 16 | 1  # of zeros: the first sum stays 1, the second counts
    stream = b"\x78\xda" + first * (total // block) + last + struct.pack(">I", adler)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", stream) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def oversized() -> dict[str, bytes]:
    """Small files whose headers promise 100 megapixels (the PNG 400), some of each format.

    That is below the limit at which Pillow itself would refuse.
    """
    side = struct.pack("<H", 10_000)
    jpeg = bytearray(encode(pattern(), "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 10_000, 10_000)
    bmp = bytearray(encode(pattern(), "BMP"))
    bmp[18:26] = struct.pack("<II", 10_000, 10_000)
    gif = bytearray(encode(pattern().quantize(8), "GIF"))
    gif[6:10] = side * 2
    frame = bytearray(encode(pattern().quantize(8), "GIF"))
    at = frame.index(b",", 13 + 24) + 5  # past the palette of eight colours
    frame[at : at + 4] = side * 2
    webp = bytearray(encode(pattern(), "WEBP"))
    at = webp.index(b"\x9d\x01\x2a") + 3
    webp[at : at + 4] = side * 2
    lossless = bytearray(encode(pattern(), "WEBP", lossless=True))
    bits = int.from_bytes(lossless[21:25], "little") >> 28 << 28
    lossless[21:25] = struct.pack("<I", bits | 9_999 << 14 | 9_999)
    extended = bytearray(animation("WEBP"))
    extended[24:30] = (9_999).to_bytes(3, "little") * 2
    return {
        "jpeg": bytes(jpeg),
        "png": bomb(),
        "webp": bytes(webp),
        "webp lossless": bytes(lossless),
        "webp animated": bytes(extended),
        "bmp": bytes(bmp),
        "tiff": tiff(b"", (10_000, 10_000), bits=8),
        "tiff tile": tiff(b"", (10, 10), bits=8, more={322: 10_000, 323: 10_000, 324: 8, 325: 9}),
        "gif": bytes(gif),
        "gif frame": bytes(frame),
    }


# Damage


def damaged(data: bytes, *, seed: int, cuts: int = 8, flips: int = 8) -> Iterator[bytes]:
    """Copies of a file: `cuts` of them cut short, `flips` with a few bits turned.

    Half of either kind is damaged in the first 200 bytes, where the headers are.
    """
    rng = random.Random(seed)
    for number in range(cuts):
        yield data[: rng.randrange(1, min(200, len(data)) if number % 2 else len(data))]
    for number in range(flips):
        copy = bytearray(data)
        for _ in range(rng.choice((1, 2, 8))):
            at = rng.randrange(min(200, len(data)) if number % 2 else len(data))
            copy[at] ^= 1 << rng.randrange(8)
        yield bytes(copy)
