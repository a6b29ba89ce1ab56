"""How the service starts, where it listens, what it tells others, and how it ends."""

import asyncio
import os
import shutil
import subprocess
import sys
import tomllib

import httpx
import psutil
import pytest
import yaml

from alexnet.checkpoint import save_checkpoint
from alexnet.config import mini
from alexnet.errors import AlexNetError
from alexnet.fresh import fresh_checkpoint
from serve.app import Application
from tests.photos import ROOT, encode, pattern
from tests.serve.running import Listener, Service, make_model


def listening(service):
    """The addresses on which the service listens."""
    processes = [psutil.Process(service.process.pid), *service.children()]
    sockets = [socket for process in processes for socket in process.net_connections("tcp")]
    return {socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}


def test_the_service_is_local_reports_to_nobody_and_ends_cleanly(tmp_path, model_path):
    listener = Listener()
    proxy = f"http://127.0.0.1:{listener.port}"
    watched = {"ALEXNET_MODEL": model_path, "HTTPS_PROXY": proxy, "HTTP_PROXY": proxy}
    service = Service(tmp_path / "one", **watched)
    try:
        service.wait_until_ready()
        assert listening(service) == {"127.0.0.1"}
        (worker,) = service.children()
        assert worker.environ()["BENTOML_DO_NOT_TRACK"] == "True"
    finally:
        code = service.stop()
    assert code == 0
    assert not worker.is_running()
    with pytest.raises(httpx.ConnectError):
        httpx.get(service.url)
    assert listener.calls == []

    # The listener would have seen it: who asks for the reports gets them.
    asked = {**os.environ, "BENTOML_HOME": str(tmp_path / "home"), "HTTPS_PROXY": proxy}
    command = [sys.executable, "-m", "bentoml", "list"]
    subprocess.run(command, env=asked | {"BENTOML_DO_NOT_TRACK": "False"}, check=True, cwd=tmp_path)
    listener.close()
    assert listener.calls == [b"CONNECT t.bentoml.com:443 HTTP/1.1"]


def test_the_host_is_another_when_told_so(tmp_path, model_path):
    service = Service(tmp_path, "--host", "0.0.0.0", ALEXNET_MODEL=model_path)
    try:
        service.wait_until_ready()  # BentoML may miss a SIGTERM in the moment it starts its worker
        assert "0.0.0.0" in listening(service)
    finally:
        service.stop()


def test_without_a_port_it_is_3000():
    code = (
        "from serve.service import AlexNet; AlexNet.inject_config();"
        "from bentoml._internal.configuration.containers import BentoMLContainer as box;"
        "print(box.http.host.get(), box.http.port.get())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["127.0.0.1", "3000"]


def test_importing_the_service_opens_no_model():
    code = "import serve.service, sys; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"ALEXNET_MODEL": "/nowhere/model.safetensors"}, "There is no checkpoint /nowhere"),
        ({"ALEXNET_MODEL": "{cut}"}, "is not a whole .safetensors file"),
        ({"ALEXNET_DEVICE": "tpu"}, "There is no device 'tpu'"),
        ({"ALEXNET_MODLE": "model.onnx"}, "no setting ALEXNET_MODLE: unset it, or take ALEXNET_MO"),
        ({"ALEXNET_MAX_PHOTOS": "none"}, "ALEXNET_MAX_PHOTOS is 'none', and must be"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_one_sentence(
    tmp_path, model_path, environment, sentence
):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(model_path.read_bytes()[:5000])
    filled = {name: value.format(cut=cut) for name, value in environment.items()}
    service = Service(tmp_path / "run", **filled)
    assert service.process.wait(60) == 1
    assert sentence in service.log
    assert "Traceback" not in service.log
    assert len(service.log.strip().splitlines()) == 1


def test_a_built_bento_has_all_it_needs(tmp_path):
    home = tmp_path / "bentoml"
    # BentoML looks for uv whenever it builds, or installs it; without locking it never runs it.
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text("#!/bin/sh\nexit 1\n")
    uv.chmod(0o755)
    build = subprocess.run(
        [sys.executable, "-m", "bentoml", "build", "--output", "tag"],
        cwd=ROOT,
        env={
            **os.environ,
            "BENTOML_HOME": str(home),
            "BENTOML_DO_NOT_TRACK": "True",
            "PATH": f"{uv.parent}{os.pathsep}{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
    )
    assert build.returncode == 0, build.stderr
    (bento,) = (path for path in (home / "bentos" / "alexnet-service").iterdir() if path.is_dir())
    assert {path.name for path in (bento / "src").iterdir()} == {
        *("alexnet", "serve", "bentofile.yaml", "pyproject.toml", "LICENSE", "README.md")
    }
    # Another model than the repository's as the shipped one: the bento runs its own files.
    planted = make_model(bento / "src" / "alexnet" / "assets" / "mini.safetensors", seed=5)
    folder = tmp_path / "service"
    folder.mkdir()
    shutil.move(home, folder / "bentoml")
    service = Service(folder, "alexnet-service:latest", cwd=tmp_path)
    try:
        service.wait_until_ready()
        model = httpx.get(service.url + "/v1/model").json()
        assert model["provenance"] == {"data": "none: random weights"}
        assert service.classify(encode(pattern())).status_code == 200
    finally:
        service.stop()
    assert planted.name == f"{model['name']}.safetensors"


def test_a_bento_asks_for_the_packages_of_the_project():
    bentofile = yaml.safe_load((ROOT / "bentofile.yaml").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    expected = []
    for requirement in project["dependencies"]:
        name = requirement.split(">")[0]
        expected.append(f"{name}=={pins[name]}" if name in pins else requirement)
    assert bentofile["python"]["packages"] == expected


def test_it_is_ready_from_the_models_first_answer_until_it_closes():
    application = Application()
    assert not application.ready

    async def live():
        async with application.asgi.router.lifespan_context(application.asgi):
            return application.ready

    assert asyncio.run(live())
    assert not application.ready


def test_a_model_that_gives_no_probabilities_never_becomes_ready(tmp_path, monkeypatch):
    broken = fresh_checkpoint(mini())
    broken.weights["fc8.bias"].fill_(float("nan"))
    save_checkpoint(broken, tmp_path / "nan.safetensors")
    monkeypatch.setenv("ALEXNET_MODEL", str(tmp_path / "nan.safetensors"))
    application = Application()

    async def live():
        async with application.asgi.router.lifespan_context(application.asgi):
            pass

    with pytest.raises(AlexNetError, match="gives no probabilities"):
        asyncio.run(live())
    assert not application.ready
