"""A line for each request that says what happened, and nothing of who asked for what."""

import json
import re
import time
import uuid

import httpx
import pytest
from starlette.responses import PlainTextResponse

from serve.access_log import AccessLogMiddleware
from serve.metrics import Metrics
from serve.note import note_of
from serve.problems import Problem
from serve.settings import Settings
from tests.photos import encode, pattern
from tests.serve.doors import ask, inside
from tests.serve.running import form, image_part

PHOTO = encode(pattern(), "JPEG")


def lines_of(app=inside, path="/v1/model", *, log="json", **options):
    written = []
    settings = Settings(log=log)
    door = AccessLogMiddleware(app, metrics=Metrics(), settings=settings, write=written.append)
    response = ask(door, path, **options)
    return "".join(written).splitlines(), response


def line_of(service, id):
    """The line of the request with this id, which is written after its answer."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        found = [line for line in service.log.splitlines() if id in line]
        if found:
            (line,) = found
            return json.loads(line)
        time.sleep(0.02)
    raise AssertionError(f"no line with {id}")


def new_id():
    return f"test-{uuid.uuid4().hex}"


def test_a_line_says_what_happened_to_a_request(service):
    id = new_id()
    body, headers = form(image_part(PHOTO), image_part(b"text"), image_part(PHOTO))
    response = httpx.post(
        service.url + "/v1/classify", content=body, headers={**headers, "X-Request-Id": id}
    )
    line = line_of(service, id)
    assert re.fullmatch(r"2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    times = [line.pop(name) for name in ("decode_ms", "wait_ms", "run_ms", "ms")]
    assert all(milliseconds >= 0 for milliseconds in times)
    assert times[-1] > times[0]
    assert line == {
        "id": id,
        "method": "POST",
        "route": "/v1/classify",
        "status": 200,
        "bytes_in": len(body),
        "bytes_out": len(response.content),
        "photos": 3,
        "failed": 1,
    }


def test_the_line_of_a_problem_has_its_code(service):
    id = new_id()
    service.classify(b"text", headers={"X-Request-Id": id})
    line = line_of(service, id)
    assert (line["status"], line["code"], line["photos"], line["failed"]) == (
        415, "not_a_photo", 1, 1,
    )  # fmt: skip


def test_nothing_of_what_a_client_sends_is_written_but_a_good_id(service):
    marks = [f"mark{number}x{uuid.uuid4().hex}" for number in range(6)]
    body, headers = form(image_part(PHOTO + marks[0].encode(), filename=f"{marks[1]}.jpg"))
    headers |= {"Authorization": f"Bearer {marks[2]}", "X-API-Key": marks[2], "Cookie": marks[3]}
    id = new_id()
    httpx.post(f"{service.url}/v1/classify?{marks[4]}=1", content=body, headers=headers)
    httpx.get(f"{service.url}/{marks[5]}%0a%1b[31m", headers={"X-Request-Id": id})
    assert line_of(service, id)["route"] == "other"
    assert not [mark for mark in marks if mark in service.log]
    assert "\x1b" not in service.log


def test_bentoml_writes_no_line_of_its_own(service):
    id = new_id()
    httpx.get(service.url + "/v1/model", headers={"X-Request-Id": id})
    line_of(service, id)
    assert "(scheme=http," not in service.log
    assert "HTTP/1.1" not in service.log


def test_probes_that_go_well_and_scrapes_are_not_written_of(service):
    for path in ("/livez", "/readyz", "/metrics"):
        assert httpx.get(service.url + path).status_code == 200
    id = new_id()
    httpx.get(service.url + "/v1/model", headers={"X-Request-Id": id})
    line_of(service, id)
    assert not re.search('"/(livez|readyz|metrics)", "status": 2', service.log)


def test_a_probe_that_goes_badly_is():
    lines, _ = lines_of(Problem(503, "not_ready", "No.").response(), "/readyz")
    line = json.loads(lines[0])
    assert (line["route"], line["status"], line["code"]) == ("/readyz", 503, "not_ready")


@pytest.mark.parametrize("given", ["a", "A.b_c-9", "x" * 64])
def test_a_good_id_is_kept(given):
    lines, response = lines_of(headers={"X-Request-Id": given})
    assert json.loads(lines[0])["id"] == response.headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", [None, "", "x" * 65, "a b", 'a"b', "a\tb", b"\xff", "a/b"])
def test_another_is_replaced(given):
    headers = {} if given is None else {"X-Request-Id": given}
    lines, response = lines_of(headers=headers)
    assert re.fullmatch("[0-9a-f]{32}", response.headers["X-Request-Id"])
    assert json.loads(lines[0])["id"] == response.headers["X-Request-Id"]


def test_a_client_that_goes_away_is_499():
    async def waiting(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass

    lines, metrics = [], Metrics()
    door = AccessLogMiddleware(
        waiting, metrics=metrics, settings=Settings(log="json"), write=lines.append
    )
    scope = {"type": "http", "method": "GET", "path": "/v1/model", "headers": []}

    async def receive():
        return {"type": "http.disconnect"}

    run(door(scope, receive, None))
    assert json.loads(lines[0])["status"] == 499
    assert 'alexnet_requests_total{route="/v1/model",status="499"} 1.0' in metrics.text().decode()


def run(coroutine):
    """Run a coroutine that waits for nothing to its end."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


def test_an_answer_that_fails_halfway_is_written_of_before_the_failure_goes_on():
    async def failing(scope, receive, send):
        raise RuntimeError("no")

    lines = []
    door = AccessLogMiddleware(
        failing, metrics=Metrics(), settings=Settings(log="json"), write=lines.append
    )
    with pytest.raises(RuntimeError):
        ask(door)
    assert json.loads(lines[0])["status"] == 500


def test_the_name_of_a_key_is_written_and_a_made_up_method_is_not():
    async def named(scope, receive, send):
        note_of(scope).client = "alice"
        await PlainTextResponse("")(scope, receive, send)

    lines, _ = lines_of(named, method="MAKEUP")
    assert json.loads(lines[0])["client"] == "alice"
    assert json.loads(lines[0])["method"] == "other"


def test_on_a_terminal_a_line_is_for_people():
    lines, response = lines_of(log="plain")
    id = response.headers["X-Request-Id"]
    pattern = rf"[0-9:.]{{12}} GET /v1/model 200 [0-9.]+ ms id={id} bytes_in=0 bytes_out=9"
    assert re.fullmatch(pattern, lines[0])


def test_the_log_may_be_off_and_ids_are_not():
    lines, response = lines_of(log="off")
    assert lines == []
    assert response.headers["X-Request-Id"]
