"""Engines as a backend: what is refused, with no GPU; and, on a made-up one, what is run when."""

import hashlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
import torch

from alexnet.backends import BackendError, open_backend
from alexnet.backends.engine import EngineFacts, read_engine, sidecar, write_engine
from alexnet.backends.tensorrt import check_gpu, check_version
from alexnet.config import mini
from alexnet.errors import AlexNetError
from export.graph import onnx_model
from tests.alexnet.fake_tensorrt import FakeCuda, FakeTensorRT
from tests.models import real_pixels
from train.untrained import untrained

VERSION = "11.4.0.106"


@pytest.fixture(scope="module")
def checkpoint():
    return untrained(mini(), seed=0, scaled=True)


@pytest.fixture(scope="module")
def graphs(checkpoint):
    return {
        features: onnx_model(checkpoint, views="centre", features=features)
        for features in (True, False)
    }


@pytest.fixture(scope="module")
def photos(checkpoint):
    return real_pixels(checkpoint.config, 8)


@pytest.fixture
def write(tmp_path, graphs):
    """Write an engine for the made-up library, whose plan is the graph; returns its path."""

    def write(*, features=True, plan=None, **fields):
        path = tmp_path / "m.engine"
        plan = plan or graphs[features].SerializeToString()
        facts = {
            "flavour": "tensorrt",
            "tensorrt": VERSION,
            "batch": (2, 2, 3),
            "lrn": "native",
            "targets": ("8.6",),
            "version_compatible": False,
            "hardware": "this",
            "source": "m.onnx",
            "source_sha256": "0" * 64,
            "engine_sha256": hashlib.sha256(plan).hexdigest(),
        } | fields
        metadata = {prop.key: prop.value for prop in graphs[features].metadata_props}
        write_engine(path, plan, facts=EngineFacts(**facts), metadata=metadata, versions={})
        return path

    return write


@pytest.fixture
def machine(monkeypatch):
    """Put a made-up library and GPU in place of the real ones; returns the GPU."""

    def machine(*, rtx=False, batches=(2, 3), **options):
        cuda, library = FakeCuda(), FakeTensorRT(VERSION, rtx=rtx, batches=batches, **options)
        monkeypatch.setattr("alexnet.backends.tensorrt.Cuda", lambda index: cuda)
        monkeypatch.setattr("alexnet.backends.tensorrt.load_library", lambda flavour: library)
        return cuda, library

    return machine


# What is run


@pytest.mark.parametrize("rtx", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 8])
def test_any_number_of_photos_gets_the_graph_s_answers(
    write, machine, graphs, photos, tmp_path, count, rtx
):
    machine(rtx=rtx)
    onnx.save(graphs[True], tmp_path / "m.onnx")
    expected = open_backend(tmp_path / "m.onnx", backend="onnxruntime", threads=1).run_features(
        photos[:count]
    )
    backend = open_backend(write(flavour="rtx" if rtx else "tensorrt"))
    assert backend.name == "tensorrt"
    found = backend.run_features(photos[:count])
    for answer, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(answer, right, atol=1e-5)
    np.testing.assert_allclose(backend.run(photos[:count]), expected[0], atol=1e-5)


def test_answers_stay_as_they_were_when_the_next_call_comes(write, machine, photos):
    machine()
    backend = open_backend(write())
    first = backend.run(photos[:2])
    kept = first.copy()
    backend.run(photos[2:4])
    assert np.array_equal(first, kept)


def test_each_batch_size_is_recorded_once_in_a_context_of_its_own(write, machine, photos):
    cuda, library = machine()
    backend = open_backend(write())
    for _ in range(3):
        backend.run(photos[:2])
        backend.run(photos[:3])
        backend.run(photos[:1])  # filled up to 2
    assert cuda.recorded == 2
    assert cuda.stepwise == 2  # each once before it was recorded
    assert len(library.contexts) == 2
    (scratch,) = {context.scratch for context in library.contexts}
    assert scratch


def test_more_sizes_than_are_kept_run_step_by_step_in_one_context(
    write, machine, photos, monkeypatch
):
    monkeypatch.setattr("alexnet.backends.tensorrt._GRAPHS", 2)
    cuda, library = machine(batches=(1, 8))
    backend = open_backend(write(batch=(1, 4, 8)))
    expected = backend.run(photos)
    for count in (7, 6, 5, 6, 8):
        np.testing.assert_allclose(backend.run(photos[:count]), expected[:count], atol=1e-5)
    assert cuda.recorded == 2
    assert len(library.contexts) == 3


def test_what_cannot_be_recorded_is_run_step_by_step(write, machine, photos):
    cuda, _ = machine(capturable=False)
    backend = open_backend(write())
    assert np.array_equal(backend.run(photos[:2]), backend.run(photos[:2]))
    assert cuda.recorded == 0


def test_threads_may_share_an_engine(write, machine, photos):
    machine()
    backend = open_backend(write())
    expected = [backend.run(photo[None]) for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda photo: backend.run(photo[None]), photos))
    for answer, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(answer, right, atol=1e-6)


