"""What load_photo refuses: foreign bytes, damage, too many pixels, missing files. Never a crash."""

import contextlib
import io
import os
import pickle
import warnings

import numpy as np
import pytest
from PIL import Image, ImageFile, TiffImagePlugin

from alexnet import decoder
from alexnet.config import InputConfig
from alexnet.errors import AlexNetError
from alexnet.photo import (
    CorruptPhotoError,
    MissingPhotoError,
    PhotoError,
    TooManyPixelsError,
    UnreadablePhotoError,
    UnsupportedFormatError,
    load_photo,
)
from alexnet.photo_error import InternalPhotoError, NoNumbersError
from tests.photos import damaged, encode, every_kind, pattern, tiff

SMALL = InputConfig(size=64, crop=56)


def refusal(source, **options):
    with pytest.raises(PhotoError) as caught:
        load_photo(source, SMALL, **options)
    return caught.value


def test_errors_are_errors_for_people_with_codes_that_programs_can_rely_on():
    ours = [one for one in PhotoError.__subclasses__() if one.__module__.startswith("alexnet.")]
    codes = {error: error.code for error in ours}
    assert codes == {
        UnreadablePhotoError: "not_a_photo",
        UnsupportedFormatError: "unsupported_format",
        CorruptPhotoError: "corrupt_photo",
        TooManyPixelsError: "too_many_pixels",
        MissingPhotoError: "missing_file",
        NoNumbersError: "no_numbers",
        InternalPhotoError: "internal_error",
    }
    assert issubclass(PhotoError, AlexNetError)


def test_an_error_keeps_its_sentence_and_code_on_the_way_to_another_process():
    error = pickle.loads(pickle.dumps(refusal(b"")))
    assert type(error) is UnreadablePhotoError
    assert (str(error), error.code) == ("The file is empty.", "empty_file")


# Foreign bytes


@pytest.mark.parametrize(
    "data",
    [
        b"A shopping list: two eggs, one AlexNet.",
        b"<!doctype html><html><body>404</body></html>",
        b"BMW and Mercedes went up the hill together",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"PK\x03\x04 a zip",
        bytes(5000),
        b"\xff",
        b"\x89PNG",
        np.random.default_rng(0).bytes(4000),
    ],
    ids=["text", "html", "text BM", "sound", "zip", "zeros", "one byte", "4 bytes", "noise"],
)
def test_bytes_that_are_no_picture_are_called_so(data, tmp_path):
    assert refusal(data).code == "not_a_photo"
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    error = refusal(path)
    assert isinstance(error, UnreadablePhotoError)
    assert "no picture" in str(error)


def test_no_bytes_at_all_are_an_empty_file(tmp_path):
    path = tmp_path / "photo.jpg"
    path.touch()
    for source in (b"", path):
        error = refusal(source)
        assert isinstance(error, UnreadablePhotoError)
        assert error.code == "empty_file"


@pytest.mark.parametrize("format", ["PPM", "ICO", "JPEG2000", "TGA", "PCX", "SGI", "DDS", "EPS"])
def test_pictures_of_other_formats_are_named_and_refused(format):
    data = encode(pattern(64, 64), format)
    if format == "TGA":  # has no signature: nothing distinguishes it from foreign bytes
        assert refusal(data).code == "not_a_photo"
    else:
        error = refusal(data)
        assert isinstance(error, UnsupportedFormatError)
        assert "save it as JPEG" in str(error)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"gimp xcf v011\0", "XCF"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"%PDF-1.7\n", "PDF"),
        (b"8BPS\0\1", "Photoshop"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    ],
)
def test_formats_that_phones_and_browsers_know_are_named_in_the_sentence(head, name):
    error = refusal(head + bytes(100))
    assert isinstance(error, UnsupportedFormatError)
    assert name in str(error)


@pytest.mark.parametrize("dtype", ["f4", "i4"])
def test_numbers_that_do_not_say_what_white_is_are_refused(dtype):
    values = np.full((64, 64), -5, dtype)
    for source in (
        Image.fromarray(values),
        tiff(values.tobytes(), (64, 64), bits=32, sample=3 if dtype == "f4" else 2),
    ):
        error = refusal(source)
        assert isinstance(error, UnsupportedFormatError)
        assert "8 or 16 bits" in str(error)


# Files


