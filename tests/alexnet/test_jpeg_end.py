"""JPEG files without their end marker: read where every pixel is there, and else refused."""

import io

import numpy as np
import pytest
from PIL import Image

from alexnet.config import InputConfig
from alexnet.decoder import decode_photo
from alexnet.photo import CorruptPhotoError, load_photo
from tests.photos import SHARED, encode, pattern, sklearn_photos, with_orientation

END = b"\xff\xd9"
RGB = pattern(100, 75)
KINDS = {
    "baseline": encode(RGB, "JPEG"),
    "fine": encode(RGB, "JPEG", quality=98, subsampling=0, optimize=True),
    "coarse": encode(RGB, "JPEG", quality=10),
    "progressive": encode(RGB, "JPEG", progressive=True),
    "grey": encode(RGB.convert("L"), "JPEG"),
    "cmyk": encode(RGB.convert("CMYK"), "JPEG"),
    "turned": with_orientation(RGB, 6),
    "restarts": encode(RGB, "JPEG", restart_marker_blocks=1),
    "restarts, progressive": encode(RGB, "JPEG", restart_marker_blocks=3, progressive=True),
    "flat": encode(Image.new("RGB", (64, 64), "teal"), "JPEG"),
}


def pixels(data):
    return np.asarray(decode_photo(data).image)


def pixels_or_refusal(data):
    try:
        return pixels(data)
    except CorruptPhotoError as error:
        return error


def test_every_kind_ends_with_its_marker():
    assert all(data.endswith(END) for data in KINDS.values())


@pytest.mark.parametrize("trailer", [b"", b"\xff", bytes(500), b"SEFT" * 20, b"\n"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_picture_needs_no_end_marker(kind, trailer):
    data = KINDS[kind]
    np.testing.assert_array_equal(pixels(data[:-2] + trailer), pixels(data))


def test_what_the_file_says_of_itself_is_kept():
    whole, without = (decode_photo(data) for data in (KINDS["turned"], KINDS["turned"][:-2]))
    assert (without.width, without.height) == (whole.width, whole.height) == (75, 100)
    assert (without.format, without.frames) == ("JPEG", 1)


def test_the_first_picture_of_several_needs_none_either():
    several = encode(RGB, "MPO", save_all=True, append_images=[pattern(seed=1)])
    at = several.index(END + b"\xff\xd8")
    np.testing.assert_array_equal(pixels(several[:at] + several[at + 2 :]), pixels(several))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_anywhere_has_all_its_pixels_or_is_refused(kind):
    data = KINDS[kind]
    whole, read = pixels(data), []
    cuts = [*range(1, 80), *range(80, len(data) - 200, 97)]
    for cut in cuts:
        found = pixels_or_refusal(data[:-cut])
        if isinstance(found, CorruptPhotoError):
            assert "a part of the picture is missing" in str(found)
        else:
            read.append(cut)
            np.testing.assert_array_equal(found, whole, err_msg=f"{cut} bytes less")
    assert {1, 2} <= set(read)
    assert len(read) < len(cuts) / 2 or kind == "flat"


def test_a_progressive_picture_without_its_last_scans_is_refused():
    data = KINDS["progressive"]
    starts = [at for at in range(len(data) - 1) if data[at : at + 2] == b"\xff\xda"]
    assert len(starts) > 5
    for start in starts[1:]:
        with pytest.raises(CorruptPhotoError, match="a part of the picture is missing"):
            decode_photo(data[:start])


def test_half_a_photograph_is_refused():
    data = sklearn_photos()[0].read_bytes()
    for share in (0.3, 0.6, 0.9, 0.999):
        with pytest.raises(CorruptPhotoError, match="a part of the picture is missing"):
            decode_photo(data[: int(share * len(data))])


def test_fast_decoding_reads_and_refuses_the_same_files():
    data, input = sklearn_photos()[0].read_bytes(), InputConfig(size=64, crop=56)
    whole = load_photo(data, input, fast=True).pixels
    np.testing.assert_array_equal(load_photo(data[:-2], input, fast=True).pixels, whole)
    with pytest.raises(CorruptPhotoError, match="a part of the picture is missing"):
        load_photo(data[:-20], input, fast=True)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["no-eoi", "no-eoi-samsung-trailer"])
def test_the_files_of_bug_reports(name):
    folder = SHARED / "cases"
    if not folder.exists():
        pytest.skip("needs ../shared/cases")
    coded = (folder / "no-eoi.jpg").read_bytes()
    data = (folder / f"{name}.jpg").read_bytes()
    assert data.startswith(coded)  # both are one picture
    with Image.open(io.BytesIO(coded + END)) as whole:
        np.testing.assert_array_equal(pixels(data), whole)
