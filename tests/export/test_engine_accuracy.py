"""The gate before rounded engines: measured on the graph that they are built from, or not built.

TensorRT itself is not needed for it: here the builder is one that hands back some bytes.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from alexnet.backends import open_backend
from alexnet.backends.engine import read_engine
from alexnet.checkpoint import save_checkpoint
from alexnet.files import sha256_of
from export.cli import main
from export.engine_file import MEASURED_ON
from tests.models import real_pixels, tiny
from train.untrained import untrained


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint, and labelled photos of which it is right on six of eight."""
    folder = tmp_path_factory.mktemp("engine-accuracy")
    checkpoint = untrained(tiny(), seed=0, scaled=True)
    save_checkpoint(checkpoint, folder / "m.safetensors")
    pixels = real_pixels(checkpoint.config, 8)
    backend = open_backend(folder / "m.safetensors", views="centre")
    order = backend.run(pixels).argsort(axis=1)
    for number, photo in enumerate(pixels):
        place = folder / "photos" / f"class {order[number, -1 if number < 6 else 0]}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(place / f"{number}.png")
    return folder


@pytest.fixture(autouse=True)
def built(monkeypatch):
    """Graphs that a builder got, in place of TensorRT."""
    graphs = []

    def build_engine(model, options):
        graphs.append(model)
        return SimpleNamespace(plan=b"an engine", tensorrt="0.0", targets=())

    monkeypatch.setattr("export.engine_file.load_library", lambda flavour: None)
    monkeypatch.setattr("export.engine_file.build_engine", build_engine)
    return graphs


def run(source, target, *options, command="tensorrt"):
    arguments = [command, source, "-o", target, "--views=centre", *options]
    done = CliRunner().invoke(main, list(map(str, arguments)), prog_name="alexnet-export")
    return done.exit_code, " ".join(done.stderr.split())


