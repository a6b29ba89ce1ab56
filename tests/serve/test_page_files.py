"""How the page is sent: to whom, as what, kept by browsers, and with nothing from elsewhere."""

import re
import tomllib

import httpx
import pytest

from tests.photos import ROOT
from tests.serve.running import problem

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
PARTS = {"/": "text/html", "/page/page.css": "text/css", "/page/page.js": "text/javascript"}


def get(service, path, **headers):
    return httpx.get(service.url + path, headers=BROWSER | headers)


def test_a_browser_gets_the_page_and_others_json_at_the_same_address(service):
    page, json = get(service, "/"), httpx.get(service.url + "/")
    assert page.text.startswith("<!doctype html>")
    assert json.json()["model"] == "GET /v1/model"
    assert page.headers["Vary"] == json.headers["Vary"] == "Accept"


@pytest.mark.parametrize(("path", "kind"), PARTS.items())
def test_each_part_has_its_type_and_a_policy_that_lets_nothing_else_in(service, path, kind):
    response = get(service, path)
    assert response.headers["Content-Type"] == f"{kind}; charset=utf-8"
    policy = response.headers["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("path", PARTS)
def test_a_browser_that_has_a_part_is_told_that_it_is_still_the_same(service, path):
    first = get(service, path)
    assert first.headers["Cache-Control"] == "no-cache"
    tag = first.headers["ETag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        again = get(service, path, **{"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == tag
    assert get(service, path, **{"If-None-Match": '"other"'}).content == first.content


def test_head_tells_the_same_without_the_page(service):
    response = httpx.head(service.url + "/", headers=BROWSER)
    assert response.content == b""
    assert response.headers["ETag"] == get(service, "/").headers["ETag"]


@pytest.mark.parametrize("path", ["/page/", "/page/index.html", "/page/..%2Fpage.py", "/page/x.js"])
def test_there_is_nothing_else_to_get(service, path):
    assert problem(get(service, path))["code"] == "not_found"


def test_no_part_names_another_host_or_holds_a_style_or_script_inline(service):
    for path in PARTS:
        text = get(service, path).text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]", text), path
    html = get(service, "/").text
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", html)
    assert re.findall(r"<script[^>]*>(.*?)</script>", html, re.S) == [""]


def test_the_page_goes_into_the_wheel():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    assert tools["setuptools"]["package-data"]["serve"] == ["page/*"]
