"""What FILE.engine.json says is what the graph holds that the engine is built from.

TensorRT itself is not needed for it: here the builder is one that hands back some bytes.
"""

from dataclasses import replace
from types import SimpleNamespace

import onnx
import pytest
from click.testing import CliRunner
from PIL import Image

from alexnet.backends.base import BackendError
from alexnet.backends.engine import EngineFacts, read_engine, write_engine
from alexnet.checkpoint import save_checkpoint
from alexnet.errors import AlexNetError
from export.choices import GraphChoices, choices_for
from export.cli import main
from export.graph import onnx_model, write_onnx
from export.plugin_graph import DOMAIN
from export.source import open_source
from tests.models import real_pixels, tiny
from train.untrained import untrained

SOURCES = ("checkpoint", "portable", "tensorrt", "onnxruntime", "openvino")


@pytest.fixture(scope="module")
def checkpoint():
    return untrained(tiny(), seed=0, scaled=True)


@pytest.fixture(scope="module")
def folder(checkpoint, tmp_path_factory):
    """A checkpoint, its graph for each runtime, and two photos to calibrate on."""
    folder = tmp_path_factory.mktemp("engine-content")
    save_checkpoint(checkpoint, folder / "checkpoint.safetensors")
    for target in SOURCES[1:]:
        choices = choices_for(target, checkpoint.config)
        write_onnx(checkpoint, folder / f"{target}.onnx", choices=choices)
    (folder / "photos").mkdir()
    for number, photo in enumerate(real_pixels(checkpoint.config, 2)):
        Image.fromarray(photo).save(folder / "photos" / f"{number}.png")
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


def build(source, target, *options):
    arguments = ["tensorrt", source, "-o", target, *options]
    done = CliRunner().invoke(main, list(map(str, arguments)), prog_name="alexnet-export")
    return done.exit_code, " ".join(done.stderr.split())


def precision_of(model):
    """By the types of its weights."""
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    if "fc6.weight.int8" in kinds:
        assert {"conv2.weight.int8", "conv5.weight.int8", "fc8.weight.int8"} <= set(kinds)
        return "int8"
    types = {"fp32": "FLOAT", "fp16": "FLOAT16", "bf16": "BFLOAT16"}
    names = {onnx.TensorProto.DataType.Value(kind): name for name, kind in types.items()}
    (kind,) = {kinds[f"{layer}.weight"] for layer in ("conv1", "conv4", "fc6", "fc8")}
    return names[kind]


