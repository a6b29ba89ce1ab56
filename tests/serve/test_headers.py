"""What answers say to browsers, and whose pages may ask."""

import httpx
import pytest

from serve.headers import EVERY_ANSWER, HeadersMiddleware, HostsMiddleware, OriginsMiddleware
from serve.settings import Settings
from tests.serve.doors import ORIGIN, WITH_KEY, ask, inside
from tests.serve.running import problem

PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,x-api-key",
}


def allowed(response):
    """The origin that a browser would let read the answer."""
    return response.headers.get("Access-Control-Allow-Origin")


@pytest.mark.parametrize("path", ["/", "/v1/model", "/nothing", "/livez", "/metrics", "/classify"])
def test_every_answer_has_the_headers(service, path):
    response = httpx.get(service.url + path)
    for name, value in EVERY_ANSWER.items():
        assert response.headers[name] == value, name


def test_the_page_keeps_its_own_policy(service):
    policy = httpx.get(service.url, headers={"Accept": "text/html"}).headers
    assert "script-src 'self'" in policy["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy["Content-Security-Policy"]
    assert policy["Content-Security-Policy"].count("default-src") == 1
    assert policy["X-Content-Type-Options"] == "nosniff"


def test_other_pages_may_not_ask_unless_told_so(service):
    headers = {"Origin": ORIGIN}
    assert allowed(httpx.get(service.url + "/v1/model", headers=headers)) is None
    preflight = httpx.options(service.url + "/v1/classify", headers={**headers, **PREFLIGHT})
    assert preflight.status_code == 405
    assert allowed(preflight) is None


def test_pages_of_the_origins_named_may_ask(guarded_service):
    url = guarded_service.url + "/v1/classify"
    preflight = httpx.options(url, headers={"Origin": ORIGIN, **PREFLIGHT})
    assert (preflight.status_code, allowed(preflight)) == (200, ORIGIN)
    assert "X-API-Key" in preflight.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in preflight.headers
    refused = httpx.post(url, headers={"Origin": ORIGIN})
    assert (refused.status_code, allowed(refused)) == (401, ORIGIN)  # a page can read why
    model = httpx.get(guarded_service.url + "/v1/model", headers={"Origin": ORIGIN, **WITH_KEY})
    assert (model.status_code, allowed(model)) == (200, ORIGIN)
    assert "X-Request-Id" in model.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize(
    "origin", ["https://photos.example.evil", "http://photos.example", "null", "https://a"]
)
def test_pages_of_others_may_not(guarded_service, origin):
    url = guarded_service.url + "/v1/classify"
    preflight = httpx.options(url, headers={"Origin": origin, **PREFLIGHT})
    assert preflight.status_code == 403
    assert problem(preflight)["code"] == "origin_refused"
    assert allowed(preflight) is None
    assert allowed(httpx.post(url, headers={"Origin": origin, **WITH_KEY})) is None


def test_any_page_may_ask_where_no_key_is_needed_and_the_origin_is_a_star():
    app = OriginsMiddleware(inside, settings=Settings(cors_origins=("*",)))
    assert allowed(ask(app, headers={"Origin": "https://any.example"})) == "*"


def test_a_header_that_an_answer_brings_is_left():
    async def own(scope, receive, send):
        headers = [(b"cache-control", b"max-age=60")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    response = ask(HeadersMiddleware(own))
    assert response.headers.get_list("cache-control") == ["max-age=60"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:3000", "PHOTOS.example:80", "[::1]:3000"])
def test_a_host_that_is_named_is_answered(host):
    settings = Settings(hosts=("127.0.0.1", "photos.example", "[::1]"))
    response = ask(HostsMiddleware(inside, settings=settings), headers={"Host": host})
    assert response.status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "127.0.0.1:x"])
def test_another_is_not_except_for_probes(guarded_service, host):
    headers = {"Host": host, **WITH_KEY}
    response = httpx.get(guarded_service.url + "/v1/model", headers=headers)
    assert response.status_code == 421
    assert problem(response)["code"] == "unknown_host"
    assert httpx.get(guarded_service.url + "/livez", headers=headers).status_code == 200
