"""Which backend runs a file, and the sentence that says why."""

import sys

import onnx
import pytest

from alexnet.backends import BackendError, choose, open_backend
from alexnet.backends.metadata import read_metadata
from alexnet.checkpoint import save_checkpoint
from export.graph import write_onnx
from tests.models import tiny
from train.untrained import untrained


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint, and its graph as it is written for each runtime."""
    folder = tmp_path_factory.mktemp("choice")
    checkpoint = untrained(tiny(), seed=0)
    save_checkpoint(checkpoint, folder / "m.safetensors")
    write_onnx(checkpoint, folder / "old.onnx")
    for target, precision in (
        ("portable", "int8"),
        ("onnxruntime", "fp32"),
        ("openvino", "bf16"),
        ("tensorrt", "fp32"),
    ):
        model = onnx.load(folder / "old.onnx")
        kept = {prop.key: prop.value for prop in model.metadata_props}
        onnx.helper.set_model_props(model, {**kept, "target": target, "precision": precision})
        onnx.save(model, folder / f"{target}.onnx")
    return folder


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("m.safetensors", "Backend torch: m.safetensors is a checkpoint."),
        ("m.engine", "Backend tensorrt: m.engine is an engine."),
        ("portable.onnx", "Backend onnxruntime: portable.onnx is a portable graph (int8)."),
        (
            "onnxruntime.onnx",
            "Backend onnxruntime: onnxruntime.onnx was exported for onnxruntime (fp32).",
        ),
        (
            "tensorrt.onnx",
            "Backend onnxruntime: tensorrt.onnx was exported for tensorrt (fp32), and is no "
            "engine yet.",
        ),
    ],
)
def test_the_choice_is_told_in_one_line(folder, file, sentence):
    choice = choose(folder / file)
    assert choice.reason == sentence
    assert choice.name == sentence.split()[1].rstrip(":")


@pytest.mark.parametrize(
    ("installed", "device", "sentence"),
    [
        (
            True,
            "cpu",
            "Backend openvino: old.onnx is a portable graph (fp32), which it runs faster on a CPU.",
        ),
        (
            False,
            "cpu",
            "Backend onnxruntime: old.onnx is a portable graph (fp32), and OpenVINO, which runs it "
            "faster on a CPU, is not installed.",
        ),
        (True, "cuda", "Backend onnxruntime: old.onnx is a portable graph (fp32)."),
    ],
)
def test_a_portable_graph_runs_on_the_fastest_runtime_that_is_there(
    folder, monkeypatch, installed, device, sentence
):
    # The graph was written before targets were named.
    found = object() if installed else None
    monkeypatch.setattr("alexnet.backends.choice.find_spec", lambda name: found)
    choice = choose(folder / "old.onnx", device=device)
    assert choice.reason == sentence
    assert choice.name == sentence.split()[1].rstrip(":")


def test_a_graph_for_openvino_runs_there_or_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendError, match=r"exported for openvino \(bf16\).*'\.\[openvino\]'"):
        choose(folder / "openvino.onnx")
    monkeypatch.setattr("alexnet.backends.choice.find_spec", lambda name: object())
    assert choose(folder / "openvino.onnx").reason == (
        "Backend openvino: openvino.onnx was exported for openvino (bf16)."
    )


def test_what_is_asked_for_is_taken(folder):
    for name in ("onnxruntime", "openvino"):
        choice = choose(folder / "portable.onnx", name)
        assert (choice.name, choice.reason) == (name, f"Backend {name}: it was asked for.")


def test_opening_tells_the_choice_once(folder):
    told = []
    backend = open_backend(folder / "onnxruntime.onnx", explain=told.append)
    assert told == ["Backend onnxruntime: onnxruntime.onnx was exported for onnxruntime (fp32)."]
    assert backend.name == "onnxruntime"


@pytest.mark.parametrize(
    ("precision", "backend", "told"),
    [
        ("bf16", "openvino", ["slower here than a float32 graph"]),
        ("int8", "openvino", ["hardly faster here than a float32 graph"]),
        ("int8", "onnxruntime", ["hardly faster here than a float32 graph"]),
        ("fp16", "onnxruntime", ["slower than a float32 graph"]),
        ("fp16", "openvino", []),
        ("fp32", "openvino", []),
    ],
)
def test_a_precision_that_the_cpu_has_no_instructions_for_is_told(
    folder, tmp_path, monkeypatch, precision, backend, told
):
    features = frozenset({"sse2", "avx2", "fma"})
    monkeypatch.setattr("alexnet.machine.cpu_features", lambda: features)
    path = tmp_path / "m.onnx"
    model = onnx.load(folder / "openvino.onnx")
    kept = {prop.key: prop.value for prop in model.metadata_props}
    facts = {"target": "portable", "precision": precision}
    onnx.helper.set_model_props(model, kept | facts)
    onnx.save(model, path)
    lines = []
    open_backend(path, backend=backend, explain=lines.append).close()
    reason, *notes = lines
    assert reason == f"Backend {backend}: it was asked for."
    assert len(notes) == len(told)
    assert all(words in note for words, note in zip(told, notes, strict=True))


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff\xe0 a photo", b"\x08\x08", b"\x3a\xff\xff\x03"]
)
def test_what_is_no_graph_is_a_sentence(tmp_path, data):
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(BackendError, match=r"m\.onnx is not a whole ONNX model: "):
        choose(tmp_path / "m.onnx")


def test_metadata_are_those_that_onnx_reads(folder):
    for file in folder.glob("*.onnx"):
        model = onnx.load(file)
        assert read_metadata(file) == {prop.key: prop.value for prop in model.metadata_props}
