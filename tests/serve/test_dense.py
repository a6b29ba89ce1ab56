"""Dense answers of the service and of alexnet-label: photos of any shape, together."""

import asyncio
from contextlib import asynccontextmanager, closing

import httpx
import numpy as np
import pytest
from click.testing import CliRunner

from alexnet.backends import open_backend
from alexnet.predictor import Predictor
from serve.app import Application
from serve.label import main
from tests.photos import encode, pattern
from tests.serve.label_runs import read_csv
from tests.serve.running import problem

# One is as large as another, one is no photo, and one is far longer than four squares.
SIDES = [(150, 100), (100, 150), (64, 64), (150, 100), (2000, 30), (30, 2000), (97, 64), (64, 97)]
PHOTOS = [encode(pattern(*sides, seed=n), "PNG") for n, sides in enumerate(SIDES)]


@pytest.fixture(scope="module")
def expected(model_path):
    """Probabilities of every photo by itself (8, 50)."""
    with closing(open_backend(model_path, views="dense", threads=1)) as backend:
        predictor = Predictor(backend)
        return np.stack([predictor.predict_one(photo).probabilities for photo in PHOTOS])


def by_class(predictions):
    """Probabilities in the order of the classes."""
    ranked = {best["index"]: best["probability"] for best in predictions}
    return np.array([ranked[index] for index in range(50)])


@asynccontextmanager
async def client_of(model_path, monkeypatch):
    """A client of a service with the setting `dense`, in this process."""
    monkeypatch.setenv("ALEXNET_VIEWS", "dense")
    monkeypatch.setenv("ALEXNET_MODEL", str(model_path))
    monkeypatch.setenv("ALEXNET_WAIT", "20")
    application = Application()
    transport = httpx.ASGITransport(application.asgi)
    client = httpx.AsyncClient(transport=transport, base_url="http://service", timeout=60)
    async with application.asgi.router.lifespan_context(application.asgi), client:
        yield client


def test_photos_of_all_shapes_are_answered_in_one_request_and_in_many(
    expected, model_path, monkeypatch
):
    async def ask():
        async with client_of(model_path, monkeypatch) as client:
            address = "/v1/classify?top_k=50"
            files = [("image", photo) for photo in [*PHOTOS[:3], b"no photo", *PHOTOS[3:]]]
            one = await client.post(address, files=files)
            many = [client.post(address, files={"image": photo}) for photo in PHOTOS]
            return one.json(), [answer.json() for answer in await asyncio.gather(*many)]

    one, many = asyncio.run(ask())
    assert one["views"] == "dense"
    assert one["results"].pop(3)["error"]["code"] == "not_a_photo"
    sides = [(result["width"], result["height"]) for result in one["results"]]
    assert sides == SIDES
    results = [*one["results"], *(answer["results"][0] for answer in many)]
    for number, result in enumerate(results):
        wanted = expected[number % len(PHOTOS)]
        assert by_class(result["predictions"]) == pytest.approx(wanted, abs=1e-5)


def test_the_service_says_so_and_has_no_views_to_tell_apart(model_path, monkeypatch):
    async def ask():
        async with client_of(model_path, monkeypatch) as client:
            model = await client.get("/v1/model")
            return model, await client.post("/v1/classify?views=each", files={"image": PHOTOS[0]})

    model, refused = asyncio.run(ask())
    assert (model.json()["views"], model.json()["each_view"]) == ("dense", False)
    assert (refused.status_code, problem(refused)["code"]) == (422, "views_unavailable")
    assert "whole photo" in problem(refused)["detail"]


def test_a_labelling_keeps_the_order_of_photos_of_all_shapes(expected, model_path, tmp_path):
    (tmp_path / "photos").mkdir()
    for number, photo in enumerate(PHOTOS):
        (tmp_path / "photos" / f"{number}.png").write_bytes(photo)
    (tmp_path / "photos" / "3a.png").write_bytes(PHOTOS[3][:200])
    out = tmp_path / "labels.csv"
    arguments = ["--views", "dense", "--batch", "5", "--threads", "1", "-o", out]
    done = CliRunner().invoke(
        main, [str(tmp_path / "photos"), "--model", str(model_path), *map(str, arguments)]
    )
    rows = read_csv(out)
    assert done.exit_code == 1, done.output  # a photo failed
    assert [row["path"].rsplit("/", 1)[-1] for row in rows] == [
        *(f"{number}.png" for number in range(4)), "3a.png",
        *(f"{number}.png" for number in range(4, 8)),
    ]  # fmt: skip
    assert rows.pop(4)["status"] != "ok"
    assert {row["views"] for row in rows} == {"dense"}
    assert [int(row["index"]) for row in rows] == expected.argmax(1).tolist()
    found = [float(row["score"]) for row in rows]
    assert found == pytest.approx(expected.max(1).tolist(), abs=1e-5)
