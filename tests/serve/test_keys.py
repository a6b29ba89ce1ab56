"""Keys: who may ask, what stays open, and how a file of keys is changed under a running service."""

import hmac
import logging
import os
import time

import httpx
import pytest
from bentoml.exceptions import BentoMLException

from serve.keys import KeyRing, KeysError, KeysMiddleware, check_keys, read_keys
from serve.settings import Settings
from tests.photos import encode, pattern
from tests.serve.doors import KEY, ORIGIN, WITH_KEY, ask, inside
from tests.serve.running import problem

OLD, NEW = "old-key-0123456789", "new-key-0123456789"


def write(path, text, *, age=10.0):
    """Write a file of keys as if it had been so many seconds ago."""
    path.write_text(text)
    written = time.time() - age
    os.utime(path, (written, written))
    return path


@pytest.fixture
def keys(tmp_path):
    return write(tmp_path / "keys", f"{OLD}\n")


def door(keys, **settings):
    return KeysMiddleware(inside, settings=Settings(keys=keys, **settings))


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {OLD}"},
        {"Authorization": f"bearer  {OLD} "},
        {"X-API-Key": OLD},
        {"X-API-Key": OLD, "Authorization": "Basic dTpw"},
    ],
)
def test_a_key_opens_the_door(keys, headers):
    assert ask(door(keys), headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "key_needed"),
        ({"Authorization": "Basic dTpw"}, "key_needed"),
        ({"Authorization": OLD}, "key_needed"),
        ({"Authorization": "Bearer "}, "key_needed"),
        ({"X-API-Key": NEW}, "unknown_key"),
        ({"X-API-Key": OLD[:-1]}, "unknown_key"),
        ({"Authorization": b"Bearer \xff\xfe"}, "unknown_key"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/classify", "/v1/model", "/classify", "/schema.json", "/x"])
def test_without_one_it_stays_shut(keys, headers, code, path):
    response = ask(door(keys), path, headers=headers)
    assert response.status_code == 401
    assert problem(response)["code"] == code
    assert response.headers["WWW-Authenticate"].startswith('Bearer realm="alexnet"')


@pytest.mark.parametrize(
    "path", ["/", "/page/page.js", "/livez", "/readyz", "/openapi.json", "/metrics"]
)
def test_the_page_the_probes_and_what_says_how_to_ask_stay_open(keys, path):
    assert ask(door(keys), path).status_code == 200


@pytest.mark.parametrize("path", ["/page/../v1/model", "//v1/model", "/livez/", "/page/", "/LIVEZ"])
def test_what_only_looks_like_them_does_not(keys, path):
    assert ask(door(keys), path).status_code == 401


def test_metrics_are_for_all_for_those_with_a_key_or_for_nobody(keys):
    def status(metrics, **headers):
        return ask(door(keys, metrics=metrics), "/metrics", headers=headers).status_code

    assert (status("open"), status("key"), status("off")) == (200, 401, 404)
    assert (status("key", **{"X-API-Key": OLD}), status("off", **{"X-API-Key": OLD})) == (200, 404)


def test_a_changed_file_counts_from_the_next_request_on(keys):
    app = door(keys)
    write(keys, f"{NEW}\n", age=5)
    assert ask(app, headers={"X-API-Key": NEW}).status_code == 200
    assert ask(app, headers={"X-API-Key": OLD}).status_code == 401


def test_a_file_that_is_put_in_the_place_of_another_counts_too(keys, tmp_path):
    app = door(keys)
    when = keys.stat().st_mtime
    other = write(tmp_path / "other", f"{NEW}\n")  # as long, and as old
    os.utime(other, (when, when))
    other.replace(keys)
    assert ask(app, headers={"X-API-Key": NEW}).status_code == 200


def test_a_file_that_was_changed_a_moment_ago_may_be_half_written(keys, monkeypatch):
    ring = KeyRing(keys)
    write(keys, f"{NEW}\n", age=0)
    written = keys.stat().st_mtime
    monkeypatch.setattr("serve.keys.time.time", lambda: written + 0.1)
    assert ring.find(OLD) is not None
    assert ring.find(NEW) is None
    monkeypatch.setattr("serve.keys.time.time", lambda: written + 0.6)
    assert ring.find(OLD) is None
    assert ring.find(NEW) is not None


@pytest.mark.parametrize("content", ["", "# none\n", "short\n", f"{NEW}\nwith space\n", None])
def test_a_file_that_makes_no_sense_changes_nothing_and_is_told_of_once(keys, content, caplog):
    ring = KeyRing(keys)
    with caplog.at_level(logging.ERROR, logger="alexnet.serve"):
        if content is None:
            keys.unlink()
        else:
            write(keys, content, age=5)
        assert [ring.find(OLD) is None for _ in range(3)] == [False] * 3
    (record,) = caplog.records
    assert "the keys read before hold" in record.getMessage()
    assert OLD not in caplog.text
    assert "with space" not in caplog.text


def test_a_worker_that_finds_no_keys_lets_nobody_in(tmp_path, caplog):
    app = door(tmp_path / "none")
    assert ask(app, headers={"X-API-Key": OLD}).status_code == 401
    assert ask(app, headers={"X-API-Key": ""}).status_code == 401
    assert "nobody gets in" in caplog.text


def test_every_key_is_compared_whichever_is_given(tmp_path, monkeypatch):
    ring = KeyRing(write(tmp_path / "keys", f"{OLD}\n{NEW}\n{KEY}\n"))
    compared = []

    def compare(one, other):
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert [ring.find(key) is not None for key in (OLD, KEY, "x" * 300)] == [True, True, False]
    assert compared == [(32, 32)] * 9


def test_keys_may_have_names_comments_and_windows_line_ends(tmp_path):
    text = f"\n# the team\r\nalice:{OLD}\r\n  {NEW}  \r\n"
    assert [key.name for key in read_keys(write(tmp_path / "keys", text))] == ["alice", None]


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_keys_may_begin_with_a_byte_order_mark(tmp_path, coding):
    text = f"alice:{OLD}\r\n\r\n# the team\r\n{NEW}  \r\n"
    mark = "\ufeff" if coding.endswith(("le", "be")) else ""  # Python writes it by itself else
    path = tmp_path / "keys"
    path.write_bytes((mark + text).encode(coding))
    keys = read_keys(path)
    assert [key.name for key in keys] == ["alice", None]
    path.write_text(text)
    assert read_keys(path) == keys


def test_a_byte_order_mark_may_also_come_later(tmp_path):
    (tmp_path / "keys").write_bytes(b"".join(f"{key}\n".encode("utf-8-sig") for key in (OLD, NEW)))
    ring = KeyRing(tmp_path / "keys")
    assert all(ring.find(key) for key in (OLD, NEW))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "There is no key in .*keys: write one on a line"),
        ("# nothing\n\n", "There is no key in"),
        (f"{OLD}\npassword\n", "Line 2 of .*keys is no key"),
        (f"a b:{OLD}\n", "Line 1 of .*keys is no key"),
        ("k" * 2_000_000, "more than 1000000 bytes"),
    ],
)
def test_a_file_without_keys_is_refused_without_its_content(tmp_path, content, sentence):
    with pytest.raises(KeysError, match=sentence) as caught:
        read_keys(write(tmp_path / "keys", content))
    assert "password" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # BentoML's own
