"""A worker whose backend is stuck ends, and another one takes its place."""

import httpx

from tests.photos import encode, pattern, plain
from tests.serve.endless import endless
from tests.serve.gated import until
from tests.serve.running import Service

WHITE = encode(plain((255, 255, 255)))


def test_a_worker_that_is_stuck_is_replaced_by_one_that_answers(tmp_path, model_path):
    service = Service(
        tmp_path / "service",
        ALEXNET_MODEL=endless(model_path, tmp_path / "endless.onnx"),
        ALEXNET_BACKEND="onnxruntime",
        ALEXNET_TIMEOUT="1",
    )
    try:
        service.wait_until_ready()
        (worker,) = service.children()
        assert service.classify(WHITE).status_code == 503
        worker.wait(120)
        assert "this worker ends" in service.log
        service.wait_until_ready()
        assert httpx.get(service.url + "/livez", timeout=60).status_code == 200
        # A busy machine may need more than this service's one second for an answer.
        until(lambda: service.classify(encode(pattern())).status_code == 200, 60)
        (another,) = service.children()
        assert another != worker
    finally:
        service.stop()


def test_in_a_container_the_end_of_the_worker_is_the_end_of_it_all(tmp_path, model_path):
    # BentoML's images have this variable; `restart:` in deploy/compose.yaml does the rest.
    environment = {"ALEXNET_MODEL": model_path, "BENTOML_CONTAINERIZED": "true"}
    service = Service(tmp_path / "service", **environment)
    try:
        service.wait_until_ready()
        (worker,) = service.children()
        worker.kill()
        assert service.process.wait(120) != 0
    finally:
        service.stop()
