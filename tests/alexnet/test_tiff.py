"""TIFF files: channels in planes, palettes of 8 bits, signed numbers, and cameras' raw files."""

import itertools
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from alexnet.decoder import decode_photo
from alexnet.photo import CorruptPhotoError, PhotoError, UnsupportedFormatError
from tests.photos import SHARED, damaged
from tests.tiffs import (
    ALPHA,
    CMYK,
    DEFLATE,
    GREY,
    IN_PLANES,
    INTERLEAVED,
    LAB,
    LZW,
    PALETTE,
    PREMULTIPLIED,
    RGB,
    UNSPECIFIED,
    WHITE_IS_ZERO,
    YCBCR,
    raw_file,
    tiff_of,
)

LAYOUTS = {"strip": {}, "strips": {"rows": 7}, "tiles": {"tile": (32, 16)}}
COMPRESSIONS = {
    "raw": {},
    "LZW": {"compression": LZW, "predictor": 2},
    "deflate": {"compression": DEFLATE},
}
KINDS = {
    "rgb": (RGB, 3, ()),
    "rgb and alpha": (RGB, 4, (ALPHA,)),
    "rgb and premultiplied alpha": (RGB, 4, (PREMULTIPLIED,)),
    "rgb and a channel not named": (RGB, 4, ()),
    "rgb and a channel without a meaning": (RGB, 4, (UNSPECIFIED,)),
    "cmyk": (CMYK, 4, ()),
    "grey": (GREY, 1, ()),
}
KINDS_OF_8_BITS = {
    "rgb, alpha and a channel without a meaning": (RGB, 5, (ALPHA, UNSPECIFIED)),
    "cmyk and a channel without a meaning": (CMYK, 5, (UNSPECIFIED,)),
    "lab": (LAB, 3, ()),
    "grey and alpha": (GREY, 2, (ALPHA,)),
    "grey and premultiplied alpha": (GREY, 2, (PREMULTIPLIED,)),
    "grey and a channel without a meaning": (GREY, 2, (UNSPECIFIED,)),
    "grey, white is 0": (WHITE_IS_ZERO, 1, ()),
    "palette": (PALETTE, 1, ()),
    "palette and alpha": (PALETTE, 2, (ALPHA,)),
    "palette and a channel without a meaning": (PALETTE, 2, (UNSPECIFIED,)),
}


def noise(channels, dtype, *, height=40, width=50):
    shape = (height, width, channels)
    return np.random.default_rng(2012).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def decoded(data):
    return np.asarray(decode_photo(data).image)


# Planes


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_planes_of_rgb_are_its_upper_bits(dtype, order, layout, compression):
    values = noise(3, dtype)
    options = LAYOUTS[layout] | COMPRESSIONS[compression]
    data = tiff_of(values, RGB, planar=IN_PLANES, order=order, **options)
    np.testing.assert_array_equal(decoded(data), values >> 8 * (values.itemsize - 1))


@pytest.mark.parametrize("kind", [*KINDS, *KINDS_OF_8_BITS])
def test_a_file_in_planes_has_the_pixels_of_the_interleaved_one(kind):
    photometric, channels, extra = (KINDS | KINDS_OF_8_BITS)[kind]
    more = {320: noise(768, np.uint16)[0, 0].tolist()} if photometric == PALETTE else {}
    dtypes = (np.uint8, np.uint16) if kind in KINDS else (np.uint8,)
    ways = itertools.product(dtypes, "<>", LAYOUTS.values(), COMPRESSIONS.values())
    for dtype, order, layout, compression in ways:
        values = noise(channels, dtype)
        options = {"order": order, "extra": extra, "more": more} | layout | compression
        wanted = decoded(tiff_of(values, photometric, planar=INTERLEAVED, **options))
        found = decoded(tiff_of(values, photometric, planar=IN_PLANES, **options))
        np.testing.assert_array_equal(found, wanted, err_msg=str((dtype, options)))


def test_planes_are_turned_upright():
    values = noise(3, np.uint16)
    data = tiff_of(values, RGB, planar=IN_PLANES, more={274: [6]})
    photo = decode_photo(data)
    assert (photo.width, photo.height) == photo.image.size == (40, 50)
    np.testing.assert_array_equal(photo.image, np.rot90(values >> 8, -1))


def test_a_plane_that_is_not_all_there_is_missing():
    data = tiff_of(noise(3, np.uint16), RGB, planar=IN_PLANES, rows=7)
    with pytest.raises(CorruptPhotoError, match="a part of the picture is missing"):
        decode_photo(data[:-100])


def test_strips_that_lie_one_over_the_other_cost_no_more_than_the_file():
    """As a file made to fill the memory has them: each strip is the whole file."""
    more = {273: [8] * 4000, 279: [40_000] * 4000}
    data = tiff_of(
        noise(3, np.uint16, height=1000, width=2), RGB, planar=IN_PLANES, rows=1, compression=LZW
    )
    assert decode_photo(data).frames == 1
    assert len(data) > 40_000
    at, entries = 10, int.from_bytes(data[8:10], "little")
    broken = bytearray(data)
    for _ in range(entries):
        tag = int.from_bytes(data[at : at + 2], "little")
        if tag in more:
            count = int.from_bytes(data[at + 4 : at + 8], "little")
            start = int.from_bytes(data[at + 8 : at + 12], "little")
            numbers = more[tag][:count]
            broken[start : start + 4 * count] = np.array(numbers, "<u4").tobytes()
        at += 12
    with pytest.raises(CorruptPhotoError):
        decode_photo(bytes(broken))


