"""Every error response is problem details, whatever made it; what fails is logged and not shown."""

import asyncio
import logging
from http import HTTPStatus

import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from serve.problems import Problem, ProblemMiddleware, photo_problem
from tests.serve.running import problem


def get(app, path="/"):
    """GET from the application inside the middleware."""

    async def ask():
        transport = httpx.ASGITransport(ProblemMiddleware(app))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get(path)

    return asyncio.run(ask())


def answering(endpoint):
    return Starlette(routes=[Route("/", endpoint)])


async def failing(request):
    raise RuntimeError("the secret is 42")


async def bare_failing(scope, receive, send):
    raise RuntimeError("the secret is 42")


@pytest.mark.parametrize("app", [answering(failing), bare_failing])
def test_a_failure_is_answered_without_its_message_and_logged_with_it(app, caplog):
    with caplog.at_level(logging.ERROR, logger="alexnet.serve"):
        response = get(app)
    assert response.status_code == 500
    assert problem(response)["code"] == "internal_error"
    assert "secret" not in response.text
    (record,) = caplog.records
    assert "GET / failed" in record.message
    assert "the secret is 42" in caplog.text


@pytest.mark.parametrize(
    ("code", "status"),
    [("corrupt_photo", 422), ("unsupported_format", 415), ("internal_error", 500)],
)
def test_a_photo_s_problem_says_whose_fault_it_is(code, status):
    problem = photo_problem(code, "A sentence.")
    assert (problem.status, problem.code, problem.detail) == (status, code, "A sentence.")


def test_an_address_can_t_write_a_line_of_the_log(caplog):
    get(bare_failing, "/a%0AERROR%20all%20is%20lost")
    (record,) = caplog.records
    assert record.message == "GET /a\\nERROR all is lost failed"


@pytest.mark.parametrize("status", [400, 401, 404, 405, 409, 418, 429, 500, 503, 504])
def test_an_error_in_another_shape_becomes_a_problem_of_its_status(status):
    async def text(request):
        raise HTTPException(status, headers={"Retry-After": "7", "X-Other": "dropped"})

    async def json(request):
        return JSONResponse([{"error": "what BentoML says"}], status)

    for endpoint in (text, json):
        response = get(answering(endpoint))
        assert response.status_code == status
        problem(response)
    assert get(answering(text)).headers["Retry-After"] == "7"
    assert "X-Other" not in get(answering(text)).headers


def test_a_problem_passes_as_it_is():
    async def own(request):
        return Problem(422, "corrupt_photo", "It breaks off.").response()

    assert problem(get(answering(own))) == {
        "type": "about:blank",
        "title": HTTPStatus(422).phrase,
        "status": 422,
        "detail": "It breaks off.",
        "code": "corrupt_photo",
    }


def test_good_answers_pass_as_they_are():
    async def good(request):
        return PlainTextResponse("good", 201, headers={"X-Other": "kept"})

    response = get(answering(good))
    assert (response.status_code, response.text) == (201, "good")
    assert response.headers["X-Other"] == "kept"


def test_an_answer_that_breaks_off_is_not_made_to_look_whole():
    async def half(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        get(half)
