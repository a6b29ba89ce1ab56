"""What the running service answers to good requests."""

import asyncio
import json

import httpx
import pytest

from alexnet.container import FORMATS
from alexnet.machine import cores
from serve.settings import Settings, shown
from tests.photos import bomb, encode, pattern, sklearn_photos
from tests.serve.running import problem

PHOTO = encode(pattern(), "JPEG")


def expected(prediction):
    """What the service says of a prediction's classes."""
    return [
        {
            "index": score.index,
            "label": score.label,
            "name": score.name,
            "probability": pytest.approx(score.probability, abs=1e-6),
        }
        for score in prediction.scores
    ]


def test_the_answer_is_the_predictors(service, predictor):
    pytest.importorskip("sklearn", reason="its photographs come with scikit-learn")
    for path in sklearn_photos():
        data = path.read_bytes()
        (result,) = service.classify(data).json()["results"]
        assert result == {
            "width": 640,
            "height": 427,
            "format": "JPEG",
            "predictions": expected(predictor.predict_one(data)),
        }


def test_several_photos_are_answered_in_their_order_and_a_bad_one_alone_is_an_error(
    service, predictor
):
    photos = [encode(pattern(seed=seed)) for seed in range(4)]
    photos[2:2] = [photos[0][:200], b"text", bomb()]
    response = service.classify(*photos)
    assert response.status_code == 200
    results = response.json()["results"]
    errors = {at: result["error"] for at, result in enumerate(results) if "error" in result}
    assert {at: (error["status"], error["code"]) for at, error in errors.items()} == {
        2: (422, "corrupt_photo"),
        3: (415, "not_a_photo"),
        4: (422, "too_many_pixels"),
    }
    for at in (0, 1, 5, 6):
        assert results[at]["predictions"] == expected(predictor.predict_one(photos[at]))


def test_an_answer_names_the_model_the_views_and_how_long_it_took(service, model_path):
    answer = service.classify(PHOTO).json()
    assert (answer["model"], answer["views"]) == (model_path.stem, "ten")
    assert set(answer) == {"model", "views", "results", "timings"}
    times = answer["timings"]
    assert set(times) == {"read_ms", "predict_ms", "decode_ms", "wait_ms", "run_ms"}
    assert all(time >= 0 for time in times.values())
    assert times["decode_ms"] + times["wait_ms"] + times["run_ms"] <= times["predict_ms"] + 0.002


@pytest.mark.parametrize("top_k", [1, 3, 50])
def test_top_k_classes_are_named_wherever_it_is_said(service, top_k):
    for options in ({"params": {"top_k": top_k}}, {"data": {"top_k": top_k}}):
        (result,) = service.classify(PHOTO, **options).json()["results"]
        assert len(result["predictions"]) == top_k
    both = service.classify(PHOTO, params={"top_k": top_k}, data={"top_k": top_k})
    assert len(both.json()["results"][0]["predictions"]) == top_k


def test_a_top_k_beyond_the_classes_means_all_of_them(service):
    (result,) = service.classify(PHOTO, params={"top_k": 1000}).json()["results"]
    assert len(result["predictions"]) == 50
    assert sum(best["probability"] for best in result["predictions"]) == pytest.approx(1, abs=1e-5)


def test_fifty_requests_at_once_each_get_their_own_answer(service, predictor):
    photos = [encode(pattern(seed=seed)) for seed in range(50)]
    answers = [expected(prediction) for prediction in predictor.predict(photos)]
    given = [tuple(best["probability"].expected for best in answer) for answer in answers]
    assert len(set(given)) == 50, "the photos have to differ for this test"

    async def ask():
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(base_url=service.url, timeout=60, limits=limits) as client:
            return await asyncio.gather(
                *(client.post("/v1/classify", files={"image": photo}) for photo in photos)
            )

    for response, answer in zip(asyncio.run(ask()), answers, strict=True):
        assert response.json()["results"][0]["predictions"] == answer


def test_the_service_answers_others_while_it_is_busy(service):
    files = [("image", encode(pattern(3000, 2000), "JPEG"))] * 32

    async def photos_wait(client):
        text = (await client.get("/metrics")).text
        return "alexnet_queue_photos 0.0" not in text

    async def ask():
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
            busy = asyncio.create_task(client.post("/v1/classify", files=files))
            while not await photos_wait(client) and not busy.done():
                pass
            for path in ("/livez", "/readyz", "/v1/model"):
                assert (await client.get(path)).status_code == 200
            still_busy = await photos_wait(client)
            assert (await busy).status_code == 200
            return still_busy

    # A machine that is busy itself may keep this client waiting once, but not every time.
    assert any(asyncio.run(ask()) for _ in range(5))


