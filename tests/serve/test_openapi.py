"""The OpenAPI document says what the service does: schemathesis sends what it promises, and not."""

import ast
import json
import re
from pathlib import Path

import httpx
import pytest

from serve.openapi import PROBLEMS, document
from serve.paths import PATHS
from serve.problems import photo_problem
from serve.settings import Settings
from tests.photos import ROOT

# Addresses with nothing to be told of: parts of the page, BentoML's own.
UNTOLD = {"/page/{name}", "/healthz", "/schema.json"}
# Codes of a photo's own errors (alexnet/photo_error.py) and their statuses.
OF_PHOTOS = {
    "empty_file": 415,
    "not_a_photo": 415,
    "unsupported_format": 415,
    "corrupt_photo": 422,
    "too_many_pixels": 422,
}


def test_both_addresses_have_it(service):
    ours = httpx.get(service.url + "/openapi.json").json()
    assert ours == httpx.get(service.url + "/docs.json").json() == document(Settings())


def test_every_address_is_told_of():
    assert set(document(Settings())["paths"]) == PATHS - UNTOLD


def test_the_limits_are_those_of_the_settings():
    told = document(Settings(max_photos=7, max_body=5_000_000))
    body = told["paths"]["/v1/classify"]["post"]["requestBody"]
    form = body["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["image"]["maxItems"] == 7
    assert "5000000 bytes" in body["description"]


def statuses(told, path, method):
    return set(told["paths"][path][method]["responses"])


def test_a_key_is_asked_for_where_one_is_needed():
    free, closed = document(Settings()), document(Settings(keys=Path("keys"), metrics="key"))
    assert "securitySchemes" not in free["components"]
    assert set(closed["components"]["securitySchemes"]) == {"bearer", "header"}
    for path, methods in closed["paths"].items():
        for method, operation in methods.items():
            asked = path in ("/v1/classify", "/classify", "/v1/model", "/v1/model/classes")
            asked = asked or path == "/metrics"
            assert ("security" in operation) == ("401" in operation["responses"]) == asked
            assert "401" not in statuses(free, path, method)


@pytest.mark.parametrize("settings", [Settings(), Settings(keys=Path("keys"), hosts=("here",))])
def test_there_is_no_answer_that_no_address_gives(settings):
    told = document(settings)
    named = set(re.findall(r"#/components/responses/(\w+)", json.dumps(told)))
    assert named == set(told["components"]["responses"])


def test_other_doors_are_told_of_only_where_they_are():
    assert "421" not in statuses(document(Settings()), "/", "get")
    assert "421" in statuses(document(Settings(hosts=("here",))), "/", "get")
    assert "/metrics" not in document(Settings(metrics="off"))["paths"]


def problems_in(path):
    """Every `Problem(status, code, ...)` of a file whose code is written out."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Problem":
            codes = [
                leaf.value for leaf in ast.walk(node.args[1]) if isinstance(leaf, ast.Constant)
            ]
            yield from ((getattr(node.args[0], "value", None), code) for code in codes)


def test_every_problem_of_the_service_is_told_of_and_no_other():
    found = {pair for path in (ROOT / "serve").glob("*.py") for pair in problems_in(path)}
    known = {code: status for status, codes in PROBLEMS.items() for code in codes}
    for status, code in found:
        assert known[code] == status or status is None, code
    for code, status in OF_PHOTOS.items():
        assert known[code] == photo_problem(code, "").status == status
    # Codes that are chosen before the call, as 401's.
    assert set(known) - {code for _, code in found} - set(OF_PHOTOS) <= {
        *("key_needed", "unknown_key")
    }
