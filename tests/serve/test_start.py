"""How the service starts, where it listens, what it tells others, and how it ends."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from click.testing import CliRunner

from alexnet.checkpoint import save_checkpoint
from alexnet.config import mini
from alexnet.fresh import fresh_checkpoint
from serve.app import Application
from serve.ending import Ending
from serve.problems import Problem
from serve.run import main
from serve.settings import SETTINGS
from serve.trial import TrialError, try_model
from tests.photos import ROOT, encode, pattern
from tests.serve.backends import Backend, grey
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


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--queue", "none"), 2, "'none'; it must be a number of at least 1"),
        (("--mode", "fast"), 2, "it must be one of latency, throughput"),
        (("--bach", "3"), 2, "No such option"),
        ((), 1, "There is no setting ALEXNET_BACH: unset it, or take ALEXNET_BATCH"),
    ],
)
def test_alexnet_serve_refuses_what_it_cant_take(monkeypatch, arguments, code, sentence):
    monkeypatch.setenv("ALEXNET_BACH", "3")
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == code
    assert sentence in done.output


def test_alexnet_serve_has_every_setting_as_an_option():
    shown = CliRunner().invoke(main, ["--help"]).output
    assert not [name for name in SETTINGS if f"--{name.replace('_', '-')} " not in shown]


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
    assert service.process.wait(180) == 1
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


def test_a_bento_asks_for_the_packages_of_the_project():
    bentofile = yaml.safe_load((ROOT / "bentofile.yaml").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    expected = []
    extra = project["optional-dependencies"]["openvino"]
    for requirement in (*project["dependencies"], *extra):
        name = requirement.split(">")[0]
        expected.append(f"{name}=={pins[name]}" if name in pins else requirement)
    assert bentofile["python"]["packages"] == expected


def lived(application, during):
    """What `during` returns while the application lives."""

    async def live():
        async with application.asgi.router.lifespan_context(application.asgi):
            return await during()

    return asyncio.run(live())


def test_it_is_ready_from_the_models_first_answer_until_it_closes():
    application = Application()
    assert not application.life.ready

    async def during():
        return await application.life.check_ready() and application.life.alive

    assert lived(application, during)
    assert not application.life.ready


def test_a_model_that_gives_no_probabilities_is_never_ready(tmp_path, monkeypatch, caplog):
    broken = fresh_checkpoint(mini())
    broken.weights["fc8.bias"].fill_(float("nan"))
    save_checkpoint(broken, tmp_path / "nan.safetensors")
    monkeypatch.setenv("ALEXNET_MODEL", str(tmp_path / "nan.safetensors"))
    application = Application()
    assert lived(application, application.life.check_ready) is False
    assert "gives no probabilities" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_model_that_comes_back_is_opened_then(tmp_path, monkeypatch, model_path):
    monkeypatch.setattr("serve.life._PAUSE", 0.01)
    monkeypatch.setenv("ALEXNET_MODEL", str(tmp_path / "model.safetensors"))
    application = Application()

    async def during():
        before = application.life.ready
        shutil.copy(model_path, tmp_path / "model.safetensors")
        async with asyncio.timeout(60):
            while not application.life.ready:
                await asyncio.sleep(0.01)
        return before

    assert lived(application, during) is False


def test_a_model_that_fails_in_a_way_of_its_own_is_tried_again(monkeypatch, caplog):
    monkeypatch.setattr("serve.life._PAUSE", 0.01)
    failures = [RuntimeError("can't allocate memory"), OSError("Stale file handle")]

    def opened(*_, **__):
        if failures:
            raise failures.pop()
        return Backend()

    monkeypatch.setattr("serve.model.open_backend", opened)
    application = Application()

    async def during():
        before = application.life.ready
        async with asyncio.timeout(20):
            while not application.life.ready:
                await asyncio.sleep(0.01)
        return before

    assert lived(application, during) is False
    assert "can't allocate memory" in caplog.text


def test_a_model_is_opened_beside_the_event_loop_once_the_service_runs(monkeypatch, tmp_path):
    monkeypatch.setattr("serve.life._PAUSE", 0.01)
    monkeypatch.setenv("ALEXNET_MODEL", str(tmp_path / "model.safetensors"))
    application = Application()
    threads = []

    def opened(*_, **__):
        threads.append(threading.current_thread())
        return Backend()

    async def during():
        monkeypatch.setattr("serve.model.open_backend", opened)
        while not application.life.ready:
            await asyncio.sleep(0.01)

    lived(application, during)
    assert threads[0] != threading.main_thread()


def test_a_service_whose_backend_is_stuck_is_not_ready_and_later_not_alive(monkeypatch):
    backend, clock, later = Backend(), time.monotonic, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: clock() + later)
    monkeypatch.setattr("serve.model.open_backend", lambda *_, **__: backend)
    monkeypatch.setenv("ALEXNET_TIMEOUT", "10")
    application = Application()

    async def during():
        life = application.life
        while backend.entered.acquire(blocking=False):
            pass
        backend.gate.clear()
        deadline = time.monotonic() + 600
        asked = asyncio.create_task(life.batcher.answer([grey(1)], top_k=1, deadline=deadline))
        await asyncio.to_thread(backend.entered.acquire, timeout=30)
        found = [(await life.check_ready(), life.alive)]
        nonlocal later
        for later in (11, 22):  # seconds since the batch began, of which 10 and 20 are too many
            found.append((await life.check_ready(), life.alive))
        backend.gate.set()
        await asked
        return [*found, (await life.check_ready(), life.alive)]

    assert lived(application, during) == [(True, True), (False, True), (False, False), (True, True)]


def test_a_trial_that_was_killed_is_reported():
    killed = (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(TrialError, match="ended by signal 9: it may take more memory"):
        try_model(seconds=60, command=killed)


def test_a_trial_that_takes_too_long_is_ended(tmp_path):
    asleep = (
        "import os, sys, time; print(os.getpid(), file=open(sys.argv[1], 'w')); time.sleep(600)"
    )
    command = (sys.executable, "-c", asleep, str(tmp_path / "pid"))
    with pytest.raises(TrialError, match="within 2 seconds: ALEXNET_START_TIMEOUT gives it more"):
        try_model(seconds=2, command=command)
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_the_service_takes_no_orders_of_other_users(service):
    parent = psutil.Process(service.process.pid)
    processes = [parent, *service.children()]
    found = [one for process in processes for one in process.net_connections("all")]
    ports = {one.laddr.port for one in found if one.status == psutil.CONN_LISTEN}
    assert ports == {service.port}
    (orders,) = {Path(one.laddr) for one in found if str(one.laddr).endswith("/orders")}
    folder = service.temporary.with_name("gone") / orders.parent.name  # where the fixture puts it
    assert folder.stat().st_mode & 0o077 == 0


def test_a_backend_that_failed_is_ready_again_once_a_probe_finds_it_working(monkeypatch):
    backend = Backend()
    monkeypatch.setattr("serve.model.open_backend", lambda *_, **__: backend)
    application = Application()

    async def during():
        backend.failing = True
        for _ in range(3):
            deadline = time.monotonic() + 30
            with pytest.raises(Problem):
                await application.life.batcher.answer([grey(1)], top_k=1, deadline=deadline)
        broken = await application.life.check_ready()
        backend.failing = False
        return broken, application.life.ready, await application.life.check_ready()

    assert lived(application, during) == (False, False, True)


def test_sigterm_waits_for_what_was_accepted_and_the_second_one_does_not():
    heard, idle = [], []

    async def live():
        ending = Ending()
        with ending.on_signal(lambda: bool(idle)):
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(0.1)
            assert ending.begun
            assert heard == []
            idle.append(True)
            await asyncio.sleep(0.1)
            assert heard == [signal.SIGTERM]
            signal.raise_signal(signal.SIGTERM)
            assert heard == [signal.SIGTERM] * 2

    def hear(number, _):
        heard.append(number)

    before = signal.signal(signal.SIGTERM, hear)
    try:
        asyncio.run(live())
        assert signal.getsignal(signal.SIGTERM) is hear
    finally:
        signal.signal(signal.SIGTERM, before)
