"""How the service starts, where it listens, what it tells others, and how it ends."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import psutil
import pytest
import yaml
from click.testing import CliRunner

from alexnet.checkpoint import save_checkpoint
from alexnet.config import mini
from alexnet.errors import AlexNetError
from alexnet.fresh import fresh_checkpoint
from serve.app import Application
from serve.ending import Ending
from serve.model import ServedModel
from serve.problems import Problem
from serve.run import main
from serve.settings import SETTINGS, read_settings
from serve.trial import TrialError, try_model
from tests.photos import ROOT
from tests.serve.backends import Backend, grey
from tests.serve.running import Service


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


@pytest.mark.parametrize(("given", "kept"), [("cache", "{}/cache"), ("off", "off"), ("", "")])
def test_alexnet_serve_keeps_its_files_where_it_was_called(tmp_path, monkeypatch, given, kept):
    monkeypatch.chdir(tmp_path)  # from where it goes to the folder of the code
    monkeypatch.setenv("ALEXNET_CACHE", given)
    monkeypatch.setenv("BENTOML_HOME", "home")
    started = []
    monkeypatch.setattr("os.execv", lambda *_: started.append(dict(os.environ)))
    done = CliRunner().invoke(main, [])
    assert done.exit_code == 0, done.output
    (environment,) = started
    assert environment["ALEXNET_CACHE"] == kept.format(tmp_path)
    assert environment["BENTOML_HOME"] == str(tmp_path / "home")


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
def test_a_wrong_setting_is_one_sentence(tmp_path, model_path, environment, sentence):
    with pytest.raises(AlexNetError) as refused:
        ServedModel(read_settings(filled(tmp_path, model_path, environment)))
    assert sentence in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def filled(tmp_path, model_path, environment):
    """The environment, with a file that breaks off in the place of `{cut}`."""
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(model_path.read_bytes()[:5000])
    return {name: value.format(cut=cut) for name, value in environment.items()}


def test_a_wrong_setting_ends_the_start_with_the_sentence(tmp_path, model_path):
    environment = filled(tmp_path, model_path, {"ALEXNET_MODEL": "{cut}"})
    service = Service(tmp_path / "run", **environment)
    assert service.process.wait(180) == 1
    assert "is not a whole .safetensors file" in service.log
    assert "Traceback" not in service.log
    assert len(service.log.strip().splitlines()) == 1


def test_a_bento_asks_for_the_packages_of_the_project():
    bentofile = yaml.safe_load((ROOT / "bentofile.yaml").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
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
        for seconds in (11, 22):  # since the batch began, of which 10 and 20 are too many
            later = seconds
            found.append((await life.check_ready(), life.alive))
        backend.gate.set()
        await asked
        return [*found, (await life.check_ready(), life.alive)]

    assert lived(application, during) == [(True, True), (False, True), (False, False), (True, True)]


def test_a_trial_that_was_killed_is_reported():
    killed = (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(TrialError, match="ended by signal 9: it may take more memory"):
        try_model(seconds=60, command=killed)


def test_a_trial_finds_files_where_the_service_does_and_code_that_is_ours(tmp_path, monkeypatch):
    (tmp_path / "serve.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    asked = "import os, serve.trial; raise SystemExit(os.getcwd())"
    with pytest.raises(TrialError) as caught:
        try_model(seconds=60, command=(sys.executable, "-c", asked))
    assert str(caught.value) == str(tmp_path)


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


def test_the_process_is_ended_with_a_reason_once_a_batch_takes_for_ever(monkeypatch):
    backend, reasons = Backend(), []
    monkeypatch.setattr("serve.model.open_backend", lambda *_, **__: backend)
    monkeypatch.setattr("serve.life._DEAD", 0.0)
    monkeypatch.setenv("ALEXNET_TIMEOUT", "0.1")
    application = Application(end=reasons.append)

    async def during():
        backend.gate.clear()
        deadline = time.monotonic() + 60
        asked = asyncio.create_task(
            application.life.batcher.answer([grey(1)], top_k=1, deadline=deadline)
        )
        async with asyncio.timeout(30):
            while not reasons:
                await asyncio.sleep(0.01)
        alive = application.life.alive
        backend.gate.set()
        await asked
        return alive

    assert lived(application, during) is False
    assert reasons == ["A batch has kept the backend busy for 0.2 s"]


def test_the_process_is_ended_with_a_reason_if_the_model_never_opens(monkeypatch):
    opening, reasons = threading.Event(), []

    def opened(*_, **__):
        assert opening.wait(60)
        return Backend()

    def end(reason):
        reasons.append(reason)
        opening.set()

    monkeypatch.setattr("serve.model.open_backend", opened)
    monkeypatch.setenv("ALEXNET_START_TIMEOUT", "0.3")
    application = Application(end=end)

    async def during():
        return application.life.ready

    assert lived(application, during) is True  # here `end` let it go on
    assert reasons == ["The model has not opened within 0.3 s"]


def test_the_end_is_over_after_its_deadline_and_says_what_hangs(monkeypatch):
    backend, reasons = Backend(), []
    monkeypatch.setattr("serve.model.open_backend", lambda *_, **__: backend)
    monkeypatch.setattr("serve.life._JOINING", 0.1)
    monkeypatch.setenv("ALEXNET_TIMEOUT", "0.2")

    def end(reason):
        reasons.append(reason)
        backend.gate.set()

    application = Application(end=end)

    async def during():
        backend.gate.clear()
        while backend.entered.acquire(blocking=False):
            pass
        deadline = time.monotonic() + 60
        answer = application.life.batcher.answer([grey(1)], top_k=1, deadline=deadline)
        during.asked = asyncio.create_task(answer)
        await asyncio.to_thread(backend.entered.acquire, timeout=30)

    lived(application, during)
    assert reasons == ["What does not come back when the service ends: alexnet-run-0"]
    assert not backend.closed  # a thread uses it still
