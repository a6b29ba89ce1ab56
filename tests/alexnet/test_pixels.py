"""Every pixel kind -> RGB of 8 bits: 16-bit grey, alpha, palettes, transparent colours."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from alexnet.config import InputConfig
from alexnet.decoder import decode_photo
from alexnet.photo import load_photo
from tests.photos import (
    SHARED,
    encode,
    every_kind,
    grey16,
    palette_with_hole,
    pattern,
    plain,
    tiff,
)

SMALL = InputConfig(size=64, crop=56)
FULL = InputConfig()

SQUARE_OF_ALL = np.arange(65536).reshape(256, 256)
SCALED = np.rint(SQUARE_OF_ALL * 255 / 65535)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "TIFF-BE"])
def test_every_16_bit_grey_value_is_scaled_and_rounded(format):
    photo = load_photo(grey16(SQUARE_OF_ALL, format), FULL)
    np.testing.assert_array_equal(photo.pixels, np.repeat(SCALED[..., None], 3, axis=2))


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "i4"])
def test_pil_images_of_16_bit_values_are_scaled_the_same(dtype):
    image = Image.fromarray(SQUARE_OF_ALL.astype(dtype))
    np.testing.assert_array_equal(load_photo(image, FULL).pixels[..., 0], SCALED)


def test_a_12_bit_tiff_is_scaled_with_4095():
    low, high = np.arange(4096).reshape(-1, 2).T
    packed = np.stack([low >> 4, (low & 15) << 4 | high >> 8, high & 255], axis=1)
    data = tiff(packed.astype(np.uint8).tobytes(), (64, 64), bits=12)
    wanted = np.rint(np.arange(4096).reshape(64, 64) * 255 / 4095)
    np.testing.assert_array_equal(load_photo(data, SMALL).pixels[..., 0], wanted)


def test_a_16_bit_tiff_whose_zero_is_white_is_turned_round():
    data = tiff(SQUARE_OF_ALL.astype("<u2").tobytes(), (256, 256), photometric=0)
    np.testing.assert_array_equal(load_photo(data, FULL).pixels[..., 0], 255 - SCALED)


def test_the_transparent_value_of_a_16_bit_png_becomes_white():
    values = np.full((64, 64), 1000)
    values[:32] = 2000
    image = Image.fromarray(values.astype(np.uint16))
    pixels = load_photo(encode(image, "PNG", transparency=2000), SMALL).pixels
    assert (pixels[:32] == 255).all()
    assert (pixels[32:] == 4).all()


def test_alpha_is_laid_on_white():
    image = Image.new("RGBA", (64, 64), (200, 100, 0, 51))  # a fifth: 255 - (255 - c) / 5
    assert load_photo(encode(image), SMALL).pixels[0, 0].tolist() == [244, 224, 204]
    grey = Image.new("LA", (64, 64), (0, 102))
    assert load_photo(encode(grey), SMALL).pixels[0, 0].tolist() == [153, 153, 153]


def bmp_with_alpha(rgba, *, header=124):
    """A BMP of 32 bits a pixel with masks that name alpha, too: a header of version 4 or 5."""
    height, width = rgba.shape[:2]
    pixels = rgba[::-1, :, [2, 1, 0, 3]].tobytes()
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    start = 14 + header
    head = struct.pack("<IiiHHIIiiII", header, width, height, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    return (
        struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start)
        + (head + masks).ljust(header, b"\0")
        + pixels
    )


@pytest.mark.parametrize("header", [56, 108, 124])
def test_a_bmp_whose_alpha_is_0_everywhere_is_opaque(header):
    rgba = np.dstack([np.asarray(pattern(64, 64)), np.zeros((64, 64), np.uint8)])
    data = bmp_with_alpha(rgba, header=header)
    np.testing.assert_array_equal(load_photo(data, SMALL).pixels, rgba[..., :3])
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(load_photo(image, SMALL).pixels, rgba[..., :3])


def test_any_other_alpha_of_a_bmp_is_laid_on_white():
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[0, 0, 3] = 255
    pixels = load_photo(bmp_with_alpha(rgba), SMALL).pixels
    assert (pixels[0, 0] == 0).all()
    assert (pixels[1:] == 255).all()


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_a_picture_that_is_transparent_everywhere_is_white_in_other_formats(format):
    data = encode(Image.new("RGBA", (64, 64), (200, 100, 0, 0)), format)
    assert (load_photo(data, SMALL).pixels == 255).all()


@pytest.mark.shared
def test_the_bmp_of_a_bug_report():
    path = SHARED / "cases" / "v5-alpha0.bmp"
    if not path.exists():
        pytest.skip("needs ../shared/cases")
    data = path.read_bytes()
    start, width, height = (int.from_bytes(data[at : at + 4], "little") for at in (10, 18, 22))
    stored = np.frombuffer(data, np.uint8, 4 * width * height, start).reshape(height, width, 4)
    np.testing.assert_array_equal(decode_photo(path).image, stored[::-1, :, 2::-1])


@pytest.mark.parametrize("mode", ["RGBa", "La", "PA"])
def test_pil_images_with_other_kinds_of_alpha_are_laid_on_white(mode):
    if mode == "PA":
        image = Image.new("PA", (64, 64), (0, 102))
        image.putpalette([0, 0, 0])
    else:
        image = Image.new(mode[:-1] + "A", (64, 64), (0,) * (len(mode) - 1) + (102,)).convert(mode)
    assert load_photo(image, SMALL).pixels[0, 0].tolist() == [153, 153, 153]


def test_the_transparent_entry_of_a_palette_becomes_white():
    for data in (
        encode(palette_with_hole(), "PNG", transparency=1),
        encode(palette_with_hole(), "PNG", transparency=bytes([255, 0])),
        encode(palette_with_hole(), "GIF", transparency=1),
    ):
        pixels = load_photo(data, SMALL).pixels
        assert (pixels[:, :32] == (255, 0, 0)).all()
        assert (pixels[:, 32:] == 255).all()


def test_the_transparent_colour_of_a_png_without_alpha_becomes_white():
    image = plain((1, 2, 3), side=64)
    image.paste((9, 8, 7), (0, 0, 32, 64))
    pixels = load_photo(encode(image, "PNG", transparency=(9, 8, 7)), SMALL).pixels
    assert (pixels[:, :32] == 255).all()
    assert (pixels[:, 32:] == (1, 2, 3)).all()


def test_the_hidden_colour_of_transparent_pixels_never_shows_at_edges():
    image = Image.new("RGBA", (128, 128), (255, 255, 255, 255))
    image.paste((0, 255, 0, 0), (33, 0, 128, 128))  # an edge inside the pixels of the result
    assert (load_photo(encode(image), SMALL).pixels == 255).all()


def test_a_palette_is_resized_as_colours_and_not_as_numbers():
    image = Image.new("P", (128, 128), 0)
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    for column in range(0, 128, 2):
        image.paste(2, (column, 0, column + 1, 128))  # red and blue stripes, no green anywhere
    pixels = load_photo(encode(image), SMALL).pixels
    assert (pixels[..., 1] == 0).all()
    assert np.abs(pixels[:, 8:-8].astype(int) - (127, 0, 127)).max() <= 1


def test_a_1_bit_picture_becomes_black_and_white():
    image = Image.new("1", (64, 64), 0)
    image.paste(1, (16, 0, 64, 64))
    pixels = load_photo(encode(image), SMALL).pixels
    assert (pixels[:, :16] == 0).all()
    assert (pixels[:, 16:] == 255).all()


def test_grey_comes_out_as_three_equal_channels():
    pixels = load_photo(every_kind()["jpeg grey"], SMALL).pixels
    assert (pixels == pixels[..., :1]).all()