def test_a_path_without_a_file_is_a_missing_file(tmp_path):
    for path in (tmp_path / "none.jpg", str(tmp_path / "none.jpg"), "a\0b.jpg"):
        error = refusal(path)
        assert isinstance(error, MissingPhotoError)
        assert error.code == "missing_file"
    assert "none.jpg" in str(refusal(tmp_path / "none.jpg"))


def test_a_path_through_a_file_is_a_missing_file(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    assert refusal(tmp_path / "file" / "photo.jpg").code == "missing_file"


def test_folders_pipes_and_names_too_long_cannot_be_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / ("x" * 264 + ".jpg")):
        error = refusal(path)
        assert isinstance(error, MissingPhotoError)
        assert error.code == "unreadable_file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_cannot_be_read(tmp_path):
    path = tmp_path / "secret.png"
    path.write_bytes(encode(pattern()))
    path.chmod(0)
    assert refusal(path).code == "unreadable_file"


def test_anything_else_than_the_four_kinds_of_source_is_a_mistake_of_the_program():
    for source in (5, None, np.zeros((64, 64, 3), np.uint8)):
        with pytest.raises(TypeError):
            load_photo(source, SMALL)


# Damage


@pytest.mark.parametrize("kind", every_kind())
def test_a_file_cut_in_half_is_a_corrupt_photo(kind):
    data = every_kind()[kind]
    if "animated" in kind or "pages" in kind:
        data = data[: len(data) // 2]
        data = data[: len(data) // 2]  # within the first frame
    error = refusal(data[: len(data) // 2])
    assert isinstance(error, CorruptPhotoError)
    assert "missing" in str(error) or "damaged" in str(error)


def test_a_jpeg_that_breaks_off_says_that_a_part_is_missing():
    data = encode(pattern(), "JPEG")
    assert "a part of the picture is missing" in str(refusal(data[: len(data) * 2 // 3]))


@pytest.mark.parametrize("kind", every_kind())
def test_damaged_files_give_a_photo_or_an_error_and_never_a_word_on_stderr(kind, capfd):
    data, photos, codes, sentences = every_kind()[kind], 0, set(), set()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for copy in damaged(data, seed=2012):
            try:
                photo = load_photo(copy, SMALL)
            except PhotoError as error:
                codes.add(error.code)
                sentences.add(str(error))
            else:
                photos += 1
                assert photo.pixels.shape == (64, 64, 3)
    assert codes <= {"corrupt_photo", "not_a_photo", "too_many_pixels", "unsupported_format"}
    assert codes or photos == 16
    assert all(sentence.endswith(".") for sentence in sentences)
    assert not any("<" in sentence for sentence in sentences)  # no object of Pillow's is shown
    assert capfd.readouterr() == ("", "")


def test_what_pillow_logs_of_a_damaged_tiff_does_not_reach_people(caplog):
    data = tiff(bytes(64 * 64), (64, 64), bits=8, more={277: 500})
    with contextlib.suppress(SyntaxError):
        TiffImagePlugin.TiffImageFile(io.BytesIO(data))  # Pillow by itself does log
    assert len(caplog.records) == 1
    assert refusal(data).code == "corrupt_photo"
    assert len(caplog.records) == 1


def test_a_pil_image_whose_file_is_damaged_is_a_corrupt_photo():
    data = encode(pattern(), "JPEG")
    image = Image.open(io.BytesIO(data[: len(data) - 50]))
    assert refusal(image).code == "corrupt_photo"


@pytest.mark.parametrize("fault", [AttributeError, TypeError, ValueError, IndexError])
def test_a_defect_of_ours_is_not_blamed_on_the_photo(fault, monkeypatch):
    def to_rgb(image):
        raise fault("a defect")

    monkeypatch.setattr(decoder, "to_rgb", to_rgb)
    for source in (encode(pattern()), pattern()):
        with pytest.raises(fault, match="a defect") as caught:
            load_photo(source, SMALL)
        assert not isinstance(caught.value, PhotoError)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_pictures_without_pixels_are_corrupt(size):
    assert refusal(Image.new("RGB", size)).code == "corrupt_photo"
    empty = bytearray(encode(pattern().quantize(4), "BMP"))
    empty[18:26] = size[0].to_bytes(4, "little") + size[1].to_bytes(4, "little")
    assert refusal(bytes(empty)).code == "corrupt_photo"


def test_half_a_picture_is_never_filled_up_with_grey():
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