@pytest.mark.parametrize("lrn", ["native", "plugin"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
@pytest.mark.parametrize("source", SOURCES)
def test_every_source_in_every_precision_is_what_is_recorded_or_refused(
    folder, tmp_path, built, source, precision, lrn
):
    file = folder / f"{source}.{'safetensors' if source == 'checkpoint' else 'onnx'}"
    options = [f"--precision={precision}", f"--lrn={lrn}"]
    if precision == "int8":
        options += ["--calibrate", folder / "photos"]
    if precision in ("int8", "bf16"):
        options.append("--unvalidated")
    code, said = build(file, tmp_path / "m.engine", *options)
    if source in ("onnxruntime", "openvino"):
        assert code == 1
        assert f"was exported for {source}" in said
        assert "--for tensorrt" in said
        assert built == list(tmp_path.iterdir()) == []
        return
    assert code == 0, said
    info, facts = read_engine(tmp_path / "m.engine")
    (graph,) = built
    assert info.precision == precision == precision_of(graph)
    kernels = [node for node in graph.graph.node if node.domain == DOMAIN]
    spelled = [node for node in graph.graph.node if node.op_type == "LRN"]
    assert facts.lrn == lrn
    assert (len(kernels) > 0, len(spelled) > 0) == (lrn == "plugin", lrn == "native")


@pytest.mark.parametrize("made", ["without normalisation", "fast"])
def test_kernels_are_not_recorded_where_they_stand_for_nothing(checkpoint, tmp_path, built, made):
    config, choices = checkpoint.config, GraphChoices(lrn="fast")
    if made == "without normalisation":
        convs = tuple(
            replace(conv, lrn=None, steps=tuple(step for step in conv.steps if step != "lrn"))
            for conv in config.network.convs
        )
        config = replace(config, network=replace(config.network, convs=convs))
        choices = GraphChoices()
    write_onnx(untrained(config, seed=0), tmp_path / "m.onnx", choices=choices)
    code, said = build(tmp_path / "m.onnx", tmp_path / "m.engine", "--lrn=plugin")
    assert code == 1
    assert "has no LRN node that the project's kernel could stand for" in said
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert build(tmp_path / "m.onnx", tmp_path / "m.engine")[0] == 0
    assert len(built) == 1


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_sums_of_winograd_s_are_not_rounded(checkpoint, tmp_path, built, precision):
    choices = GraphChoices(convolutions="winograd")
    write_onnx(checkpoint, tmp_path / "m.onnx", choices=choices)
    options = [f"--precision={precision}", *["--unvalidated"] * (precision != "fp16")]
    code, said = build(tmp_path / "m.onnx", tmp_path / "m.engine", *options)
    assert code == 1
    assert f"Winograd's convolutions, whose sums {precision} would round once more" in said
    assert built == []


def test_a_float32_graph_has_nothing_to_be_validated_against(folder, tmp_path, built):
    code, said = build(
        folder / "portable.onnx", tmp_path / "m.engine", "--validate", folder / "photos"
    )
    assert code == 1
    assert "there is nothing to compare it with" in said
    assert built == []


# One graph where one is enough


def test_int8_calibrates_on_the_centre_of_the_checkpoint_that_was_read(folder, tmp_path):
    """The cheapest graph is written when it is asked for, from the same file or not at all."""
    path = tmp_path / "m.safetensors"
    path.write_bytes((folder / "checkpoint.safetensors").read_bytes())
    source = open_source(path)
    graph = source.calibration_graph()
    expected = onnx_model(untrained(tiny(), seed=0, scaled=True), views="centre")
    assert graph.graph == expected.graph
    centre = open_source(path, views="centre")
    assert centre.calibration_graph() is centre.plain
    save_checkpoint(untrained(tiny(), seed=1), path)
    with pytest.raises(AlexNetError, match="has changed since it was read"):
        source.calibration_graph()


# Two files that belong together


def facts_of(sha256):
    return EngineFacts(
        flavour="rtx",
        tensorrt="1.0",
        batch=(1, 1, 1),
        lrn="native",
        targets=(),
        version_compatible=False,
        hardware="this",
        source="m.onnx",
        source_sha256="",
        engine_sha256=sha256,
    )


def test_a_pair_that_cannot_be_written_leaves_the_pair_before(checkpoint, folder, tmp_path):
    """The engine's name is taken by a folder by the time that both are put in place."""
    path = tmp_path / "m.engine"
    assert build(folder / "portable.onnx", path)[0] == 0
    before = (tmp_path / "m.engine.json").read_bytes()
    path.unlink()
    path.mkdir()
    metadata = {prop.key: prop.value for prop in onnx_model(checkpoint).metadata_props}
    with pytest.raises((OSError, AlexNetError)):
        write_engine(path, b"new", facts=facts_of("new"), metadata=metadata, versions={})
    assert (tmp_path / "m.engine.json").read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["m.engine", "m.engine.json"]
    (tmp_path / "m.engine.json").unlink()
    with pytest.raises((OSError, AlexNetError)):
        write_engine(path, b"new", facts=facts_of("new"), metadata=metadata, versions={})
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.engine"]


def test_where_the_json_cannot_be_written_nothing_is_built(folder, tmp_path, built):
    (tmp_path / "m.engine.json").mkdir()
    code, said = build(folder / "portable.onnx", tmp_path / "m.engine")
    assert code == 1
    assert "m.engine.json" in said
    assert built == []
    with pytest.raises(BackendError):
        read_engine(tmp_path / "m.engine")
