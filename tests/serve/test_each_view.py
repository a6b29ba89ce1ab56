"""`views=each`: what each view says by itself, with its box in the square."""

import asyncio
from functools import partial

import httpx
import numpy as np
import pytest
import torch

from alexnet.checkpoint import load_checkpoint
from alexnet.config import mini
from export.graph import write_onnx
from serve.app import Application
from tests.photos import encode, fitted, pattern
from tests.serve.running import problem
from train.untrained import untrained

PHOTO = pattern(150, 100)
EACH = {"views": "each", "top_k": "50"}


def by_class(predictions):
    """Probabilities in the order of the classes."""
    ranked = {best["index"]: best["probability"] for best in predictions}
    return np.array([ranked[index] for index in range(50)])


@pytest.fixture(scope="module")
def result(service):
    (result,) = service.classify(encode(PHOTO), params=EACH).json()["results"]
    return result


def test_the_boxes_are_four_corners_and_the_centre_then_the_same_mirrored(result):
    # The square has 64 pixels, a view 56: 8 lie between the first and the last place.
    corners = [[0, 0, 56], [0, 8, 56], [4, 4, 56], [8, 0, 56], [8, 8, 56]]
    assert [view["box"] for view in result["views"]] == corners * 2
    assert [view["mirrored"] for view in result["views"]] == [False] * 5 + [True] * 5


def test_a_view_s_answer_is_the_network_s_for_its_box(result, model_path):
    checkpoint = load_checkpoint(model_path)
    square = fitted(PHOTO).astype(np.float32) - checkpoint.mean
    network = checkpoint.network().eval()
    for view in result["views"]:
        y, x, side = view["box"]
        crop = square[y : y + side, x : x + side]
        crop = crop[:, ::-1] if view["mirrored"] else crop
        with torch.inference_mode():
            logits = network(torch.tensor(crop.transpose(2, 0, 1).copy())[None])[0]
        expected = torch.softmax(logits, 0).numpy()
        assert by_class(view["predictions"]) == pytest.approx(expected, abs=1e-5)


def test_their_average_is_the_answer_with_and_without_asking(result, service):
    average = np.mean([by_class(view["predictions"]) for view in result["views"]], axis=0)
    assert by_class(result["predictions"]) == pytest.approx(average, abs=1e-6)
    (plain,) = service.classify(encode(PHOTO), params={"top_k": 50}).json()["results"]
    assert by_class(plain["predictions"]) == pytest.approx(average, abs=1e-6)


def test_a_view_has_as_many_classes_as_the_photo(service):
    (result,) = service.classify(encode(PHOTO), params=EACH | {"top_k": 2}).json()["results"]
    assert {len(view["predictions"]) for view in result["views"]} == {2}


def test_only_who_asks_gets_views_also_in_one_batch_with_others(service):
    async def ask():
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
            send = partial(client.post, "/v1/classify", files={"image": encode(PHOTO)})
            asked = [send(params=EACH if number % 2 else {}) for number in range(12)]
            return await asyncio.gather(*asked)

    found = [response.json()["results"][0] for response in asyncio.run(ask())]
    assert ["views" in result for result in found] == [False, True] * 6


def test_a_bad_photo_has_an_error_and_no_views(service):
    good, bad = service.classify(encode(PHOTO), b"text", params=EACH).json()["results"]
    assert len(good["views"]) == 10
    assert bad["error"]["code"] == "not_a_photo"
    assert "views" not in bad


def answers(*requests):
    """What an application of the environment's settings answers to each (method, address, photo).

    In this process, and without what BentoML and our doors put around it.
    """
    application = Application()

    async def ask():
        transport = httpx.ASGITransport(application.asgi)
        client = httpx.AsyncClient(transport=transport, base_url="http://service")
        async with application.asgi.router.lifespan_context(application.asgi), client:
            return [
                await client.request(method, address, files=photo and {"image": photo})
                for method, address, photo in requests
            ]

    return asyncio.run(ask())


def test_one_view_is_its_own_average(monkeypatch):
    monkeypatch.setenv("ALEXNET_VIEWS", "centre")
    (answer,) = answers(("POST", "/v1/classify?views=each", encode(pattern())))
    (result,) = answer.json()["results"]
    (view,) = result["views"]
    assert (view["box"], view["mirrored"]) == ([4, 4, 56], False)
    assert view["predictions"] == result["predictions"]


def test_views_is_each_or_nothing(service):
    refused = service.classify(encode(PHOTO), params={"views": "ten"})
    assert (refused.status_code, problem(refused)["code"]) == (400, "bad_views")


def test_an_exported_graph_can_t_tell_its_views_apart_and_says_so(tmp_path, monkeypatch):
    write_onnx(untrained(mini(), seed=0), tmp_path / "model.onnx")
    monkeypatch.setenv("ALEXNET_MODEL", str(tmp_path / "model.onnx"))
    model, refused = answers(
        ("GET", "/v1/model", None), ("POST", "/v1/classify?views=each", encode(PHOTO))
    )
    assert model.json()["each_view"] is False
    assert (refused.status_code, problem(refused)["code"]) == (422, "views_unavailable")


def test_the_model_says_that_it_can(service):
    assert httpx.get(service.url + "/v1/model").json()["each_view"] is True
