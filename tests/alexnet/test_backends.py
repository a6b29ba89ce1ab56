"""PyTorch, ONNX Runtime and OpenVINO behind one protocol: answers, wrong requests, bad files."""

import importlib.util
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from alexnet.backends import BackendError, open_backend, warm_up
from alexnet.backends.onnx_runtime import BoundRun, load_runtime
from alexnet.checkpoint import CheckpointError, save_checkpoint
from alexnet.config import mini
from alexnet.files import sha256_of
from export.graph import write_onnx
from tests.models import real_pixels
from train.untrained import untrained


@pytest.fixture(scope="module")
def checkpoint():
    return untrained(mini(), seed=0, scaled=True)


@pytest.fixture(scope="module")
def folder(checkpoint, tmp_path_factory):
    """A checkpoint, and graphs of it: with features, with the centre only."""
    folder = tmp_path_factory.mktemp("backends")
    save_checkpoint(checkpoint, folder / "model.safetensors")
    write_onnx(checkpoint, folder / "model.onnx", features=True)
    write_onnx(checkpoint, folder / "centre.onnx", views="centre")
    return folder


FILES = {"torch": "model.safetensors", "onnxruntime": "model.onnx", "openvino": "model.onnx"}


def open_or_skip(name, path, **options):
    if name == "openvino" and importlib.util.find_spec("openvino") is None:
        pytest.skip("needs OpenVINO")
    return open_backend(path, backend=name, **options)


@pytest.fixture(scope="module", params=FILES)
def backend(request, folder):
    backend = open_or_skip(request.param, folder / FILES[request.param])
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def photos(checkpoint):
    return real_pixels(checkpoint.config, 6)


# Answers


def test_answers_are_probabilities_that_hang_on_the_photo(backend, photos):
    found = backend.run(photos)
    assert found.shape == (6, 50)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert found.max(axis=1).mean() > 5 / 50
    assert len(set(found.argmax(axis=1).tolist())) > 1


def test_answers_are_the_classifier_s(backend, checkpoint, photos):
    with torch.inference_mode():
        probabilities, features = checkpoint.classifier("ten").forward_features(
            torch.from_numpy(photos)
        )
    found, found_features = backend.run_features(photos)
    np.testing.assert_allclose(found, probabilities, atol=1e-5)
    np.testing.assert_allclose(found_features, features, atol=1e-4)
    assert found_features.shape == (6, checkpoint.config.network.fc7.units)
    assert found_features.dtype == np.float32


def test_a_batch_answers_as_its_photos_do_one_by_one(backend, photos):
    alone = np.concatenate([backend.run(photos[n : n + 1]) for n in range(len(photos))])
    np.testing.assert_allclose(backend.run(photos), alone, atol=1e-5)


def test_no_photos_give_no_answers(backend, photos):
    probabilities, features = backend.run_features(photos[:0])
    assert probabilities.shape == (0, 50)
    assert features.shape == (0, backend.info.config.network.fc7.units)
    assert backend.run(photos[:0]).shape == (0, 50)


def test_photos_may_be_read_only_or_strided(backend, photos):
    expected = backend.run(photos)
    locked = photos.copy()
    locked.setflags(write=False)
    assert np.array_equal(backend.run(locked), expected)
    strided = np.repeat(photos, 2, axis=2)[:, :, ::2]
    assert not strided.flags.c_contiguous
    assert np.array_equal(backend.run(strided), expected)
    assert np.array_equal(photos, locked)


def test_threads_may_share_a_backend(backend, photos):
    expected = [backend.run(photo[None]) for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda photo: backend.run(photo[None]), [*photos, *photos]))
    for answer, right in zip(found, expected * 2, strict=True):
        np.testing.assert_allclose(answer, right, atol=1e-6)


def test_values_bound_to_a_device_s_memory_give_the_same_answers(folder, photos):
    """What a GPU runs, here on the CPU's own memory: sizes come and go, and come back."""
    runtime = load_runtime()
    session = runtime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    bound = BoundRun(runtime, session, device=("cpu", 0))
    strided = np.repeat(photos, 2, axis=2)[:, :, ::2]
    expected = open_backend(folder / "model.onnx").run_features(photos)
    for count in (6, 1, 2, 3, 6, 1):
        for batch, rows in ((strided[:count], slice(count)), (photos[-count:], slice(-count, 6))):
            found = bound(batch, ["probabilities", "features"])
            for answer, right in zip(found, expected, strict=True):
                np.testing.assert_allclose(answer, right[rows], atol=1e-4)


