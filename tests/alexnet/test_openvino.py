"""OpenVINO: the precision of each kind of file, calls side by side, kept compilations, silence."""

import contextlib
import gc
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from alexnet.backends import BackendError, open_backend
from alexnet.backends.openvino import load_openvino, settings
from alexnet.backends.openvino_cache import cache_folder
from alexnet.checkpoint import save_checkpoint
from alexnet.config import LRNConfig, mini
from alexnet.errors import MissingPackageError
from alexnet.machine import cores, cpu_instructions
from export.graph import write_onnx
from tests.models import real_pixels, tiny
from train.untrained import untrained

if importlib.util.find_spec("openvino") is None:  # importorskip would start its telemetry
    pytest.skip("needs OpenVINO", allow_module_level=True)


@pytest.fixture(scope="module")
def checkpoint():
    return untrained(mini(), seed=0, scaled=True)


@pytest.fixture(scope="module")
def folder(checkpoint, tmp_path_factory):
    """A checkpoint and its graph, and the graph as it is written for bf16 and int8."""
    folder = tmp_path_factory.mktemp("openvino")
    save_checkpoint(checkpoint, folder / "model.safetensors")
    write_onnx(checkpoint, folder / "model.onnx", features=True)
    for precision in ("fp32", "bf16"):
        written_for(folder / "model.onnx", folder / f"{precision}.onnx", precision=precision)
    return folder


def written_for(graph, target, **metadata):
    """A copy of a graph that says that it was exported for OpenVINO in a precision."""
    model = onnx.load(graph)
    kept = {prop.key: prop.value for prop in model.metadata_props}
    onnx.helper.set_model_props(model, {**kept, "target": "openvino", **metadata})
    onnx.save(model, target)
    return target


@pytest.fixture(scope="module")
def photos(checkpoint):
    return real_pixels(checkpoint.config, 8)


@pytest.fixture(scope="module")
def expected(folder, photos):
    """PyTorch's answers."""
    return open_backend(folder / "model.safetensors").run(photos)


def opened(path, **options):
    return open_backend(path, backend="openvino", **options)


# Signals


def test_a_signal_is_heard_after_another_thread_has_freed_the_model(folder):
    code = (
        "import signal, sys, threading; from alexnet.backends import open_backend\n"
        "backend = open_backend(sys.argv[1], backend='openvino')\n"
        "closing = threading.Thread(target=backend.close)\n"
        "closing.start(); closing.join()\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('heard'))\n"
        "signal.raise_signal(signal.SIGTERM)"
    )
    command = [sys.executable, "-c", code, folder / "model.onnx"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "heard\n")


# Precision


def test_a_k_that_openvino_would_round_down_is_refused_and_not_chosen(tmp_path):
    made = tiny()
    conv = replace(made.network.convs[0], lrn=LRNConfig(k=1.5))
    network = replace(made.network, convs=(conv, *made.network.convs[1:]))
    write_onnx(untrained(replace(made, network=network), seed=0), tmp_path / "m.onnx")
    with pytest.raises(BackendError, match=r"drops the fraction of LRN's k = 1\.5"):
        opened(tmp_path / "m.onnx")
    assert open_backend(tmp_path / "m.onnx").name == "onnxruntime"


def test_a_float32_graph_is_computed_in_float32(folder, photos, expected):
    for name in ("model.onnx", "fp32.onnx"):
        backend = opened(folder / name)
        assert backend.precision == "f32"
        np.testing.assert_allclose(backend.run(photos), expected, atol=1e-5)


def test_a_bf16_graph_is_rounded_where_the_processor_can(folder, photos, expected):
    rounds = cpu_instructions("bf16") is not None
    backend = open_backend(folder / "bf16.onnx")
    assert (backend.name, backend.info.precision) == ("openvino", "bf16")
    assert backend.precision == ("bf16" if rounds else "f32")
    off = np.abs(backend.run(photos) - expected).max()
    assert off < 0.05
    assert (off > 1e-5) == rounds


BF16, VNNI = {"avx2", "avx512f", "avx512_vnni", "avx512_bf16"}, {"avx2", "avx512f", "avx512_vnni"}