def test_the_service_refuses_to_start_with_a_file_without_keys(tmp_path, monkeypatch):
    from serve.service import AlexNet

    monkeypatch.setenv("ALEXNET_KEYS", str(write(tmp_path / "keys", "\n")))
    with pytest.raises(BentoMLException, match="There is no key in"):
        AlexNet.inner.check_settings()
    monkeypatch.setenv("ALEXNET_KEYS", str(tmp_path / "none"))
    with pytest.raises(BentoMLException, match=r"can't be read from .*none: No such file"):
        AlexNet.inner.check_settings()


def test_settings_that_do_not_go_with_keys_are_refused(keys):
    with pytest.raises(KeysError, match="ALEXNET_METRICS is 'key', so set ALEXNET_KEYS"):
        check_keys(Settings(metrics="key"))
    with pytest.raises(KeysError, match="ALEXNET_CORS_ORIGINS is '\\*'"):
        check_keys(Settings(keys=keys, cors_origins=("*",)))


def test_a_file_that_all_can_read_is_told_of(keys, capsys):
    keys.chmod(0o640)
    check_keys(Settings(keys=keys))
    assert capsys.readouterr().err == ""
    keys.chmod(0o644)
    check_keys(Settings(keys=keys))
    assert capsys.readouterr().err.startswith("Everybody on this machine can read ")


def test_a_service_with_keys_answers_those_who_have_one(guarded_service):
    photo = encode(pattern(), "JPEG")
    assert guarded_service.classify(photo).status_code == 401
    assert guarded_service.classify(photo, headers=WITH_KEY).status_code == 200
    model = httpx.get(guarded_service.url + "/v1/model", headers=WITH_KEY)
    assert model.status_code == 200
    assert KEY not in model.text
    assert model.json()["doors"] == {
        "key_needed": True,
        "metrics": "key",
        "cors_origins": [ORIGIN],
        "hosts": ["127.0.0.1"],
    }
    assert '"client": "tests"' in guarded_service.log


def test_the_example_of_a_service_with_keys_brings_one(guarded_service):
    example = httpx.get(guarded_service.url).json()["example"]
    assert example.startswith("curl -H 'Authorization: Bearer KEY' -F image=@photo.jpg http://")


def test_a_client_without_a_key_that_asks_first_is_told_so_before_it_sends(guarded_service):
    status, headers, _ = guarded_service.exchange(
        b"POST /v1/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n"
        b"Expect: 100-continue\r\n\r\n"
    )
    assert (status, headers["Connection"]) == (401, "close")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # BentoML's own
def test_bentomls_own_client_brings_its_key_as_a_token(guarded_service, tmp_path):
    import bentoml

    (tmp_path / "a.png").write_bytes(encode(pattern()))
    with bentoml.SyncHTTPClient(guarded_service.url, token=KEY) as client:
        answer = client.classify(image=[tmp_path / "a.png"], top_k=2)
    assert len(answer["results"][0]["predictions"]) == 2