def test_threads_may_share_bound_values(folder, photos):
    runtime = load_runtime()
    session = runtime.InferenceSession(folder / "centre.onnx", providers=["CPUExecutionProvider"])
    bound = BoundRun(runtime, session, device=("cpu", 0))
    expected = [bound(photo[None], ["probabilities"])[0] for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda photo: bound(photo[None], ["probabilities"])[0], photos))
    for answer, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(answer, right, atol=1e-6)


def test_no_more_batch_sizes_keep_their_place_than_there_is_room_for(folder, photos):
    runtime = load_runtime()
    session = runtime.InferenceSession(folder / "centre.onnx", providers=["CPUExecutionProvider"])
    bound = BoundRun(runtime, session, device=("cpu", 0))
    many = np.concatenate([photos, photos])
    for count in range(1, 12):
        assert len(bound(many[:count], ["probabilities"])[0]) == count
    assert len(bound._places) == 8


def test_the_two_backends_agree_whatever_the_views(folder, photos):
    for graph in ("model.onnx", "centre.onnx"):
        runtime = open_backend(folder / graph)
        pytorch = open_backend(folder / "model.safetensors", views=runtime.info.views)
        np.testing.assert_allclose(runtime.run(photos), pytorch.run(photos), atol=1e-5)


def test_a_backend_says_what_it_runs(backend, checkpoint, folder):
    info = backend.info
    assert info.path.name == FILES[backend.name]
    assert info.sha256 == sha256_of(info.path)
    assert info.config == checkpoint.config
    assert info.labels == checkpoint.labels
    assert info.views == "ten"
    assert info.has_features
    assert info.provenance["untrained"] is True