@pytest.mark.parametrize(
    ("precision", "target", "hint"),
    [
        ("fp32", "portable", "f32"),
        ("fp32", "openvino", "f32"),
        ("fp16", "portable", "f32"),
        ("bf16", "openvino", "bf16"),
        ("int8", "openvino", "bf16"),
        ("int8", "onnxruntime", "f32"),
    ],
)
def test_every_kind_of_file_names_its_precision(folder, monkeypatch, precision, target, hint):
    """bf16 only where the processor has it: with AVX-512 alone OpenVINO would imitate it."""
    info = replace(opened(folder / "model.onnx").info, precision=precision, target=target)
    for features, wanted in ((BF16, hint), (VNNI, "f32"), (None, hint)):
        monkeypatch.setattr("alexnet.backends.openvino.cpu_features", lambda found=features: found)
        for streams in (1, 4):
            told = settings(info, threads=None, streams=streams)
            assert told["INFERENCE_PRECISION_HINT"] == wanted


def test_onnx_runtime_does_not_pass_off_float32_as_bf16(folder):
    with pytest.raises(BackendError, match=r"bf16\.onnx was exported for OpenVINO.*in float32"):
        open_backend(folder / "bf16.onnx", backend="onnxruntime")


# Side by side


def test_latency_is_one_stream_and_throughput_one_a_core(small):
    folder = small[0]
    assert opened(folder / "model.onnx").streams == 1
    assert opened(folder / "model.onnx", mode="throughput").streams == cores()
    assert opened(folder / "model.onnx", mode="throughput", threads=3).streams == 3


@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_every_caller_gets_its_own_answer(small, mode):
    folder, photos, expected = small
    backend = opened(folder / "model.onnx", mode=mode)
    parts = [slice(first, first + count) for first in range(3) for count in (1, 2, 3)] * 20
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda part: backend.run(photos[part]), parts))
    for answer, part in zip(found, parts, strict=True):
        np.testing.assert_allclose(answer, expected[part], atol=1e-5)


@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_photos_go_in_fours_and_then_one_by_one(small, mode, cache):
    folder, photos, expected = small
    photos, expected = np.tile(photos, (3, 1, 1, 1)), np.tile(expected, (3, 1))
    backend = opened(folder / "model.onnx", mode=mode)
    first, other = {"latency": (1, 4), "throughput": (4, 1)}[mode]
    # What was compiled is in the cache, a file for each size: one at once, the other when needed.
    for count, compiled in ((0, 1), (first, 1), (other, 2), (2, 2), (3, 2), (5, 2), (9, 2)):
        if count:
            np.testing.assert_allclose(backend.run(photos[:count]), expected[:count], atol=1e-5)
        assert len(kept(cache)) == compiled, count


def test_an_answer_stays_when_the_next_one_comes(folder, photos, expected):
    backend = opened(folder / "model.onnx")
    first = backend.run(photos[:1])
    backend.run(photos[1:2])
    np.testing.assert_allclose(first, expected[:1], atol=1e-5)


def test_closing_leaves_no_caller_waiting(small):
    folder, photos, expected = small
    backend = opened(folder / "model.onnx", mode="throughput")

    def ask(number):
        if number == 20:
            backend.close()
        with contextlib.suppress(BackendError):
            return backend.run(photos[:1])

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(60)))
    assert answers[-1] is None
    for answer in answers:
        if answer is not None:
            np.testing.assert_allclose(answer, expected[:1], atol=1e-5)


# Refusals


def test_it_runs_on_the_cpu_alone(folder):
    with pytest.raises(BackendError, match="runs on the CPU: take cpu, not 'cuda'"):
        opened(folder / "model.onnx", device="cuda")


def test_an_unknown_operator_is_one_line(folder, tmp_path):
    model = onnx.load(folder / "model.onnx")
    next(node for node in model.graph.node if node.op_type == "LRN").op_type = "Nonsense"
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(BackendError, match=r"odd\.onnx is not a whole .*Nonsense") as raised:
        opened(tmp_path / "odd.onnx")
    assert "\n" not in str(raised.value)
    assert "Exception from" not in str(raised.value)


