"""Forms taken apart: the same parts that other parsers find."""

import asyncio
import random

import httpx
import pytest
from starlette.requests import Request

from serve.problems import Problem
from serve.settings import Settings
from serve.uploads import Memory, read_upload
from tests.serve.running import damaged_forms, form, image_part


def read(body, content_type, query=b"", settings=None, headers=()):
    """The upload of a request with this body, which arrives in pieces."""
    pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)] or [b""]

    async def receive():
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/classify",
        "query_string": query,
        "headers": [(b"content-type", content_type.encode("latin-1")), *headers],
    }
    settings = settings or Settings()
    with Memory(settings.max_uploads).share() as share:
        return asyncio.run(read_upload(Request(scope, receive), settings, share))


@pytest.mark.parametrize("seed", range(20))
def test_what_httpx_encodes_is_found_again(seed):
    chance = random.Random(seed)
    # Contents that are hard to tell from boundaries.
    contents = [
        b"".join(
            chance.choice(
                (b"\r\n", b"--", b"\r\n--frontie", b"frontie", b"\0", b"\xff", b"-", b"\r")
            )
            for _ in range(chance.randrange(0, 2000))
        )
        for _ in range(5)
    ]
    names = ["photo.jpg", "x" * 300, "späße 写真.png", "a\\b.jpg", 'a"b;c.jpg']
    request = httpx.Request(
        "POST",
        "http://here",
        files=[("image", pair) for pair in zip(names, contents, strict=True)],
        data={"top_k": "7"},
        headers={"Content-Type": 'multipart/form-data; boundary="frontier"'},
    )
    upload = read(request.read(), request.headers["Content-Type"])
    assert list(upload.photos) == contents
    assert upload.top_k == 7


@pytest.mark.parametrize(
    ("head", "found"),
    [
        ('form-data; name="image"', True),
        ("form-data; name=image", True),
        ('Form-Data ; NAME = "image" ; filename="a"', True),
        ('form-data; filename="a.jpg"; name="image"', True),
        ('form-data; filename="name=\\"other\\""; name="image"', True),
        ('form-data; name="im\\age"; filename="C:\\photos\\"', True),
        ('form-data; filename="image"', False),
        ('attachment; name="image"', False),
    ],
)
def test_the_name_is_read_from_any_spelling_of_the_header(head, found):
    body = f"--b\r\ncontent-DISPOSITION:{head}\r\n\r\nbytes\r\n--b--".encode()
    if found:
        assert read(body, "multipart/form-data; boundary=b").photos == (b"bytes",)
    else:
        with pytest.raises(Exception, match="a part has no name"):
            read(body, "multipart/form-data; boundary=b")


CODED = [
    ("Content-Transfer-Encoding", "base64"),
    ("content-transfer-encoding", "BASE64"),
    ("Content-Transfer-Encoding", "quoted-printable"),
    ("Content-Transfer-Encoding", "x-uuencode"),
    ("Content-Transfer-Encoding", "\r\n\tbase64"),
    ("Content-Encoding", "gzip"),
    ("Content-Encoding", "deflate"),
    ("Content-Encoding", "br"),
    ("Content-Encoding", "zstd"),
    ("Content-Encoding", "gzip, identity"),
]
PLAIN = [
    ("Content-Transfer-Encoding", "binary"),
    ("Content-Transfer-Encoding", "8bit"),
    ("Content-Transfer-Encoding", "7BIT"),
    ("Content-Transfer-Encoding", ""),
    ("Content-Encoding", "identity"),
]


def part(name, value):
    """A form of one photo whose part has this header, too."""
    disposition = 'Content-Disposition: form-data; name="image"'
    return f"--b\r\n{disposition}\r\n{name}: {value}\r\n\r\nbytes\r\n--b--".encode()


@pytest.mark.parametrize(("name", "value"), CODED)
@pytest.mark.parametrize("whole", [False, True])
def test_what_was_encoded_on_the_way_is_refused_by_the_name_of_its_encoding(name, value, whole):
    body, kind, headers = part(name, value), "multipart/form-data; boundary=b", []
    if whole:
        body, kind = b"bytes", "image/jpeg"
        headers = [(name.lower().encode(), value.strip().encode())]
    with pytest.raises(Problem) as refused:
        read(body, kind, headers=headers)
    assert (refused.value.status, refused.value.code) == (415, "unsupported_encoding")
    assert f"{name.title()} {value.strip()}, which is not read here" in refused.value.detail
    assert refused.value.headers == {"Accept-Encoding": "identity"}


@pytest.mark.parametrize(("name", "value"), PLAIN)
def test_what_is_said_not_to_be_encoded_is_read(name, value):
    assert read(part(name, value), "multipart/form-data; boundary=b").photos == (b"bytes",)
    header = (name.lower().encode(), value.encode())
    assert read(b"bytes", "image/jpeg", headers=[header]).photos == (b"bytes",)


def test_a_damaged_form_is_read_or_refused_and_nothing_else():
    body, headers = form(image_part(bytes(300)), image_part(b"\r\n--frontie"))
    refused = []
    for damaged in damaged_forms(body, count=1000):
        try:
            read(damaged, headers["Content-Type"])
        except Problem as problem:
            refused.append(problem.status)
    assert set(refused) <= {400, 415}
    assert 100 < len(refused) < 1000


def test_a_header_of_a_part_may_go_on_in_the_next_line():
    body = b'--b\r\nContent-Disposition: form-data;\r\n name="image"\r\n\r\nbytes\r\n--b--'
    assert read(body, "multipart/form-data; boundary=b").photos == (b"bytes",)


def test_text_before_and_after_the_parts_and_blanks_after_boundaries_are_passed_over():
    part = b'Content-Disposition: form-data; name="image"\r\n\r\n'
    body = b"preamble\r\n--b \t\r\n" + part + b"one\r\n--b\r\n" + part + b"\r\n--b--\r\nepilogue"
    assert read(body, 'multipart/form-data; charset=utf-8; boundary="b"').photos == (b"one", b"")


def test_a_body_without_a_form_is_one_photo():
    assert read(b"bytes", "image/jpeg").photos == (b"bytes",)


def test_five_classes_are_named_unless_a_request_says_otherwise():
    assert read(b"bytes", "").top_k == 5
    assert read(b"bytes", "", b"top_k=%203").top_k == 3
