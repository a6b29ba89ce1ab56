"""SIGTERM at every moment of a real service, whatever hangs: it ends, and within its deadline."""

import contextlib
import os
import shutil
import signal
import socket
import threading
import time

import httpx
import psutil
import pytest

from serve.control import longest_end
from serve.settings import Settings
from tests.photos import encode, pattern, plain
from tests.serve.endless import endless
from tests.serve.gated import until
from tests.serve.running import Service, form, image_part

WHITE = encode(plain((255, 255, 255)))
PHOTO = encode(pattern(), "JPEG")
TIMEOUT = 2
# What a busy machine may take beyond the service's own deadline for the signal and the end itself.
ROOM = 20


def many_scans(count):
    """A progressive JPEG of 49 megapixels whose last scan comes so many times: hours of work."""
    data = encode(plain((9, 9, 9), side=7000).convert("L"), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


@pytest.fixture
def start(tmp_path):
    """Starts a service, which is gone after the test."""
    started = []

    def starts(**environment):
        service = Service(tmp_path / f"service{len(started)}", **environment)
        started.append(service)
        return service

    yield starts
    for service in started:
        if service.process.poll() is None:
            processes = [*service.children(), psutil.Process(service.process.pid)]
            for process in processes:
                process.kill()


def ends(service, *signals, pause=0.2):
    """Its exit code and the seconds that it took after the first of these signals."""
    processes = service.children()
    began = time.monotonic()
    for number in signals or (signal.SIGTERM,):
        service.process.send_signal(number)
        time.sleep(pause)
    code = service.process.wait(longest_end(Settings()) + ROOM)
    seconds = time.monotonic() - began
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive
    return code, seconds


def in_background(call):
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def ask_in_vain(service, photo):
    """Ask for an answer that never comes."""
    with contextlib.suppress(httpx.HTTPError):
        service.classify(photo)


def busy(service):
    """Processor time of the worker so far, in seconds."""
    return sum(sum(child.cpu_times()[:2]) for child in service.children())


@pytest.mark.parametrize("signals", [(signal.SIGTERM,), (signal.SIGTERM, signal.SIGTERM)])
def test_several_stuck_threads_share_one_deadline(start, tmp_path, model_path, signals):
    service = start(
        ALEXNET_MODEL=endless(model_path, tmp_path / "endless.onnx"),
        ALEXNET_BACKEND="onnxruntime",
        ALEXNET_TIMEOUT=TIMEOUT,
        ALEXNET_BATCH="1",
    ).wait_until_ready()
    streams = httpx.get(service.url + "/v1/model").json()["batching"]["streams"]
    before = busy(service)
    for _ in range(max(2, streams)):
        in_background(lambda: ask_in_vain(service, WHITE))
    until(lambda: busy(service) > before + 0.5)
    code, seconds = ends(service, *signals)
    assert code == os.EX_SOFTWARE
    assert seconds < longest_end(Settings(timeout=TIMEOUT)) + ROOM
    assert "this worker ends" in service.log
    assert "alexnet-run-0" in service.log
    assert "Traceback" not in service.log


def test_a_stuck_decoder_does_not_keep_it(start, model_path):
    service = start(ALEXNET_MODEL=model_path, ALEXNET_TIMEOUT=TIMEOUT).wait_until_ready()
    photo = many_scans(9000)
    before = busy(service)
    in_background(lambda: ask_in_vain(service, photo))
    until(lambda: busy(service) > before + 1)
    code, seconds = ends(service)
    assert code == os.EX_SOFTWARE
    assert seconds < longest_end(Settings(timeout=TIMEOUT)) + ROOM
    assert "alexnet-decode-" in service.log


def test_a_client_that_reads_slowly_does_not_keep_it(start, model_path):
    service = start(ALEXNET_MODEL=model_path, ALEXNET_TIMEOUT="8").wait_until_ready()
    body, headers = form(*[image_part(PHOTO)] * 32)
    head = f"Host: here\r\nContent-Length: {len(body)}\r\nContent-Type: {headers['Content-Type']}"
    with socket.socket() as sock:
        # As behind a thin line: little is on its way at a time, and most waits in the service.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(60)
        sock.connect(("127.0.0.1", service.port))
        asked = f"POST /v1/classify?views=each&top_k=50 HTTP/1.1\r\n{head}\r\n\r\n"
        sock.sendall(asked.encode() + body)
        assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
        in_background(lambda: trickle(sock))
        code, seconds = ends(service)
    assert code == os.EX_SOFTWARE  # else it ended by itself, and this client kept it from nothing
    assert seconds < longest_end(Settings(timeout=8)) + ROOM
    assert "The service has not ended 11 s after it was told: this worker ends" in service.log


def trickle(sock):
    """Read an answer of over 1 MB so slowly that it takes a minute, but never fall silent."""
    with contextlib.suppress(OSError):
        while sock.recv(1000):
            time.sleep(0.05)


def test_what_was_accepted_is_answered_though_something_hangs(start, tmp_path, model_path):
    service = start(
        ALEXNET_MODEL=endless(model_path, tmp_path / "endless.onnx"),
        ALEXNET_BACKEND="onnxruntime",
        ALEXNET_TIMEOUT="10",
        ALEXNET_BATCH="1",
        OMP_NUM_THREADS="2",
        ALEXNET_THREADS="2",
    ).wait_until_ready()
    assert httpx.get(service.url + "/v1/model").json()["batching"]["streams"] > 1
    before = busy(service)
    in_background(lambda: ask_in_vain(service, WHITE))
    until(lambda: busy(service) > before + 0.5)
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as sock:
        head = f"Host: here\r\nContent-Length: {len(PHOTO)}\r\nExpect: 100-continue\r\n\r\n"
        sock.sendall(b"POST /v1/classify HTTP/1.1\r\n" + head.encode())
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
        service.process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(service.url + "/readyz", timeout=60).status_code == 503)
        sock.sendall(PHOTO)
        assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
    assert service.process.wait(60) == os.EX_SOFTWARE


