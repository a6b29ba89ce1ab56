"""Every row of the table of bad inputs, against the running service."""

import gzip
from base64 import b64encode

import httpx
import numpy as np
import pytest

from tests.photos import (
    animation,
    bomb,
    encode,
    every_kind,
    grey16,
    imagenet_samples,
    oversized,
    pattern,
    with_orientation,
)
from tests.serve.running import Listener, form, image_part, peak_memory, problem

KINDS = every_kind()
JPEG = KINDS["jpeg"]


def scores(response):
    assert response.status_code == 200, response.text
    return [
        (best["index"], best["probability"])
        for best in response.json()["results"][0]["predictions"]
    ]


def post_raw(service, data, type="image/jpeg", path="/v1/classify"):
    headers = {} if type is None else {"Content-Type": type}
    return httpx.post(service.url + path, content=data, headers=headers, timeout=60)


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_photo_of_any_kind_is_answered(service, kind):
    response = service.classify(KINDS[kind])
    assert response.status_code == 200, response.text
    assert len(response.json()["results"][0]["predictions"]) == 5


def test_a_photo_that_lies_on_its_side_is_turned_upright(service):
    upright, lying = pattern(96, 72), pattern(96, 72).transpose(2)  # ROTATE_90
    response = service.classify(with_orientation(lying, 6, "PNG"))
    assert scores(response) == scores(service.classify(encode(upright)))
    result = response.json()["results"][0]
    assert (result["width"], result["height"]) == (96, 72)


def test_a_16_bit_photo_is_scaled_to_8_bits(service):
    grey = pattern().convert("L")
    deep = grey16(np.asarray(grey).astype(np.uint16) * 257)
    assert scores(service.classify(deep)) == scores(service.classify(encode(grey)))


@pytest.mark.parametrize("format", ["GIF", "WEBP"])
def test_the_first_frame_of_an_animation_is_used_and_the_answer_says_so(service, format):
    response = service.classify(animation(format, 3))
    result = response.json()["results"][0]
    assert result["frames"] == 3
    assert result["note"] == "The first of 3 frames was used."
    first = pattern().quantize(64) if format == "GIF" else pattern()
    assert scores(response) == scores(service.classify(encode(first)))


def test_a_still_photo_says_nothing_of_frames(service):
    assert not {"frames", "note"} & set(service.classify(JPEG).json()["results"][0])


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        pytest.param(JPEG[: len(JPEG) // 2], 422, "corrupt_photo", id="truncated"),
        pytest.param(b"This is a text.", 415, "not_a_photo", id="text"),
        pytest.param(b"", 415, "empty_file", id="empty"),
        pytest.param(b"%PDF-1.7 and more", 415, "unsupported_format", id="pdf"),
    ],
)
def test_what_is_no_whole_photo_is_refused_with_a_sentence(service, data, status, code):
    for response in (
        service.classify(data),
        service.classify(data, path="/classify"),
        post_raw(service, data),
    ):
        assert response.status_code == status
        assert problem(response)["code"] == code


@pytest.mark.parametrize("side", [20_000, 13_000])
def test_too_many_pixels_are_refused_before_they_are_decoded(service, side):
    before = peak_memory(service)
    details = problem(service.classify(bomb(side, side)))
    assert (details["status"], details["code"]) == (422, "too_many_pixels")
    assert "64 megapixels" in details["detail"]
    assert peak_memory(service) - before < 100e6  # decoded it would be 500 MB at least


@pytest.mark.parametrize("kind", oversized())
def test_a_header_that_promises_too_many_pixels_is_enough(service, kind):
    assert problem(service.classify(oversized()[kind]))["code"] == "too_many_pixels"


def test_a_body_of_60_mb_is_refused_after_it_was_read_and_the_connection_lives(service):
    connection = service.connection()
    connection.request("POST", "/v1/classify", bytes(60_000_000), {"Content-Type": "image/jpeg"})
    socket = connection.sock
    response = connection.getresponse()
    assert response.status == 413
    assert b'"body_too_large"' in response.read()
    connection.request("POST", "/v1/classify", JPEG, {"Content-Type": "image/jpeg"})
    assert connection.getresponse().status == 200
    assert connection.sock is socket


