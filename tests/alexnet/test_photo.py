"""What load_photo makes of pictures: formats, animations, orientation, PIL images, warnings.

Pixel kinds are in test_pixels.py, geometry and the fast path in test_square.py, damage in
test_photo_errors.py, the pixel limit in test_photo_limit.py.
"""

import io
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from alexnet.config import InputConfig
from alexnet.photo import load_photo
from tests.photos import (
    animation,
    difference,
    encode,
    every_kind,
    fitted,
    imagenet_samples,
    palette_with_hole,
    pattern,
    plain,
    sklearn_photos,
    with_broken_exif,
    with_orientation,
)

SMALL = InputConfig(size=64, crop=56)
FULL = InputConfig()

LOSSLESS = ("png", "bmp", "tiff", "tiff lzw", "tiff pages", "png animated", "webp animated")
LOSSY = ("jpeg", "jpeg progressive", "jpeg cmyk", "tiff jpeg", "webp", "tiff cmyk")


# Formats


@pytest.mark.parametrize("kind", every_kind())
def test_every_kind_of_picture_gives_a_square_photo_and_its_facts(kind):
    photo = load_photo(every_kind()[kind], SMALL)
    assert photo.pixels.shape == (64, 64, 3)
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels.flags.c_contiguous
    assert photo.pixels.flags.writeable
    assert photo.format == kind.split()[0].upper()
    assert photo.frames == (3 if "animated" in kind or "pages" in kind else 1)
    square, sideways = "hole" in kind, "turned" in kind
    assert (photo.width, photo.height) == (
        (64, 64) if square else (72, 96) if sideways else (96, 72)
    )


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_files_give_the_pixels_of_the_picture_that_was_saved(kind):
    photo = load_photo(every_kind()[kind], SMALL)
    np.testing.assert_array_equal(photo.pixels, fitted(pattern()))


@pytest.mark.parametrize("kind", LOSSY)
def test_lossy_and_cmyk_files_give_nearly_the_picture_that_was_saved(kind):
    photo = load_photo(every_kind()[kind], SMALL)
    assert difference(photo.pixels, fitted(pattern())) < 4


