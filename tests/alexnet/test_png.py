"""PNG files whose metadata are damaged or inflate without end: their pixels are read."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from alexnet.decoder import decode_photo
from alexnet.photo import CorruptPhotoError
from alexnet.png import pixels_only
from tests.photos import (
    SHARED,
    animation,
    encode,
    every_kind,
    palette_with_hole,
    pattern,
    png_chunk,
    with_orientation,
)

AFTER_HEADER = 8 + 25
PICTURE = pattern(40, 30)
ZEROS = zlib.compress(bytes(50_000_000), 9)
BOMBS = {
    "iCCP": b"profile\0\0" + ZEROS,
    "zTXt": b"Comment\0\0" + ZEROS,
    "iTXt": b"Comment\0\1\0\0\0" + ZEROS,
    "iTXt of XMP": b"XML:com.adobe.xmp\0\1\0\0\0" + ZEROS,
    "zTXt of EXIF": b"Raw profile type exif\0\0" + ZEROS,
}


def with_chunk(data, chunk, *, last=False):
    at = len(data) - 12 if last else AFTER_HEADER
    return data[:at] + chunk + data[at:]


def wrong(chunk):
    """With a wrong checksum."""
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


def pixels(data):
    return np.asarray(decode_photo(data).image)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind", BOMBS)
def test_metadata_that_inflate_to_50_mb_are_not_inflated(kind, last):
    data = with_chunk(encode(PICTURE), png_chunk(kind[:4].encode(), BOMBS[kind]), last=last)
    np.testing.assert_array_equal(pixels(data), PICTURE)


def test_thousands_of_them_cost_no_time():
    bomb = zlib.compress(bytes(1 << 20), 9)
    chunks = b"".join(
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb)
        + png_chunk(b"zTXt", b"Raw profile type exif\0\0" + bomb)
        for _ in range(3000)
    )
    started = time.process_time()
    np.testing.assert_array_equal(pixels(with_chunk(encode(PICTURE), chunks)), PICTURE)
    assert time.process_time() - started < 1  # inflating all of them takes ten


@pytest.mark.parametrize("name", [b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"gAMA", b"pHYs", b"eXIf"])
def test_a_wrong_checksum_of_what_only_describes_the_picture_changes_nothing(name):
    data = with_chunk(encode(PICTURE), wrong(png_chunk(name, b"x\0\0" + bytes(10))))
    np.testing.assert_array_equal(pixels(data), PICTURE)


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"iCCP", b""),
        png_chunk(b"iCCP", b"name without an end"),
        png_chunk(b"zTXt", b"Comment\0\7"),
        png_chunk(b"gAMA", b"\1"),
        png_chunk(b"tEXt", b"transparency\0white"),  # names by which Pillow keeps other things
        png_chunk(b"tEXt", b"interlace\0no"),
        png_chunk(b"tEXt", b"bbox\0no"),
    ],
)
def test_metadata_that_make_no_sense_change_nothing(chunk):
    np.testing.assert_array_equal(pixels(with_chunk(encode(PICTURE), chunk)), PICTURE)


@pytest.mark.parametrize("name", [b"IHDR", b"PLTE", b"tRNS"])
def test_a_wrong_checksum_of_what_the_pixels_are_made_of_is_damage(name):
    data = encode(palette_with_hole(), "PNG", transparency=1)
    at = data.index(name) - 4
    end = at + 12 + int.from_bytes(data[at : at + 4], "big")
    with pytest.raises(CorruptPhotoError):
        decode_photo(data[:at] + wrong(data[at:end]) + data[end:])


@pytest.mark.parametrize("name", [b"IHDR", b"IDAT", b"PLTE", b"tRNS"])
@pytest.mark.parametrize("bit", range(32))
def test_a_chunk_of_pixels_whose_name_is_damaged_is_damage(name, bit):
    data = encode(palette_with_hole(), "PNG", transparency=1)
    other = (int.from_bytes(name, "big") ^ 1 << bit).to_bytes(4, "big")
    with pytest.raises(CorruptPhotoError):
        decode_photo(data.replace(name, other))


def test_a_private_chunk_with_a_wrong_checksum_changes_nothing():
    data = with_chunk(encode(PICTURE), wrong(png_chunk(b"prVt", b"ours")))
    np.testing.assert_array_equal(pixels(data), PICTURE)


def test_orientation_is_applied_wherever_it_is_written():
    turned = np.rot90(PICTURE, -1)
    xmp = b'<x:xmpmeta tiff:Orientation="6"/>'
    exif = b"MM\0*\0\0\0\x08" + struct.pack(">H", 1) + struct.pack(">HHIHH", 0x112, 3, 1, 6, 0)
    exif += bytes(4)
    profile = b"\nexif\n%8d\n" % len(exif) + (b"Exif\0\0" + exif).hex().encode()
    places = {
        "eXIf": png_chunk(b"eXIf", exif),
        "iTXt": png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
        "iTXt, deflated": png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)),
        "zTXt": png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile)),
    }
    for place, chunk in places.items():
        for last in (False, True):
            found = pixels(with_chunk(encode(PICTURE), chunk, last=last))
            np.testing.assert_array_equal(found, turned, err_msg=place)


def test_an_orientation_with_a_wrong_checksum_turns_nothing():
    data = with_orientation(PICTURE, 6, "PNG")
    at = data.index(b"eXIf") - 4
    end = at + 12 + int.from_bytes(data[at : at + 4], "big")
    np.testing.assert_array_equal(pixels(data[:at] + wrong(data[at:end]) + data[end:]), PICTURE)


def test_an_animation_keeps_its_frames_and_is_a_still_picture_where_their_number_is_damaged():
    data = animation("PNG")
    assert decode_photo(data).frames == 3
    at = data.index(b"acTL") - 4
    broken = data[:at] + wrong(data[at : at + 20]) + data[at + 20 :]
    assert decode_photo(broken).frames == 1
    np.testing.assert_array_equal(pixels(broken), pixels(data))


def control(number, *, side=(40, 30), begin=(0, 0), size=26):
    """A frame's control chunk."""
    return png_chunk(b"fcTL", struct.pack(">5I6x", number, *side, *begin).ljust(size, b"\0")[:size])


