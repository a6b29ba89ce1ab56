"""The pixel limit: checked on the header, in every format, before anything is decoded."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from PIL import Image

from alexnet.config import InputConfig
from alexnet.photo import PhotoError, TooManyPixelsError, load_photo
from tests.photos import ROOT, bomb, encode, every_kind, oversized, pattern

SMALL = InputConfig(size=64, crop=56)


def refusal(source, **options):
    with pytest.raises(PhotoError) as caught:
        load_photo(source, SMALL, **options)
    return caught.value


@pytest.mark.parametrize("kind", oversized())
def test_a_header_that_promises_too_many_pixels_is_refused(kind):
    error = refusal(oversized()[kind])
    assert isinstance(error, TooManyPixelsError)
    assert "megapixels" in str(error)


def test_the_sentence_names_the_picture_and_the_limit():
    sentence = str(refusal(bomb(20_000, 20_000)))
    assert "20000 x 20000 = 400.0 megapixels" in sentence
    assert "the limit is 64 megapixels" in sentence
    assert "0.001 megapixels" in str(refusal(encode(pattern()), max_pixels=1000))


def test_the_limit_is_the_last_number_of_pixels_that_passes():
    data = encode(pattern(96, 72))
    assert load_photo(data, SMALL, max_pixels=96 * 72).width == 96
    assert refusal(data, max_pixels=96 * 72 - 1).code == "too_many_pixels"
    assert refusal(pattern(96, 72), max_pixels=96 * 72 - 1).code == "too_many_pixels"
    assert refusal(encode(pattern(96, 72), "JPEG"), max_pixels=6000, fast=True).code == (
        "too_many_pixels"
    )


def test_the_photos_of_phones_with_50_megapixels_are_read():
    photo = load_photo(bomb(8160, 6144), SMALL)  # black, a thousandth of its size
    assert (photo.width, photo.height) == (8160, 6144)
    assert refusal(bomb(8000, 8001)).code == "too_many_pixels"


def test_pillows_own_limit_neither_warns_nor_changes(monkeypatch):
    kinds = every_kind()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in ("jpeg", "png", "webp", "bmp", "tiff", "gif"):
            assert load_photo(kinds[kind], SMALL).width == 96  # 6,912 pixels
    assert Image.MAX_IMAGE_PIXELS == 5000


def test_a_picture_that_pillow_refuses_is_an_error_of_ours(monkeypatch):
    data = every_kind()["tiff"]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert refusal(data).code == "too_many_pixels"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_bombs_are_refused_where_there_is_no_memory_to_decode_them(tmp_path):
    paths = []
    for kind, data in oversized().items():
        paths.append(tmp_path / kind)
        paths[-1].write_bytes(data)
    program = """
import resource, sys
from pathlib import Path
from alexnet.config import InputConfig
from alexnet.photo import TooManyPixelsError, load_photo
pages = int(Path("/proc/self/statm").read_text().split()[0])
allowed = pages * resource.getpagesize() + 60_000_000  # the smallest bomb is 300 MB of pixels
resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
for path in sys.argv[1:]:
    try:
        load_photo(path, InputConfig())
    except TooManyPixelsError:
        print("refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, paths)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["refused"] * len(paths)


def test_a_chain_of_fifty_thousand_frames_is_counted_to_ten_thousand_only():
    still = encode(pattern(8, 8).quantize(4), "GIF")
    frame = still[still.index(b",", 13 + 12) : -1]
    photo = load_photo(still[:-1] + frame * 50_000 + b";", SMALL)
    assert photo.frames == 10_000


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "GIF"])
def test_short_memory_is_not_taken_for_a_damaged_photo(tmp_path, kind):
    """24 megapixels, which are allowed, and 20 MB for them; a small photo is read before.

    WebP is left out: its decoder says the same of short memory as of damage.
    """
    options = {"compression": "raw"} if kind == "TIFF" else {}
    sizes = {"small": (96, 72), "large": (6000, 4000)}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(encode(Image.new("RGB", size, "teal"), kind, **options))
    program = """
import resource, sys
from pathlib import Path
from alexnet.config import InputConfig
from alexnet.photo import OutOfMemoryError, load_photo
load_photo(sys.argv[1], InputConfig())
pages = int(Path("/proc/self/statm").read_text().split()[0])
allowed = pages * resource.getpagesize() + 20_000_000
resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
try:
    load_photo(sys.argv[2], InputConfig())
except OutOfMemoryError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, *(tmp_path / name for name in sizes)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.startswith("There is not enough memory for one more photo: ")