def accuracy(engine):
    """What the engine's JSON says; the backend reads the same."""
    said = json.loads(engine.with_name(f"{engine.name}.json").read_text("utf-8"))["graph"]
    found = said.get("accuracy")
    assert read_engine(engine)[0].accuracy == found
    return found


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--precision=int8"], "int8 changes answers: name labelled photos"),
        (["--precision=bf16"], "bf16 costs an engine in accuracy can't be measured here"),
        (["--precision=bf16", "--validate", "photos"], "ONNX Runtime has no bf16 convolutions"),
        (["--precision=int8", "--validate", "photos", "--unvalidated"], "not both"),
        (["--precision=int8", "--unvalidated", "--max-drop=1"], "add --validate"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_a_rounded_engine_is_not_built_unmeasured_without_a_word(
    folder, tmp_path, built, options, sentence
):
    code, said = run(folder / "m.safetensors", tmp_path / "m.engine", *options)
    assert code == 1
    assert sentence in said
    assert built == []
    assert list(tmp_path.iterdir()) == []


def test_int8_is_measured_on_its_graph_and_the_json_says_so(folder, tmp_path, built):
    photos = ("--calibrate", folder / "photos", "--validate", folder / "photos")
    code, said = run(folder / "m.safetensors", tmp_path / "m.engine", "--precision=int8", *photos)
    assert code == 0, said
    found = accuracy(tmp_path / "m.engine")
    assert (found["of"], found["backend"]) == (MEASURED_ON, "onnxruntime")
    assert (found["photos"], found["views"]) == (8, "centre")
    assert found["reference"]["top1_error"] == 0.25  # two of eight are labelled wrongly
    # The graph that the builder got, counted again.
    (graph,) = built
    (tmp_path / "again.onnx").write_bytes(graph.SerializeToString())
    pixels = real_pixels(tiny(), 8)
    best = open_backend(tmp_path / "again.onnx", backend="onnxruntime").run(pixels).argmax(axis=1)
    names = {int(path.stem): path.parent.name for path in folder.glob("photos/*/*.png")}
    wrong = np.mean([names[n] != f"class {label}" for n, label in enumerate(best)])
    assert found["top1_error"] == pytest.approx(wrong, abs=1e-6)
    assert f"{100 * wrong:.2f} % top-1" in said


def test_what_loses_too_much_is_not_built(folder, tmp_path, built, monkeypatch):
    left = [0.5, 0.25]  # of int8, and of float32

    def errors(best, truth):
        return dict.fromkeys(("top1_error", "top5_error"), left.pop(0))

    monkeypatch.setattr("export.accuracy._errors", errors)
    code, said = run(
        *(folder / "m.safetensors", tmp_path / "m.engine", "--precision=int8"),
        *("--validate", folder / "photos", "--max-drop=24"),
    )
    assert code == 1
    assert "int8 loses 25.00 points of top-1 accuracy" in said
    assert built == []


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_unvalidated_builds_it_and_says_so(folder, tmp_path, precision):
    code, said = run(
        *(folder / "m.safetensors", tmp_path / "m.engine"),
        *(f"--precision={precision}", "--unvalidated"),
    )
    assert code == 0, said
    assert f"Not validated: what {precision} costs in accuracy was not measured." in said
    assert accuracy(tmp_path / "m.engine") is None


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_other_precisions_are_built_as_before(folder, tmp_path, precision):
    code, said = run(folder / "m.safetensors", tmp_path / "m.engine", f"--precision={precision}")
    assert code == 0, said
    assert "validated" not in said
    assert accuracy(tmp_path / "m.engine") is None


def test_a_graph_that_was_measured_brings_its_accuracy_along(folder, tmp_path):
    photos = ("--calibrate", folder / "photos", "--validate", folder / "photos")
    code, said = run(
        *(folder / "m.safetensors", tmp_path / "m.onnx", "--precision=int8", *photos),
        command="onnx",
    )
    assert code == 0, said
    measured = dict(open_backend(tmp_path / "m.onnx").info.accuracy)
    code, said = run(tmp_path / "m.onnx", tmp_path / "m.engine")
    assert code == 0, said
    assert accuracy(tmp_path / "m.engine") == {"of": MEASURED_ON, **measured}
    # It holds no float32 to compare with.
    code, said = run(tmp_path / "m.onnx", tmp_path / "n.engine", "--validate", folder / "photos")
    assert code == 1
    assert "is in int8 already, and --validate compares with float32" in said


def test_a_graph_that_was_not_measured_is_gated_like_a_checkpoint(folder, tmp_path):
    run(
        *(folder / "m.safetensors", tmp_path / "m.onnx", "--precision=int8", "--unvalidated"),
        command="onnx",
    )
    before = sha256_of(tmp_path / "m.onnx")
    code, said = run(tmp_path / "m.onnx", tmp_path / "m.engine")
    assert code == 1
    assert "int8 changes answers" in said
    assert run(tmp_path / "m.onnx", tmp_path / "m.engine", "--unvalidated")[0] == 0
    assert sha256_of(tmp_path / "m.onnx") == before


def test_the_accuracy_of_float32_is_not_that_of_a_rounded_engine(folder, tmp_path):
    code, said = run(
        *(folder / "m.safetensors", tmp_path / "m.onnx", "--validate", folder / "photos"),
        command="onnx",
    )
    assert code == 0, said
    assert run(tmp_path / "m.onnx", tmp_path / "m.engine")[0] == 0
    assert accuracy(tmp_path / "m.engine")["top1_error"] == 0.25
    for options in (["--precision=int8", "--unvalidated"], ["--precision=fp16"]):
        assert run(tmp_path / "m.onnx", tmp_path / "r.engine", *options)[0] == 0
        assert accuracy(tmp_path / "r.engine") is None


def test_with_plugins_the_same_graph_without_them_is_measured(folder, tmp_path, built):
    photos = ("--calibrate", folder / "photos", "--validate", folder / "photos")
    code, said = run(
        *(folder / "m.safetensors", tmp_path / "m.engine", "--precision=int8", "--lrn=plugin"),
        *photos,
    )
    assert code == 0, said
    (graph,) = built
    assert {node.domain for node in graph.graph.node} != {""}
    assert accuracy(tmp_path / "m.engine")["photos"] == 8