def test_a_worker_that_hears_nothing_is_killed(start, model_path):
    service = start(ALEXNET_MODEL=model_path, ALEXNET_TIMEOUT=TIMEOUT).wait_until_ready()
    (worker,) = service.children()
    worker.suspend()
    code, seconds = ends(service)
    assert code == os.EX_SOFTWARE
    assert seconds < longest_end(Settings(timeout=TIMEOUT)) + ROOM
    assert "it is killed" in service.log


@pytest.mark.parametrize("signals", [(signal.SIGTERM,), (signal.SIGTERM, signal.SIGTERM)])
def test_an_idle_service_ends_at_once(start, model_path, signals):
    service = start(ALEXNET_MODEL=model_path).wait_until_ready()
    code, seconds = ends(service, *signals, pause=0.05)
    assert code == 0
    assert seconds < ROOM
    assert "Traceback" not in service.log


def test_ctrl_c_at_a_terminal_is_heard_by_both_processes_and_clean(tmp_path, model_path):
    # In a session of its own, whose every process gets the signal.
    service = Service(tmp_path / "service", ALEXNET_MODEL=model_path, by=("setsid",))
    try:
        service.wait_until_ready()
        group = os.getpgid(service.process.pid)
        os.killpg(group, signal.SIGINT)
        assert service.process.wait(60) == 0
    finally:
        service.stop()
    assert "Traceback" not in service.log


def trial_of(service):
    """The process that tries the model, once there is one."""
    until(lambda: service.children(), 60)
    (trial,) = service.children()
    return trial


@pytest.fixture
def endless_trial(tmp_path, model_path):
    """Settings with a model that never answers the photo with which it is tried."""
    path = endless(model_path, tmp_path / "endless.onnx", grey=128)
    return {"ALEXNET_MODEL": path, "ALEXNET_BACKEND": "onnxruntime"}


def test_a_trial_that_takes_too_long_ends_the_start_with_a_sentence(start, endless_trial):
    began = time.monotonic()
    service = start(**endless_trial, ALEXNET_START_TIMEOUT="10")
    trial = trial_of(service)
    assert service.process.wait(120) == 1
    assert 10 < time.monotonic() - began < 60
    assert not trial.is_running()
    (line,) = service.log.strip().splitlines()
    assert line.endswith(
        "The model has not opened and answered within 10 seconds: ALEXNET_START_TIMEOUT gives it "
        "more."
    )


@pytest.mark.parametrize("signals", [(signal.SIGTERM,), (signal.SIGTERM, signal.SIGTERM)])
def test_sigterm_during_the_trial_ends_both_at_once(start, endless_trial, signals):
    service = start(**endless_trial)
    trial = trial_of(service)
    code, seconds = ends(service, *signals, pause=0.01)
    assert code in (128 + signal.SIGTERM, -signal.SIGTERM)
    assert seconds < ROOM
    assert not trial.is_running()
    assert "Traceback" not in service.log


def test_a_trial_whose_parent_was_killed_ends_by_itself(start, endless_trial):
    service = start(**endless_trial, ALEXNET_START_TIMEOUT="8")
    trial = trial_of(service)
    until(lambda: sum(trial.cpu_times()[:2]) > 2, 60)
    service.process.kill()
    service.process.wait()
    try:
        trial.wait(60)
    finally:
        if trial.is_running():
            trial.kill()


def test_sigterm_while_the_worker_opens_its_model_ends_it_at_once(start, tmp_path, model_path):
    # The trial finds a good model; the worker then finds one that never answers in its place.
    path, good = tmp_path / "model.onnx", tmp_path / "good.onnx"
    bad = endless(model_path, tmp_path / "bad.onnx", grey=128)
    endless(model_path, good)
    good.replace(path)
    service = start(ALEXNET_MODEL=path, ALEXNET_BACKEND="onnxruntime")
    worker = swapped(service, path, bad)
    code, seconds = ends(service)
    assert code == 0
    assert seconds < ROOM
    assert not worker.is_running()
    assert "Traceback" not in service.log


def test_a_worker_whose_model_never_opens_is_replaced(start, tmp_path, model_path):
    path, good = tmp_path / "model.onnx", tmp_path / "good.onnx"
    bad = endless(model_path, tmp_path / "bad.onnx", grey=128)
    shutil.copy(endless(model_path, good), path)
    service = start(ALEXNET_MODEL=path, ALEXNET_BACKEND="onnxruntime", ALEXNET_START_TIMEOUT="15")
    worker = swapped(service, path, bad)
    good.replace(path)
    worker.wait(60)
    assert "The model has not opened within 15 s: this worker ends" in service.log
    service.wait_until_ready()


def swapped(service, path, bad):
    """The worker, which hangs with the bad model that was put there when the trial had ended."""
    trial = trial_of(service)
    psutil.wait_procs([trial], timeout=60)
    bad.replace(path)
    until(lambda: [one for one in service.children() if one != trial], 60)
    (worker,) = service.children()
    until(lambda: sum(worker.cpu_times()[:2]) > 6, 90)  # it spins
    return worker