def test_without_the_package_the_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingPackageError, match=r"'\.\[openvino\]'"):
        load_openvino()


# What is kept of a compilation


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A graph that is compiled at once, photos for it, and PyTorch's answers."""
    folder = tmp_path_factory.mktemp("small")
    checkpoint = untrained(tiny(), seed=0, scaled=True)
    save_checkpoint(checkpoint, folder / "model.safetensors")
    write_onnx(checkpoint, folder / "model.onnx")
    photos = real_pixels(checkpoint.config, 3)
    return folder, photos, open_backend(folder / "model.safetensors").run(photos)


def kept(cache):
    return sorted(cache.glob("*.blob"))


def from_cache(backend):
    """Whether all that was compiled for it was kept from before."""
    return all(model.compiled.was_kept for model in backend._models.values())


def test_a_second_start_loads_what_the_first_one_compiled(small, cache):
    folder, photos, expected = small
    for start in range(2):
        backend = opened(folder / "model.onnx")
        assert from_cache(backend) == bool(start)
        np.testing.assert_allclose(backend.run(photos), expected, atol=1e-5)
        backend.run(np.concatenate([photos, photos]))
        assert from_cache(backend) == bool(start)
    assert sorted(cache.iterdir()) == kept(cache)
    assert len(kept(cache)) == 2  # for one photo, and for four


def test_what_was_kept_outlives_its_file(small, cache):
    folder, photos, expected = small
    opened(folder / "model.onnx").close()
    backend = opened(folder / "model.onnx")
    assert from_cache(backend)
    for blob in kept(cache):
        blob.unlink()
    gc.collect()
    for _ in range(3):
        np.testing.assert_allclose(backend.run(photos), expected, atol=1e-5)


