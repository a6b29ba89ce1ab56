"""A worker whose backend is stuck ends, and another one takes its place."""

import asyncio
import logging
import subprocess
import sys

import httpx
import onnx
from onnx import TensorProto, helper

from serve.app import Application
from tests.photos import encode, pattern, plain
from tests.serve.backends import Backend, grey
from tests.serve.gated import until
from tests.serve.running import Service

WHITE = encode(plain((255, 255, 255)))


def endless_on_white(model, path):
    """A graph that answers as the model's does, except that a white photo keeps it for years."""
    command = [sys.executable, "-m", "export", "onnx", str(model), "-o", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    exported = onnx.load(path)
    graph = exported.graph
    (last,) = (node for node in graph.node if "probabilities" in node.output)
    last.output[:] = ["answered"]
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
            helper.make_node("Identity", ["nothing"], ["still_nothing"]),
        ],
        "again",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("nothing", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("still_nothing", TensorProto.FLOAT, []),
        ],
    )
    graph.initializer.extend(
        [
            helper.make_tensor("brightest", TensorProto.FLOAT, [], [255.0]),
            helper.make_tensor("years", TensorProto.INT64, [], [10**17]),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        ]
    )
    graph.node.extend(
        [
            helper.make_node("Cast", ["photos"], ["values"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMin", ["values"], ["darkest"], keepdims=0),
            helper.make_node("Equal", ["darkest", "brightest"], ["white"]),
            helper.make_node("Cast", ["white"], ["once"], to=TensorProto.INT64),
            helper.make_node("Mul", ["once", "years"], ["turns"]),
            helper.make_node("Loop", ["turns", "", "zero"], ["waited"], body=body),
            helper.make_node("Add", ["answered", "waited"], ["probabilities"]),
        ]
    )
    onnx.save(exported, path)
    return path


def test_a_worker_that_is_stuck_is_replaced_by_one_that_answers(tmp_path, model_path):
    service = Service(
        tmp_path / "service",
        ALEXNET_MODEL=endless_on_white(model_path, tmp_path / "endless.onnx"),
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


def stuck(monkeypatch, application, during):
    """The application's life with a backend that does not come back until `during` has ended."""
    backend = Backend()
    monkeypatch.setattr("serve.model.open_backend", lambda *_, **__: backend)
    monkeypatch.setattr("serve.life._DEAD", 0.0)
    monkeypatch.setattr("serve.life._LOOK", 0.01)
    monkeypatch.setenv("ALEXNET_TIMEOUT", "0.1")

    async def live():
        async with application.asgi.router.lifespan_context(application.asgi):
            backend.gate.clear()
            deadline = asyncio.get_running_loop().time() + 60
            asked = asyncio.create_task(
                application.life.batcher.answer([grey(1)], top_k=1, deadline=deadline)
            )
            try:
                await during(application.life)
            finally:
                backend.gate.set()
            await asked

    asyncio.run(live())


def test_the_process_is_ended_with_a_line_in_the_log(monkeypatch, caplog):
    ended = []

    async def until_it_ends(life):
        async with asyncio.timeout(30):
            while not ended:
                await asyncio.sleep(0.01)
        assert not life.alive

    with caplog.at_level(logging.CRITICAL, logger="alexnet.serve"):
        stuck(monkeypatch, Application(end=lambda: ended.append(True)), until_it_ends)
    assert ended == [True]
    assert "this worker ends" in caplog.text
