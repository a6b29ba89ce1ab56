"""AVIF and HEIC photos, and what is said where no decoder of theirs is installed."""

import io
import sys

import numpy as np
import pytest
from PIL import AvifImagePlugin, Image

from alexnet.config import InputConfig
from alexnet.decoder import decode_photo
from alexnet.photo import (
    CorruptPhotoError,
    PhotoError,
    TooManyPixelsError,
    UnsupportedFormatError,
    load_photo,
)
from tests.photos import damaged, difference, encode, pattern

pillow_heif = pytest.importorskip("pillow_heif", reason="needs pip install -e '.[heif]'")
SMALL = InputConfig(size=64, crop=56)
PICTURE = pattern(96, 72)


def heic(image, *more, **options):
    file, data = pillow_heif.from_pillow(image), io.BytesIO()
    for other in more:
        file.add_from_pillow(other)
    file.save(data, quality=95, **options)
    return data.getvalue()


def avif(image, **options):
    return encode(image, "AVIF", quality=95, **options)


WRITERS = pytest.mark.parametrize(("format", "write"), [("AVIF", avif), ("HEIF", heic)])


@WRITERS
def test_a_photo_comes_out_as_it_went_in(format, write, tmp_path):
    data = write(PICTURE)
    (tmp_path / "photo").write_bytes(data)
    for source in (data, tmp_path / "photo"):
        photo = decode_photo(source)
        assert (photo.format, photo.frames) == (format, 1)
        assert photo.image.mode == "RGB"
        assert (photo.width, photo.height) == photo.image.size == PICTURE.size
        assert difference(np.asarray(photo.image), np.asarray(PICTURE)) < 2


@WRITERS
def test_alpha_is_laid_on_white(format, write):
    image = Image.new("RGBA", (64, 64), (200, 100, 0, 51))  # a fifth: 255 - (255 - c) / 5
    found = np.asarray(decode_photo(write(image)).image).astype(int)
    assert np.abs(found - (244, 224, 204)).max() <= 3


@WRITERS
def test_grey_is_grey(format, write):
    found = np.asarray(decode_photo(write(PICTURE.convert("L"))).image).astype(int)
    assert np.abs(found - found[..., :1]).max() <= 1


@WRITERS
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_turned_photo_is_upright(format, write, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = decode_photo(write(PICTURE, exif=exif.tobytes()))
    turns = {1: 0, 3: 2, 6: -1, 8: 1}
    wanted = np.rot90(np.asarray(PICTURE), turns[orientation])
    assert (photo.width, photo.height) == photo.image.size == wanted.shape[1::-1]
    assert difference(np.asarray(photo.image), wanted) < 2


def test_the_first_picture_of_several_is_used_and_they_are_counted():
    data = avif(PICTURE, save_all=True, append_images=[pattern(seed=1)])
    photo = decode_photo(data)
    assert photo.frames == 2
    assert difference(np.asarray(photo.image), np.asarray(PICTURE)) < 3
    photo = decode_photo(heic(PICTURE, pattern(seed=1)))
    assert photo.frames == 2
    assert difference(np.asarray(photo.image), np.asarray(PICTURE)) < 3


@WRITERS
def test_the_pixel_limit_is_checked_before_anything_is_decoded(format, write):
    with pytest.raises(TooManyPixelsError):
        decode_photo(write(PICTURE), max_pixels=96 * 72 - 1)


@WRITERS
def test_damaged_files_give_a_photo_or_a_sentence(format, write, capfd):
    data, codes = write(PICTURE), set()
    for copy in damaged(data, seed=2012, cuts=20, flips=40):
        try:
            assert load_photo(copy, SMALL).pixels.shape == (64, 64, 3)
        except PhotoError as error:
            codes.add(error.code)
    assert "corrupt_photo" in codes
    assert codes <= {"corrupt_photo", "not_a_photo", "too_many_pixels", "unsupported_format"}
    assert capfd.readouterr() == ("", "")


@WRITERS
def test_half_a_file_is_refused(format, write):
    data = write(PICTURE)
    with pytest.raises(CorruptPhotoError):
        decode_photo(data[: len(data) // 2])


def test_fast_decoding_takes_no_thumbnail_for_the_photo():
    """A HEIC may hold a smaller copy, whose pixels are others."""
    image = pillow_heif.from_pillow(pattern(512, 384))
    image.info["thumbnails"] = [256]
    data = io.BytesIO()
    image.save(data, quality=95)
    assert pillow_heif.open_heif(data).info["thumbnails"]
    assert decode_photo(data.getvalue(), smallest=128).image.size == (512, 384)


def test_without_the_extra_heic_is_refused_with_what_installs_it(monkeypatch):
    data = heic(PICTURE)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as where it is not installed
    with pytest.raises(UnsupportedFormatError, match=r"HEIC photo.*pillow_heif.*install.*heif"):
        decode_photo(data)


def test_where_pillow_reads_no_avif_that_is_said(monkeypatch):
    data = avif(PICTURE)
    monkeypatch.setattr(AvifImagePlugin, "SUPPORTED", False)
    with pytest.raises(UnsupportedFormatError, match="without AVIF"):
        decode_photo(data)


@pytest.mark.parametrize(
    ("head", "format"),
    [
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIF"),
        (b"\0\0\0\x14ftypmsf1\0\0\0\0hevc", "HEIF"),
    ],
)
def test_the_brands_say_which_of_the_two_a_file_is(head, format):
    with pytest.raises(CorruptPhotoError, match=f"This {format} file"):
        decode_photo(head + bytes(100))


def test_a_film_in_the_same_container_is_no_photo():
    with pytest.raises(PhotoError, match="no picture"):
        decode_photo(b"\0\0\0\x18ftypisom\0\0\2\0isommp42" + bytes(100))
