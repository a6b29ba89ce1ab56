"""A service of one's own: where it listens, what it tells others, and what is in a bento."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import psutil
import pytest

from tests.photos import ROOT, encode, pattern
from tests.serve.gated import until
from tests.serve.running import Listener, Service, make_model, problem


def listening(service):
    """The addresses on which the service listens."""
    processes = [psutil.Process(service.process.pid), *service.children()]
    found = [one for process in processes for one in process.net_connections("tcp")]
    return {one.laddr.ip for one in found if one.status == psutil.CONN_LISTEN}


def accepted(service, photo):
    """A connection whose request the service reads; all but the last byte of it is sent."""
    sock = socket.create_connection(("127.0.0.1", service.port), timeout=60)
    head = f"Host: here\r\nContent-Length: {len(photo)}\r\nExpect: 100-continue\r\n\r\n"
    sock.sendall(b"POST /v1/classify HTTP/1.1\r\n" + head.encode())
    assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
    sock.sendall(photo[:-1])
    return sock


def end_under_load(service):
    """SIGTERM while requests are read, queued and run, and new ones come; its exit code."""
    photo = encode(pattern(), "JPEG")
    slow = [accepted(service, photo) for _ in range(20)]
    statuses, running = [], True

    def ask():
        while running:
            try:
                statuses.append(service.classify(photo).status_code)
            except httpx.HTTPError:
                return  # it listens no more

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    while 200 not in statuses:
        time.sleep(0.01)
    service.process.send_signal(signal.SIGTERM)
    while httpx.get(service.url + "/readyz", timeout=60).status_code != 503:
        time.sleep(0.01)
    refused = service.classify(photo)
    assert (refused.status_code, problem(refused)["code"]) == (503, "shutting_down")
    assert int(refused.headers["Retry-After"]) >= 1
    for sock in slow:
        sock.sendall(photo[-1:])
    for sock in slow:
        assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
    code = service.process.wait(60)
    running = False
    for thread in threads:
        thread.join()
    assert set(statuses) == {200, 503}
    return code


def test_the_service_is_local_reports_to_nobody_and_answers_what_it_accepted(tmp_path, model_path):
    listener = Listener()
    proxy = f"http://127.0.0.1:{listener.port}"
    watched = {"ALEXNET_MODEL": model_path, "HTTPS_PROXY": proxy, "HTTP_PROXY": proxy}
    watched["ALEXNET_UPLOAD_TIMEOUT"] = "50"  # what a busy machine may let an upload wait
    service = Service(tmp_path / "one", **watched)
    try:
        service.wait_until_ready()
        assert listening(service) == {"127.0.0.1"}
        (worker,) = service.children()
        assert worker.environ()["BENTOML_DO_NOT_TRACK"] == "True"
        assert end_under_load(service) == 0
    finally:
        service.stop()
    assert "Traceback" not in service.log
    assert not worker.is_running()
    with pytest.raises(httpx.ConnectError):
        httpx.get(service.url)
    assert listener.calls == []

    # The listener would have seen it: who asks for the reports gets them.
    asked = {**os.environ, "BENTOML_HOME": str(tmp_path / "home"), "HTTPS_PROXY": proxy}
    command = [sys.executable, "-m", "bentoml", "list"]
    subprocess.run(command, env=asked | {"BENTOML_DO_NOT_TRACK": "False"}, check=True, cwd=tmp_path)
    until(lambda: listener.calls)  # BentoML may not wait for an answer
    listener.close()
    assert listener.calls == [b"CONNECT t.bentoml.com:443 HTTP/1.1"]


def test_alexnet_serve_starts_it_from_anywhere_with_settings_as_options(tmp_path, model_path):
    model = shutil.copy(model_path, tmp_path / "mine.safetensors")
    options = ("--host", "0.0.0.0", "--model", model.name, "--batch", "3", "--max-body", "1MB")
    service = Service(
        tmp_path / "run",
        *options,
        command=("serve.run",),
        cwd=tmp_path,
        PYTHONPATH=ROOT,
        ALEXNET_BATCH="7",
        ALEXNET_QUEUE="9",
    )
    try:
        service.wait_until_ready()  # BentoML may miss a SIGTERM in the moment it starts its worker
        assert "0.0.0.0" in listening(service)
        shown = httpx.get(service.url + "/v1/model").json()
    finally:
        assert service.stop() == 0
    assert (shown["name"], shown["batching"]["photos"]) == ("mine", 3)
    assert (shown["limits"]["body_bytes"], shown["limits"]["queue_photos"]) == (1_000_000, 9)


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
    assert (bento / "src" / "serve" / "page" / "index.html").is_file()
    recipe = (bento / "env" / "docker" / "Dockerfile").read_text("utf-8").splitlines()
    assert [line for line in recipe if line.startswith("USER ")] == ["USER bentoml"]
    assert "ARG BENTO_USER_UID=1034" in recipe  # as in deploy/compose.yaml
    assert any("uv venv --python 3.11 " in line for line in recipe)
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