def test_a_chunked_body_without_a_length_is_counted_too(service):
    connection = service.connection()
    chunks = (bytes(1_000_000) for _ in range(60))
    connection.request("POST", "/v1/classify", chunks, {"Content-Type": "image/jpeg"})
    socket = connection.sock
    response = connection.getresponse()
    assert response.status == 413
    assert b"20 MB" in response.read()
    connection.request("GET", "/v1/model")
    assert connection.getresponse().status == 200
    assert connection.sock is socket


def test_bodies_that_are_refused_take_no_memory(service):
    before = peak_memory(service)
    assert post_raw(service, bytes(60_000_000)).status_code == 413
    assert peak_memory(service) - before < 40e6


HEAD = image_part(b"")[0]
GOOD, TYPE = form(image_part(JPEG))
MALFORMED = {
    "wrong field": (*form((HEAD.replace(b"image", b"photo", 1), JPEG)), "unknown_field"),
    "typing error in a field": (
        *form(image_part(JPEG), (b'Content-Disposition: form-data; name="topk"', b"3")),
        "unknown_field",
    ),
    "no photo": (*form((b'Content-Disposition: form-data; name="top_k"', b"3")), "no_photo"),
    "empty form": (*form(), "no_photo"),
    "empty body": (b"", TYPE, "malformed_form"),
    "no boundary": (GOOD, {"Content-Type": "multipart/form-data"}, "malformed_form"),
    "another boundary": (
        GOOD,
        {"Content-Type": "multipart/form-data; boundary=other"},
        "malformed_form",
    ),
    "a very long boundary": (
        GOOD,
        {"Content-Type": f"multipart/form-data; boundary={'x' * 71}"},
        "malformed_form",
    ),
    "broken off": (GOOD[:-20], TYPE, "malformed_form"),
    "broken off in a head": (GOOD[:40], TYPE, "malformed_form"),
    "broken off at a boundary": (GOOD[:8], TYPE, "malformed_form"),
    "part without headers": (*form((b"", JPEG)), "malformed_form"),
    "part without a name": (*form((b"Content-Disposition: form-data", JPEG)), "malformed_form"),
    "part with a huge head": (*form((HEAD + b"\r\nA: " + b"a" * 20_000, JPEG)), "malformed_form"),
    "text after a boundary": (
        GOOD.replace(b"frontier\r", b"frontier x\r", 1),
        TYPE,
        "malformed_form",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_form_is_a_bad_request(service, case):
    body, headers, code = MALFORMED[case]
    response = httpx.post(service.url + "/v1/classify", content=body, headers=headers)
    assert response.status_code == 400, response.text
    assert problem(response)["code"] == code


@pytest.mark.parametrize("type", ["image/jpg", "image/png", "text/plain", "nonsense"])
def test_the_bytes_of_a_part_decide_and_not_its_type(service, type):
    body, headers = form(image_part(JPEG, type=type))
    response = httpx.post(service.url + "/v1/classify", content=body, headers=headers)
    assert response.json()["results"][0]["format"] == "JPEG"


@pytest.mark.parametrize("type", ["image/jpeg", "image/png", "application/octet-stream", None])
def test_a_photo_may_be_the_body_itself(service, type):
    assert scores(post_raw(service, JPEG, type)) == scores(service.classify(JPEG))


def test_other_kinds_of_multipart_are_refused(service):
    response = post_raw(service, GOOD, "multipart/mixed; boundary=frontier")
    assert response.status_code == 415
    assert problem(response)["code"] == "unsupported_media_type"


def test_a_compressed_body_is_refused_by_name(service):
    coded = {"Content-Type": "image/jpeg", "Content-Encoding": "gzip"}
    for path in ("/v1/classify", "/classify"):
        response = httpx.post(service.url + path, content=gzip.compress(JPEG), headers=coded)
        assert response.status_code == 415
        assert response.headers["Accept-Encoding"] == "identity"
        assert "Content-Encoding gzip" in problem(response)["detail"]


def test_a_part_in_base64_is_refused_by_name(service):
    body, headers = form((HEAD + b"\r\nContent-Transfer-Encoding: base64", b64encode(JPEG)))
    response = httpx.post(service.url + "/v1/classify", content=body, headers=headers)
    assert response.status_code == 415
    assert response.headers["Accept-Encoding"] == "identity"
    assert "Content-Transfer-Encoding base64" in problem(response)["detail"]


def test_an_address_in_the_place_of_a_photo_is_refused_and_not_fetched(service):
    listener = Listener()
    address = f"http://127.0.0.1:{listener.port}/photo.jpg"
    field = form((b'Content-Disposition: form-data; name="image"', address.encode()))
    for path in ("/v1/classify", "/classify"):
        for response in (
            httpx.post(service.url + path, content=field[0], headers=field[1]),
            httpx.post(service.url + path, content=address, headers={"Content-Type": "text/plain"}),
        ):
            assert response.status_code == 415
            assert problem(response)["code"] == "address_refused"
    # A form as browsers send it without files, and JSON: BentoML itself fetches what these name.
    for options in ({"data": {"image": address}}, {"json": {"image": [address]}}):
        for path in ("/v1/classify", "/classify"):
            assert httpx.post(service.url + path, **options).status_code == 415
    listener.close()
    assert listener.calls == []


def test_an_address_is_looked_for_at_the_beginning_only(service):
    for blanks, code in ((100, "address_refused"), (100_000, "not_a_photo")):
        response = post_raw(service, b" " * blanks + b"https://photos.example/a.jpg", "text/plain")
        assert problem(response)["code"] == code


@pytest.mark.parametrize(
    "name", ["x" * 264, "naïve 写真 📷.jpg", "a\\", "../../etc/passwd", 'quo"te.jpg', "semi;colon"]
)
def test_the_name_of_a_file_does_not_matter(service, name):
    files = {"image": (name, JPEG)}
    assert httpx.post(service.url + "/v1/classify", files=files).status_code == 200


@pytest.mark.parametrize("top_k", ["0", "-1", "abc", "", "1.5", "1e2", "٣", "9" * 5000])
def test_top_k_must_be_a_whole_number_of_at_least_1(service, top_k):
    for options in ({"params": {"top_k": top_k}}, {"data": {"top_k": top_k}}):
        response = httpx.post(service.url + "/v1/classify", files={"image": JPEG}, **options)
        assert response.status_code == 400
        assert problem(response)["code"] == "bad_top_k"


def test_two_different_top_ks_are_refused(service):
    response = service.classify(JPEG, params={"top_k": 3}, data={"top_k": 4})
    assert problem(response)["code"] == "bad_top_k"


def test_a_form_has_room_for_one_top_k_and_no_long_one(service):
    one = (b'Content-Disposition: form-data; name="top_k"', b"3")
    for parts in ((one, one, one), ((one[0], b"3" + b" " * 1000),)):
        body, headers = form(*parts, image_part(JPEG))
        response = httpx.post(service.url + "/v1/classify", content=body, headers=headers)
        assert problem(response)["code"] == "bad_top_k"


def test_an_unknown_parameter_is_refused(service):
    response = service.classify(JPEG, params={"topk": 3})
    assert response.status_code == 400
    assert problem(response)["code"] == "unknown_parameter"


@pytest.mark.shared
def test_all_sample_photos_of_imagenet_go_through(service, predictor):
    paths = imagenet_samples()
    assert len(paths) == 200
    for start in range(0, 200, 20):
        answer = service.classify(*(path.read_bytes() for path in paths[start : start + 20])).json()
        given = [[best["index"] for best in result["predictions"]] for result in answer["results"]]
        assert len(given) == 20
        expected = predictor.predict_one(paths[start])
        assert given[0] == [score.index for score in expected.scores]