def test_uncompressed_chroma_of_fewer_values_than_pixels_is_refused():
    """Pillow would read it as if there was a value for each pixel."""
    values = noise(3, np.uint8, height=48, width=64)
    whole = tiff_of(values, YCBCR, rows=16, more={530: [1, 1]})
    assert decode_photo(whole).width == 64
    with pytest.raises(CorruptPhotoError, match="unusual way"):
        decode_photo(tiff_of(values, YCBCR, rows=16, more={530: [2, 2]}))


# Palettes and numbers


@pytest.mark.parametrize("scale", [1, 256, 257])
@pytest.mark.parametrize("planar", [INTERLEAVED, IN_PLANES])
@pytest.mark.parametrize("extra", [(), (ALPHA,)])
def test_a_palette_of_8_or_16_bits_gives_the_same_colours(scale, planar, extra):
    indices = noise(1, np.uint8)
    colours = np.random.default_rng(7).integers(0, 256, (256, 3))
    values = np.concatenate([indices, np.full_like(indices, 255)], axis=2) if extra else indices
    more = {320: (colours.T * scale).ravel().tolist()}
    data = tiff_of(values, PALETTE, planar=planar, extra=extra, more=more)
    np.testing.assert_array_equal(decoded(data), colours[indices[..., 0]])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_signed_numbers_do_not_say_what_white_is(dtype):
    data = tiff_of(noise(1, dtype) >> 1, GREY, more={339: [2]})
    with pytest.raises(UnsupportedFormatError, match="white is not known"):
        decode_photo(data)


# Cameras' raw files


@pytest.mark.parametrize(
    ("first", "sub"),
    [
        ({50706: [0x0401]}, None),  # DNG
        ({254: [1], 50706: [0x0401]}, {254: 0, 262: 34892}),
        ({254: [1]}, {254: 0, 262: 32803}),  # NEF, ARW, SRW: the sensor's values lie within
        ({}, {262: 32803}),
        ({262: [32803]}, None),  # PEF
        ({254: [1]}, {256: 4000}),  # a thumbnail of something
    ],
)
def test_a_raw_file_is_never_its_thumbnail(first, sub, tmp_path):
    data = raw_file(first, sub and {tag: [value] for tag, value in sub.items()})
    path = tmp_path / "photo.dng"
    path.write_bytes(data)
    for source in (data, path):
        with pytest.raises(UnsupportedFormatError, match="camera's raw file"):
            decode_photo(source)


@pytest.mark.parametrize(
    "data",
    [
        raw_file({}),
        raw_file({}, {254: [1], 256: [32]}),  # a smaller copy lies within: a pyramid
        raw_file({254: [1]}),
    ],
)
def test_other_files_with_thumbnails_are_read(data):
    assert decode_photo(data).image.size == (64, 48)


@pytest.mark.parametrize("offset", [2**62, 2**63, 2**64 - 1])
def test_an_offset_of_64_bits_that_leads_nowhere_is_damage(offset):
    whole = tiff_of(noise(3, np.uint8), RGB)
    for data in (
        b"II+\0\x08\0\0\0" + offset.to_bytes(8, "little") + whole,
        b"MM\0+\0\x08\0\0" + offset.to_bytes(8, "big") + whole,
    ):
        with pytest.raises(CorruptPhotoError):
            decode_photo(data)


def test_damaged_files_in_planes_give_a_photo_or_a_sentence(capfd):
    data, refused = tiff_of(noise(3, np.uint16), RGB, planar=IN_PLANES, rows=7, compression=LZW), 0
    for copy in damaged(data, seed=2012, cuts=40, flips=80):
        with suppress(PhotoError):
            assert decode_photo(copy).image.mode == "RGB"
            continue
        refused += 1
    assert refused > 40
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"II*\0\x10\0\0\0CR\2\0", "CR2"),
        (b"II*\0\x08\0\0\0IIII", "IIQ"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "CR3"),
        (b"FUJIFILMCCD-RAW 0201", "RAF"),
        (b"IIRO\x08\0\0\0", "ORF"),
        (b"IIU\0\x18\0\0\0", "RW2"),
        (b"FOVb\0\0\2\0", "X3F"),
        (b"\0MRM\0\1\2\3", "MRW"),
        (b"II\x1a\0\0\0HEAPCCDR", "CRW"),
    ],
)
def test_raw_files_are_known_by_their_first_bytes(head, name):
    with pytest.raises(UnsupportedFormatError, match=rf"raw file \({name}\).* save it as JPEG"):
        decode_photo(head + bytes(200))


@pytest.mark.shared
def test_the_planar_file_of_a_bug_report():
    path = SHARED / "cases" / "rgb16-planar.tif"
    if not path.exists():
        pytest.skip("needs ../shared/cases")
    with Image.open(path) as image:
        offsets = image.tag_v2[273]
        order = image.tag_v2.prefix
        width, height = image.size
    data = path.read_bytes()
    dtype = "<u2" if order == b"II" else ">u2"
    planes = np.frombuffer(data, dtype, 3 * width * height, offsets[0])
    wanted = (planes.reshape(3, height, width) >> 8).transpose(1, 2, 0)
    np.testing.assert_array_equal(decoded(path), wanted)


@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}], ids=["strips", "tiles"])
def test_pieces_that_are_promised_and_not_there_take_no_memory(layout):
    """Ten million strips or tiles by a few numbers of the header."""
    small = {322: [1], 323: [1]} if layout else {278: [1]}
    promised = {256: [1], 257: [10_000_000], **small}
    values = np.zeros((16, 16, 3), np.uint8)
    data = tiff_of(values, RGB, planar=IN_PLANES, more=promised, **layout)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptPhotoError, match="a part of the picture is missing"):
            decode_photo(data)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