@pytest.mark.parametrize("damage", ["cut", "turned bits", "empty", "no file"])
def test_a_damaged_cache_is_compiled_again(small, cache, damage):
    folder, photos, expected = small
    opened(folder / "model.onnx").close()
    (blob,) = kept(cache)
    whole = blob.read_bytes()
    if damage == "cut":
        blob.write_bytes(whole[: len(whole) // 2])
    elif damage == "turned bits":  # among the weights, where OpenVINO itself sees nothing wrong
        middle = len(whole) // 2
        noise = bytes(byte ^ 0xFF for byte in whole[middle : middle + 20_000])
        blob.write_bytes(whole[:middle] + noise + whole[middle + 20_000 :])
    elif damage == "empty":
        blob.write_bytes(b"")
    else:
        blob.unlink()
    backend = opened(folder / "model.onnx")
    assert not from_cache(backend)
    np.testing.assert_allclose(backend.run(photos), expected, atol=1e-5)
    assert from_cache(opened(folder / "model.onnx"))


def test_a_cache_that_can_t_be_written_changes_nothing(small, tmp_path, monkeypatch):
    folder, photos, expected = small
    (tmp_path / "file").write_text("no folder")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("ALEXNET_CACHE", str(place))
        found = opened(folder / "model.onnx").run(photos)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_cache_that_may_only_be_read_is_used(small, cache, monkeypatch):
    folder, photos, expected = small
    opened(folder / "model.onnx").close()
    before = [blob.stat().st_mtime_ns for blob in kept(cache)]

    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    # Of files of another user the system lets nobody else set the times.
    monkeypatch.setattr(os, "utime", refused)
    backend = opened(folder / "model.onnx")
    assert from_cache(backend)
    assert [blob.stat().st_mtime_ns for blob in kept(cache)] == before
    np.testing.assert_allclose(backend.run(photos), expected, atol=1e-5)


def test_another_model_under_the_same_name_is_compiled_anew(small, cache, tmp_path):
    folder, photos, expected = small
    path = Path(shutil.copy(folder / "model.onnx", tmp_path / "model.onnx"))
    np.testing.assert_allclose(opened(path).run(photos), expected, atol=1e-5)
    other = untrained(tiny(), seed=1, scaled=True)
    write_onnx(other, path)
    save_checkpoint(other, tmp_path / "other.safetensors")
    wanted = open_backend(tmp_path / "other.safetensors").run(photos)
    assert np.abs(wanted - expected).max() > 1e-3
    np.testing.assert_allclose(opened(path).run(photos), wanted, atol=1e-5)


def test_the_oldest_compilations_are_forgotten(small, cache):
    cache.mkdir(parents=True)
    for number in range(10):
        (cache / f"old-{number}.blob").write_bytes(b"")
        os.utime(cache / f"old-{number}.blob", (number, number))
    opened(small[0] / "model.onnx").close()
    left = [blob.stem for blob in kept(cache)]
    assert len(left) == 8
    assert [name for name in left if name.startswith("old-")] == [f"old-{n}" for n in range(3, 10)]


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"ALEXNET_CACHE": "off"}, None),
        ({"ALEXNET_CACHE": "/some/where"}, "/some/where/openvino"),
        ({"ALEXNET_CACHE": "", "XDG_CACHE_HOME": "/x"}, "/x/alexnet/openvino"),
        ({"ALEXNET_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/alexnet/openvino"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="names Linux's folders")
def test_the_cache_lies_where_the_environment_says(monkeypatch, variables, folder):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == (None if folder is None else Path(folder))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run it as a user who does not exist")
@pytest.mark.parametrize(
    ("home", "line"),
    [
        ({}, "Compiled models are not kept: this user has no home folder; ALEXNET_CACHE names"),
        ({"HOME": "/nonexistent"}, ""),
        ({"HOME": "/proc"}, ""),
        ({"ALEXNET_CACHE": "off"}, ""),
    ],
    ids=["no home", "a home that is not there", "a home to read only", "switched off"],
)
def test_it_runs_without_a_cache_where_the_user_has_no_home(small, home, line):
    # All is imported first: whether this user may read the environment is not the question.
    code = (
        "import os, sys; from alexnet.backends import open_backend; import numpy as np\n"
        "def run():\n"
        "    backend = open_backend(sys.argv[1], backend='openvino')\n"
        "    print(backend.run(np.zeros((1, 48, 48, 3), np.uint8)).shape)\n"
        "wanted = os.environ.pop('ALEXNET_CACHE', None)\n"
        "os.environ['ALEXNET_CACHE'] = 'off'; run(); del os.environ['ALEXNET_CACHE']\n"
        "if wanted: os.environ['ALEXNET_CACHE'] = wanted\n"
        "os.setgid(54321); os.setuid(54321); run(); run()"
    )
    with tempfile.TemporaryDirectory(prefix="alexnet-nobody-") as folder:
        Path(folder).chmod(0o755)
        model = shutil.copy(small[0] / "model.onnx", folder)
        Path(model).chmod(0o644)
        done = subprocess.run(
            [sys.executable, "-c", code, model],
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"], **home},
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("(1, ") == 3
    assert len(done.stderr.splitlines()) == bool(line), done.stderr
    assert done.stderr.startswith(line)


# What is imported, and what is sent home


def test_it_sends_nothing_writes_nothing_home_and_needs_no_pytorch(small, tmp_path):
    """OpenVINO's import alone would write an id into the home folder and look for a network."""
    code = (
        "import sys; from alexnet.backends import open_backend; import numpy as np\n"
        "backend = open_backend(sys.argv[1], backend='openvino', explain=print)\n"
        "backend.run(np.zeros((1, 48, 48, 3), np.uint8))\n"
        "print({'torch', 'onnxruntime'} & set(sys.modules), sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, small[0] / "model.onnx"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOME": str(tmp_path), "ALEXNET_CACHE": "off"},
    )
    assert done.stdout.splitlines() == ["Backend openvino: it was asked for.", "set() None"]
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_it_prints_nothing_when_a_graph_can_t_run(folder, tmp_path, capfd):
    model = onnx.load(folder / "model.onnx")
    model.graph.node[5].input[0] = "nowhere"
    onnx.save(model, tmp_path / "bad.onnx")
    with contextlib.suppress(BackendError):
        opened(tmp_path / "bad.onnx")
    assert capfd.readouterr() == ("", "")
