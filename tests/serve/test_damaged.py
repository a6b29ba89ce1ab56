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


@pytest.mark.parametrize("kind", KINDS)
def test_the_decoder_gives_a_photo_or_a_reason(kind):
    input, bad = preset("mini").input, 0
    for copy in damaged(KINDS[kind], seed=42, cuts=40, flips=80):
        found = decoded(copy, input)
        if isinstance(found, PhotoError):
            assert found.code in CODES
            assert str(found).endswith(".")
            bad += 1
        else:
            assert found.pixels.shape == (input.size, input.size, 3)
    assert bad >= 10


def test_the_service_answers_each_of_many_damaged_photos(service):
    copies = [copy for data in KINDS.values() for copy in damaged(data, seed=7, cuts=4, flips=6)]
    assert len(copies) > 250
    seen = set()
    for start in range(0, len(copies), 32):
        sent = copies[start : start + 32]
        response = service.classify(*sent, params={"top_k": 1})
        assert response.status_code == 200, response.text
        results = response.json()["results"]
        assert len(results) == len(sent)
        for result in results:
            if "error" in result:
                assert result["error"]["status"] in (415, 422)
                assert result["error"]["code"] in CODES
                seen.add(result["error"]["code"])
            else:
                assert len(result["predictions"]) == 1
    assert {"corrupt_photo", "not_a_photo"} <= seen
