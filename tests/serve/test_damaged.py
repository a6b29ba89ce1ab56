"""Photos of every format, cut and with bits turned: an answer or a sentence for each, never a 500.

The corpus is made here, from fixed seeds.
"""

import pytest

from alexnet.config import preset
from alexnet.photo import PhotoError, load_photo
from tests.photos import animation, damaged, encode, every_kind, pattern

KINDS = every_kind() | {
    "jpeg progressive, small": encode(pattern(40, 30), "JPEG", progressive=True),
    "gif animation": animation("GIF"),
    "webp animation": animation("WEBP"),
}
CODES = {"not_a_photo", "unsupported_format", "corrupt_photo", "too_many_pixels", "empty_file"}


def decoded(data, input):
    """The photo, or why there is none."""
    try:
        return load_photo(data, input)
    except PhotoError as error:
        return error


def copies(kind):
    """What is sent: 120 damaged files of each of the kinds."""
    return list(damaged(KINDS[kind], seed=42, cuts=40, flips=80))


def told(found):
    """What the service should say of a file, by what the decoder makes of it in this process."""
    if isinstance(found, PhotoError):
        return {"code": found.code, "detail": str(found)}
    return {"width": found.width, "height": found.height, "format": found.format}


def test_there_are_thousands_of_them():
    assert sum(len(copies(kind)) for kind in KINDS) > 3700


@pytest.mark.parametrize("kind", KINDS)
def test_the_decoder_gives_a_photo_or_a_reason(kind):
    input, bad = preset("mini").input, 0
    for copy in copies(kind):
        found = decoded(copy, input)
        if isinstance(found, PhotoError):
            assert found.code in CODES
            assert str(found).endswith(".")
            bad += 1
        else:
            assert found.pixels.shape == (input.size, input.size, 3)
    assert bad >= 10


@pytest.mark.parametrize("kind", KINDS)
def test_the_running_service_says_of_ten_of_each_what_the_decoder_says(service, kind):
    sent, input = copies(kind)[::12], preset("mini").input
    response = service.classify(*sent, params={"top_k": 1})
    assert response.status_code == 200, response.text
    for photo, result in zip(sent, response.json()["results"], strict=True):
        expected = told(decoded(photo, input))
        if "code" in expected:
            assert result["error"] | expected == result["error"]
            assert result["error"]["status"] in (415, 422)
        else:
            assert result | expected == result
            assert len(result["predictions"]) == 1