COUNT, FRAME = png_chunk(b"acTL", struct.pack(">II", 2, 0)), png_chunk(b"fdAT", bytes(4) + b"x")


ODD_FRAMES = {  # before the pixels, and behind them
    "none behind": (COUNT + control(0), b""),
    "counted behind the pixels": (b"", COUNT + control(0) + FRAME),
    "not counted, behind": (b"", control(0) + FRAME),
    "not counted, before": (control(3), b""),
    "a short count": (png_chunk(b"acTL", bytes(3)), control(0)),
    "a long count": (png_chunk(b"acTL", bytes(9)), b""),
    "counted twice": (COUNT + COUNT + control(0), control(1) + FRAME),
    "another number": (COUNT + control(1), b""),
    "a short control": (COUNT + control(0, size=20), b""),
    "wider than the picture": (COUNT + control(0, side=(41, 30)), b""),
    "out of the picture": (COUNT + control(0, begin=(0, 1)), b""),
    "two before": (COUNT + control(0) + control(1), b""),
    "another number behind": (COUNT, control(7) + FRAME),
    "a short frame": (COUNT + control(0), png_chunk(b"fdAT", b"x")),
}


@pytest.mark.parametrize("kind", ODD_FRAMES)
def test_frames_that_make_no_sense_leave_the_still_picture(kind):
    before, behind = ODD_FRAMES[kind]
    data = encode(pattern(40, 30), "PNG")
    begin, end = data.index(b"IDAT") - 4, data.index(b"IEND") - 4
    odd = data[:begin] + before + data[begin:end] + behind + data[end:]
    np.testing.assert_array_equal(pixels(odd), pixels(data))


@pytest.mark.parametrize("kind", [kind for kind in every_kind() if kind.startswith("png")])
def test_a_file_of_pixels_alone_is_read_as_it_is(kind):
    data = every_kind()[kind]
    assert pixels_only(data) is data


def test_what_is_left_out_is_what_pillow_reads_and_does_not_use():
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "words")
    data = encode(PICTURE, pnginfo=text, dpi=(72, 72), icc_profile=b"profile")
    with Image.open(io.BytesIO(data)) as image:
        assert {"Comment", "dpi", "icc_profile"} <= set(image.info)
    with Image.open(io.BytesIO(pixels_only(data))) as image:
        assert image.info == {}
        np.testing.assert_array_equal(image, PICTURE)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["crc-iccp", "iccp-big", "ztxt-big"])
def test_the_files_of_bug_reports(name):
    path = SHARED / "cases" / f"{name}.png"
    if not path.exists():
        pytest.skip("needs ../shared/cases")
    data = path.read_bytes()
    kept = [data[:8]]
    at = 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kept += [data[at:end]] if data[at + 4 : at + 8] in (b"IHDR", b"IDAT", b"IEND") else []
        at = end
    with Image.open(io.BytesIO(b"".join(kept))) as image:
        np.testing.assert_array_equal(pixels(path), image.convert("RGB"))