def test_an_engine_says_what_it_runs(write, machine, checkpoint):
    machine()
    path = write()
    info = open_backend(path, backend="tensorrt", device="cuda:0").info
    assert (info.path, info.config, info.labels) == (path, checkpoint.config, checkpoint.labels)
    assert (info.views, info.has_features, info.precision) == ("centre", True, "fp32")
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


# Wrong requests


def test_wrong_requests_are_sentences(write, machine, photos):
    machine()
    backend = open_backend(write(features=False))
    with pytest.raises(BackendError, match="build it again with --features"):
        backend.run_features(photos)
    with pytest.raises(BackendError, match="uint8, not float32"):
        backend.run(photos.astype(np.float32))
    with pytest.raises(BackendError, match=r"build it again with --views ten"):
        open_backend(backend.info.path, views="ten")
    with pytest.raises(BackendError, match="take the device cuda"):
        open_backend(backend.info.path, device="cpu")
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="is closed"):
        backend.run(photos)


def test_a_run_that_fails_gives_the_library_s_reason(write, machine, photos):
    machine(fails=True)
    backend = open_backend(write())
    with pytest.raises(BackendError, match=r"could not be run: out of memory"):
        backend.run(photos)


# Files that do not fit


def test_a_missing_file_of_the_two_is_named(write, tmp_path):
    with pytest.raises(BackendError, match=r"There is no model .*no\.engine"):
        open_backend(tmp_path / "no.engine")
    path = write()
    sidecar(path).unlink()
    with pytest.raises(BackendError, match=r"m\.engine lacks m\.engine\.json"):
        open_backend(path)


def test_two_files_that_do_not_belong_together_are_refused(write):
    path = write()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BackendError, match=r"not the engine that m\.engine\.json was written for"):
        open_backend(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda value: "{", "is not whole JSON"),
        (lambda value: [], "not what alexnet-export writes"),
        (lambda value: value | {"format": "other"}, "not what alexnet-export writes"),
        (lambda value: value | {"version": 2}, "version 2.*install a newer alexnet"),
        (lambda value: value | {"version": "x"}, "version x"),
        (lambda value: {k: v for k, v in value.items() if k != "engine"}, "damaged: 'engine'"),
        (lambda value: value | {"graph": 3}, "damaged"),
        (lambda value: value | {"engine": value["engine"] | {"flavour": "x"}}, "damaged: flavour"),
        (lambda value: value | {"graph": value["graph"] | {"views": "six"}}, "unknown views 'six'"),
        (lambda value: value | {"graph": value["graph"] | {"precision": "fp4"}}, "precision 'fp4'"),
    ],
)
def test_damaged_foreign_or_newer_json_is_a_sentence(write, change, sentence):
    path = write()
    value = change(json.loads(sidecar(path).read_text("utf-8")))
    sidecar(path).write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
    with pytest.raises(BackendError, match=sentence) as caught:
        open_backend(path)
    assert "\n" not in str(caught.value)


def test_an_engine_of_another_version_is_a_sentence(write, machine):
    machine()
    path = write(tensorrt="10.13.0.35")
    with pytest.raises(BackendError, match=r"TensorRT 10\.13\.0\.35, and 11\.4\.0\.106 is"):
        open_backend(path)
    facts = read_engine(write(tensorrt="10.13.0.35", version_compatible=True))[1]
    check_version(facts, "11.4.0.106", path)
    with pytest.raises(BackendError, match="again with this version"):
        check_version(facts, "10.9.1", path)


def test_an_engine_for_another_gpu_is_a_sentence(write):
    path = write(targets=("8.6", "8.9"))
    facts = read_engine(path)[1]
    check_gpu(facts, FakeCuda(capability="8.9"), path)
    with pytest.raises(BackendError, match=r"capability 8\.6, 8\.9, and Imaginary GPU has 9\.0"):
        check_gpu(facts, FakeCuda(capability="9.0"), path)
    check_gpu(read_engine(write(targets=()))[1], FakeCuda(capability="9.0"), path)
    ampere = read_engine(write(hardware="ampere"))[1]
    check_gpu(ampere, FakeCuda(capability="12.0"), path)
    with pytest.raises(BackendError):
        check_gpu(ampere, FakeCuda(capability="7.5"), path)


def test_a_foreign_engine_gives_the_library_s_first_reason(write, machine):
    machine()
    with pytest.raises(BackendError, match=r"Imaginary GPU: Serialized engine does not conform$"):
        open_backend(write(plan=b"foreign bytes"))


def test_a_missing_library_is_a_sentence(write, monkeypatch):
    for flavour, module in (("tensorrt", "tensorrt"), ("rtx", "tensorrt_rtx")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(AlexNetError, match=r"pip install -e '\.\[tensorrt"):
            open_backend(write(flavour=flavour))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_a_sentence(write):
    rtx = pytest.importorskip("tensorrt_rtx", reason="needs pip install -e '.[tensorrt-rtx]'")
    with pytest.raises(BackendError, match=r"finds 0 CUDA devices.*needs an NVIDIA GPU"):
        open_backend(write(flavour="rtx", tensorrt=rtx.__version__))