def test_the_model_is_described(service, predictor, model_path):
    model = httpx.get(service.url + "/v1/model").json()
    info = predictor.backend.info
    assert model["name"] == model_path.stem
    assert (model["preset"], model["classes"]) == ("mini", 50)
    assert (model["backend"], model["device"], model["views"]) == ("torch", "cpu", "ten")
    assert model["sha256"] == info.sha256
    assert (model["input"]["size"], model["input"]["crop"]) == (64, 56)
    assert model["provenance"] == json.loads(json.dumps(dict(info.provenance)))
    assert {"python", "bentoml", "pillow", "torch"} <= set(model["versions"])
    assert model["limits"] == {
        "body_bytes": 20_000_000,
        "pixels": 64_000_000,
        "photos": 32,
        "requests": 1024,
        "seconds": 50.0,
        "formats": list(FORMATS),
        "upload_bytes": 400_000_000,
        "upload_seconds": 10.0,
        "queue_photos": 256,
    }
    assert model["batching"] == {"photos": 4, "wait_ms": 0, "streams": cores()}
    told = shown(Settings(model=model_path, port=service.port))
    assert model["settings"] == json.loads(json.dumps(told))


def test_the_classes_are_listed_in_the_order_of_their_index(service, predictor):
    classes = httpx.get(service.url + "/v1/model/classes").json()["classes"]
    assert [entry["index"] for entry in classes] == list(range(50))
    labels = predictor.backend.info.labels
    assert [entry["label"] for entry in classes] == [label.wnid for label in labels]
    assert [entry["name"] for entry in classes] == [label.name for label in labels]


def test_the_root_says_what_there_is(service):
    answer = httpx.get(service.url + "/").json()
    assert "/v1/classify" in answer["classify"]


@pytest.mark.parametrize(
    ("host", "forwarded", "address"),
    [
        (None, None, "http://127.0.0.1:{port}"),
        ("photos.example", None, "http://photos.example"),
        ("localhost:8080", None, "http://localhost:8080"),
        ("[::1]:3000", None, "http://[::1]:3000"),
        ("photos.example", "https", "https://photos.example"),  # a proxy of this machine says so
        ("'; rm -rf '/", None, "http://127.0.0.1:{port}"),
    ],
)
def test_the_example_at_the_root_asks_where_the_root_was_asked(service, host, forwarded, address):
    headers = {} if host is None else {"Host": host}
    if forwarded is not None:
        headers["X-Forwarded-Proto"] = forwarded
    example = httpx.get(service.url + "/", headers=headers).json()["example"]
    url = address.format(port=service.port) + "/v1/classify"
    assert example == f"curl -F image=@photo.jpg {url}"


def test_a_client_that_names_no_host_is_told_the_address_that_it_reached(service):
    _, _, body = service.exchange(b"GET / HTTP/1.0\r\n\r\n")
    assert json.loads(body)["example"].endswith(f" http://127.0.0.1:{service.port}/v1/classify")


def test_bentomls_own_routes_are_there(service):
    for path in ("/livez", "/readyz", "/metrics", "/docs.json", "/schema.json"):
        assert httpx.get(service.url + path).status_code == 200, path


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # BentoML's own
def test_bentomls_own_client_works(service, predictor, tmp_path):
    import bentoml
    from bentoml.exceptions import BentoMLException

    photos = [tmp_path / "a.png", tmp_path / "b.jpg"]
    photos[0].write_bytes(encode(pattern(seed=1)))
    photos[1].write_bytes(PHOTO)
    with bentoml.SyncHTTPClient(service.url) as client:
        answer = client.classify(image=photos, top_k=2)
        for result, path in zip(answer["results"], photos, strict=True):
            assert result["predictions"] == expected(predictor.predict_one(path, top_k=2))
        photos[0].write_bytes(b"text")
        with pytest.raises(BentoMLException) as caught:
            client.classify(image=photos[0])
    assert caught.value.error_code == 415
    assert json.loads(str(caught.value))["code"] == "not_a_photo"


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/%ff%00", "/" + "a" * 5000])
def test_an_unknown_address_is_a_problem_too(service, path):
    response = httpx.get(service.url + path, follow_redirects=False)
    assert response.status_code == 404
    assert problem(response)["code"] == "not_found"


@pytest.mark.parametrize("path", ["/v1/classify", "/classify"])
def test_the_wrong_method_is_a_problem_too(service, path):
    response = httpx.get(service.url + path)
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert problem(response)["code"] == "method_not_allowed"
    assert httpx.delete(service.url + "/v1/model").status_code == 405