def test_a_path_a_path_object_the_bytes_and_the_pil_image_give_the_same_photo(tmp_path):
    data = encode(pattern(), "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    wanted = load_photo(data, SMALL).pixels
    for source in (path, str(path), Image.open(path), pattern()):
        np.testing.assert_array_equal(load_photo(source, SMALL).pixels, wanted)


def test_the_bytes_decide_and_not_the_name_of_the_file(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(pattern(), "PNG"))
    assert load_photo(path, SMALL).format == "PNG"


def test_the_second_picture_that_phones_append_to_a_jpeg_does_not_make_it_an_animation():
    both = encode(pattern(), "MPO", save_all=True, append_images=[pattern(seed=1)])
    assert Image.open(io.BytesIO(both)).n_frames == 2
    photo = load_photo(both, SMALL)
    assert (photo.format, photo.frames) == ("JPEG", 1)


@pytest.mark.parametrize("path", sklearn_photos(), ids=lambda path: path.stem)
def test_a_real_photograph_comes_out_as_pillow_decodes_resizes_and_crops_it(path):
    photo = load_photo(path, FULL)
    assert (photo.width, photo.height, photo.format, photo.frames) == (640, 427, "JPEG", 1)
    np.testing.assert_array_equal(photo.pixels, fitted(Image.open(path), 256))


@pytest.mark.shared
def test_all_200_sample_photos_decode():
    paths = imagenet_samples()
    assert len(paths) == 200
    for path in paths:
        photo = load_photo(path, FULL)
        assert photo.pixels.shape == (256, 256, 3)
        np.testing.assert_array_equal(photo.pixels, fitted(Image.open(path).convert("RGB"), 256))


# Animations


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_the_first_frame_is_used_and_the_frames_are_counted(format, frames):
    data = animation(format, frames)
    photo = load_photo(data, SMALL)
    assert photo.frames == frames == Image.open(io.BytesIO(data)).n_frames
    # A GIF has a palette of 64 colours here.
    assert difference(photo.pixels, fitted(pattern())) < (10 if format == "GIF" else 0.01)


def test_a_gif_cut_after_its_first_frame_gives_that_frame_and_counts_what_is_there():
    whole = animation("GIF", 3)
    single = encode(pattern().quantize(64), "GIF")
    photo = load_photo(whole[: len(single) + 60], SMALL)
    assert photo.frames in (1, 2)
    np.testing.assert_array_equal(photo.pixels, load_photo(whole, SMALL).pixels)


def test_a_bigtiff_is_read_and_its_pages_are_counted():
    data = encode(pattern(), "TIFF", save_all=True, append_images=[pattern()], big_tiff=True)
    assert data[2] == 43
    photo = load_photo(data, SMALL)
    assert photo.frames == 2
    np.testing.assert_array_equal(photo.pixels, fitted(pattern()))


# Orientation


UPRIGHT = np.asarray(pattern(80, 64))
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.swapaxes(0, 1),
    6: np.rot90(UPRIGHT, 1),  # to be turned clockwise, so it was stored turned the other way
    7: UPRIGHT[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
def test_all_eight_orientations_come_out_upright_to_the_pixel(orientation, format):
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    photo = load_photo(with_orientation(stored, orientation, format), SMALL)
    np.testing.assert_array_equal(photo.pixels, UPRIGHT[:, 8:72])
    assert (photo.width, photo.height) == (80, 64)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("orientation", STORED)
def test_all_eight_orientations_of_a_jpeg_come_out_upright(orientation, fast):
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    photo = load_photo(with_orientation(stored, orientation), SMALL, fast=fast)
    assert difference(photo.pixels, UPRIGHT[:, 8:72]) < 2
    assert (photo.width, photo.height) == (80, 64)


def test_a_pil_image_is_turned_by_its_orientation_too():
    stored = Image.fromarray(np.ascontiguousarray(STORED[6]))
    image = Image.open(io.BytesIO(with_orientation(stored, 6, "PNG")))
    np.testing.assert_array_equal(load_photo(image, SMALL).pixels, UPRIGHT[:, 8:72])


def test_orientation_is_read_from_xmp_where_exif_has_none():
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta tiff:Orientation="3"/>')
    stored = Image.fromarray(np.ascontiguousarray(STORED[3]))
    photo = load_photo(encode(stored, "PNG", pnginfo=text), SMALL)
    np.testing.assert_array_equal(photo.pixels, UPRIGHT[:, 8:72])


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation):
    photo = load_photo(with_orientation(Image.fromarray(UPRIGHT), orientation, "PNG"), SMALL)
    np.testing.assert_array_equal(photo.pixels, UPRIGHT[:, 8:72])


# PIL images


def test_a_pil_image_is_not_altered():
    for image in (pattern(), palette_with_hole(), Image.fromarray(np.zeros((9, 9), np.uint16))):
        before = image.copy()
        info, palette = dict(image.info), image.palette and image.palette.mode
        load_photo(image, SMALL, fast=True)
        assert (image.mode, image.size, image.info) == (before.mode, before.size, info)
        assert (image.palette and image.palette.mode) == palette
        assert image.tobytes() == before.tobytes()


def test_the_photo_does_not_share_memory_with_the_pil_image():
    image = plain((1, 2, 3), side=64)
    load_photo(image, SMALL).pixels[:] = 0
    assert image.getpixel((0, 0)) == (1, 2, 3)


def test_a_pil_image_shows_the_frame_that_its_owner_chose():
    image = Image.open(io.BytesIO(animation("WEBP", 3)))
    image.seek(2)
    photo = load_photo(image, SMALL)
    np.testing.assert_array_equal(photo.pixels, fitted(pattern(seed=2)))
    assert image.tell() == 2
    assert (photo.format, photo.frames) == ("WEBP", 1)


def test_threads_may_be_handed_the_same_pil_image_before_it_is_decoded():
    stored = Image.fromarray(np.ascontiguousarray(STORED[6]))
    for _ in range(20):
        image = Image.open(io.BytesIO(with_orientation(stored, 6, "PNG")))
        with ThreadPoolExecutor(8) as pool:
            photos = list(pool.map(lambda lent: load_photo(lent, SMALL), [image] * 8))
        for photo in photos:
            np.testing.assert_array_equal(photo.pixels, UPRIGHT[:, 8:72])


# Warnings


def test_a_photo_with_damaged_exif_loads_without_a_warning_in_any_thread():
    data = with_broken_exif(pattern())
    with pytest.warns(UserWarning, match="EXIF|Truncated|Tag"):
        Image.open(io.BytesIO(data)).getexif().get(0x010E)  # Pillow by itself does warn
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ThreadPoolExecutor(4) as pool:
            photos = list(pool.map(lambda each: load_photo(each, SMALL), [data] * 16))
    assert all(photo.width == 96 for photo in photos)


def test_warnings_of_others_still_reach_people():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        load_photo(with_broken_exif(pattern()), SMALL)
        warnings.warn("mine", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in seen] == ["mine"]