@pytest.fixture
def threads_of_pytorch():
    """How many threads PyTorch uses, which a test may change."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", FILES)
def test_threads_are_as_many_as_asked_for(folder, photos, name, threads_of_pytorch):
    found = open_or_skip(name, folder / FILES[name], threads=1).run(photos)
    assert torch.get_num_threads() == (1 if name == "torch" else threads_of_pytorch)
    expected = open_or_skip(name, folder / FILES[name]).run(photos)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", FILES)
def test_throughput_is_a_thread_for_each_of_several_calls(folder, photos, name, threads_of_pytorch):
    expected = open_or_skip(name, folder / FILES[name]).run(photos)
    backend = open_or_skip(name, folder / FILES[name], mode="throughput", threads=3)
    assert backend.streams == 3
    assert torch.get_num_threads() == (1 if name == "torch" else threads_of_pytorch)
    warm_up(backend)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda photo: backend.run(photo[None])[0], photos))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_latency_is_one_call_at_a_time(backend):
    assert backend.streams == 1


def test_warming_up_calls_every_stream_at_the_same_time(folder):
    backend = open_backend(folder / "centre.onnx")

    class Streams:
        """Answers once three callers are there."""

        streams, info = 3, backend.info

        def run(self, photos):
            together.wait(timeout=30)
            sizes.append(len(photos))

    sizes, together = [], threading.Barrier(3)
    warm_up(Streams(), batches=(2, 5))
    assert sizes == [2, 2, 2, 5, 5, 5]


# Compiled by PyTorch. A real compilation takes a minute: these let PyTorch's own code run instead.


@pytest.fixture
def uncompiled(monkeypatch):
    """Batch sizes that `torch.compile` was asked for, by networks that stay as they are."""
    sizes = []

    def compile(forward, *, dynamic, options):
        assert (dynamic, options) == (False, {"freezing": True})

        def counted(batch):
            sizes.append(len(batch))
            return forward(batch)

        return counted

    monkeypatch.setattr(torch, "compile", compile)
    return sizes


def test_a_compiled_network_gets_photos_in_fours_and_then_one_by_one(folder, photos, uncompiled):
    backend = open_backend(folder / "model.safetensors", compiled=True, mode="throughput")
    assert (backend.streams, uncompiled) == (1, [4, 1])
    del uncompiled[:]
    expected = open_backend(folder / "model.safetensors").run_features(photos)
    for found, right in zip(backend.run_features(photos), expected, strict=True):
        np.testing.assert_allclose(found, right, atol=1e-4)
    assert uncompiled == [4, 1, 1]
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda photo: backend.run(photo[None])[0], photos))
    np.testing.assert_allclose(alone, expected[0], atol=1e-5)
    backend.close()
    with pytest.raises(BackendError, match="is closed"):
        backend.run(photos)


def test_a_missing_compiler_is_a_sentence(folder, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(BackendError, match=r"needs a C\+\+ compiler, and there is none: install"):
        open_backend(folder / "model.safetensors", compiled=True)


def test_a_compiler_that_fails_is_a_sentence(folder, monkeypatch):
    def compile(forward, **options):
        def fails(batch):
            raise RuntimeError("CppCompileError: C++ compile error\n\nCommand: g++ and so on")

        return fails

    monkeypatch.setattr(torch, "compile", compile)
    sentence = r"can't compile the network here: CppCompile.* error"
    with pytest.raises(BackendError, match=sentence) as raised:
        open_backend(folder / "model.safetensors", compiled=True)
    assert "\n" not in str(raised.value)


# Wrong requests


@pytest.mark.parametrize(
    ("photos", "sentence"),
    [
        (np.zeros((1, 64, 64, 3), np.float32), "uint8, not float32"),
        ([[1]], "numpy array of uint8, not list"),
        (np.zeros((64, 64, 3), np.uint8), r"shape \(N, 64, 64, 3\), not \(64, 64, 3\)"),
        (np.zeros((1, 3, 64, 64), np.uint8), r"not \(1, 3, 64, 64\)"),
        (np.zeros((1, 256, 256, 3), np.uint8), r"not \(1, 256, 256, 3\)"),
        (np.zeros((0, 32, 32, 3), np.uint8), r"not \(0, 32, 32, 3\)"),
    ],
)
def test_photos_of_another_type_or_shape_are_refused(backend, photos, sentence):
    for run in (backend.run, backend.run_features):
        with pytest.raises(BackendError, match=sentence):
            run(photos)


@pytest.mark.parametrize("name", FILES)
def test_a_closed_model_says_so(folder, photos, name):
    backend = open_or_skip(name, folder / FILES[name])
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="is closed"):
        backend.run(photos)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_graph_without_features_says_how_to_get_them(folder, photos, name):
    backend = open_or_skip(name, folder / "centre.onnx")
    assert not backend.info.has_features
    for batch in (photos, photos[:0]):
        with pytest.raises(BackendError, match="--features"):
            backend.run_features(batch)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_graph_s_views_are_fixed(folder, name):
    graph = folder / "centre.onnx"
    assert open_or_skip(name, graph).info.views == "centre"
    assert open_or_skip(name, graph, views="centre").info.views == "centre"
    with pytest.raises(BackendError, match=r"with the views 'centre'.*--views ten"):
        open_or_skip(name, graph, views="ten")


@pytest.mark.parametrize(
    ("file", "options", "sentence"),
    [
        ("model.pth", {}, "No backend runs"),
        ("model", {}, "No backend runs"),
        ("model.onnx", {"backend": "tensorflow"}, "There is no backend 'tensorflow': choose"),
        ("model.onnx", {"backend": "torch"}, "torch runs .safetensors files"),
        ("model.safetensors", {"backend": "onnxruntime"}, "onnxruntime runs .onnx files"),
        ("model.safetensors", {"device": "tpu"}, "There is no device 'tpu'"),
        ("model.onnx", {"device": "cuda:x"}, "There is no device 'cuda:x'"),
        ("model.onnx", {"threads": 0}, "at least 1 thread, not 0"),
        ("model.onnx", {"compiled": True}, "Only PyTorch compiles, and .*model.onnx runs on o"),
    ],
)
def test_a_wrong_request_is_a_sentence(folder, file, options, sentence):
    with pytest.raises(BackendError, match=sentence):
        open_backend(folder / file, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("model.safetensors", "finds 0 CUDA devices"),
        ("model.onnx", "CUDA.*Take the device cpu|no CUDA"),
    ],
)
def test_a_missing_gpu_is_a_sentence(folder, file, sentence):
    with pytest.raises(BackendError, match=sentence):
        open_backend(folder / file, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_answers_as_the_cpu_does(folder, photos):
    cpu = open_backend(folder / "model.safetensors").run(photos)
    gpu = open_backend(folder / "model.safetensors", device="cuda").run(photos)
    np.testing.assert_allclose(gpu, cpu, atol=1e-5)


# Bad files


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BackendError, match=r"There is no model .*no\.onnx"):
        open_backend(tmp_path / "no.onnx")
    with pytest.raises(CheckpointError, match=r"There is no checkpoint .*no\.safetensors"):
        open_backend(tmp_path / "no.safetensors")


@pytest.mark.parametrize("part", [0, 0.1, 0.9, 0.9999])
def test_a_truncated_graph_is_not_a_whole_one(folder, tmp_path, part):
    data = (folder / "model.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(data[: int(part * len(data))])
    with pytest.raises(BackendError, match=r"cut\.onnx is (not a whole ONNX model|a graph of)"):
        open_backend(tmp_path / "cut.onnx")


def test_a_truncated_checkpoint_is_not_a_whole_one(folder, tmp_path):
    data = (folder / "model.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="not a whole"):
        open_backend(tmp_path / "cut.safetensors")


def test_foreign_bytes_are_no_graph(tmp_path):
    (tmp_path / "photo.onnx").write_bytes(b"\xff\xd8\xff\xe0 a photo, say" * 20)
    with pytest.raises(BackendError, match="not a whole ONNX model"):
        open_backend(tmp_path / "photo.onnx")


def test_a_graph_of_another_program_is_foreign(tmp_path):
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(BackendError, match="of another program"):
        open_backend(tmp_path / "other.onnx")


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"version": "2"}, "version 2.*install a newer alexnet"),
        ({"views": "six"}, "unknown views 'six'"),
        ({"config": "{}"}, "damaged metadata.*preset"),
        ({"labels": "[]"}, "names 0 classes for 50 outputs"),
        ({"provenance": None}, "'provenance' is missing"),
        ({"provenance": "[1]"}, "provenance is not a JSON object"),
        ({"views": None}, "'views' is missing"),
    ],
)
def test_newer_or_damaged_metadata_is_a_sentence(folder, tmp_path, metadata, sentence):
    model = onnx.load(folder / "model.onnx")
    kept = {prop.key: prop.value for prop in model.metadata_props} | metadata
    del model.metadata_props[:]
    helper.set_model_props(model, {key: value for key, value in kept.items() if value is not None})
    onnx.save(model, tmp_path / "changed.onnx")
    with pytest.raises(BackendError, match=sentence):
        open_backend(tmp_path / "changed.onnx")


def test_a_checkpoint_whose_mean_is_missing_is_a_sentence(checkpoint, tmp_path):
    save_checkpoint(replace(checkpoint, mean=None), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="needs a mean image"):
        open_backend(tmp_path / "model.safetensors")


# What is imported, and what is sent home


def python(code, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done


def test_a_runtime_is_imported_when_a_file_needs_it():
    code = "import sys, alexnet.backends; print({'torch', 'onnxruntime'} & set(sys.modules))"
    assert python(code).stdout.strip() == "set()"


@pytest.mark.parametrize(("asked", "set_to"), [({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")])
def test_the_runtime_s_telemetry_is_off_unless_the_environment_asks_for_it(folder, asked, set_to):
    code = (
        "import os, sys; from alexnet.backends import open_backend; open_backend(sys.argv[1]);"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    done = python(code, folder / "model.onnx", **asked)
    assert done.stdout.strip() == set_to
    assert done.stderr == ""


def test_the_runtime_is_silent_when_a_graph_can_t_run(folder, tmp_path):
    model = onnx.load(folder / "centre.onnx")
    (norm, *_) = [node for node in model.graph.node if node.op_type == "LRN"]
    (size,) = [attribute for attribute in norm.attribute if attribute.name == "size"]
    size.i = 4  # a window that this operator can't have, which only shows when it is made
    onnx.save(model, tmp_path / "bad.onnx")
    code = (
        "import sys; from alexnet.backends import BackendError, open_backend\n"
        "try: open_backend(sys.argv[1], backend='onnxruntime')\n"
        "except BackendError as error: print(error)"
    )
    done = python(code, tmp_path / "bad.onnx")
    assert "bad.onnx is not a whole ONNX model" in done.stdout
    assert done.stderr == ""
