"""Engines, really built by TensorRT for RTX, which needs no GPU for that; and what is refused."""

import contextlib
import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import onnx
import pytest
from click.testing import CliRunner
from onnx import helper

from alexnet.backends.engine import read_engine
from alexnet.checkpoint import save_checkpoint
from alexnet.config import PRESETS, mini, preset
from alexnet.console import Progress
from alexnet.errors import MissingPackageError
from alexnet.files import sha256_of
from export.cli import main
from export.graph import onnx_model, write_onnx
from export.precision import half_precision
from export.quantize import quantised, quantised_layers
from export.tensorrt import EngineError, EngineOptions, build_engine
from export.tensorrt_monitor import PARTS, Phases, monitor_of
from tests.commands import on_terminal
from tests.models import small
from train.untrained import untrained

RTX = EngineOptions(flavour="rtx", batch=(1, 2, 4))


@pytest.fixture(scope="module")
def rtx():
    """The library; tests that build skip without it."""
    return pytest.importorskip("tensorrt_rtx", reason="needs pip install -e '.[tensorrt-rtx]'")


@pytest.fixture(scope="module")
def checkpoint():
    return untrained(mini(), seed=0, scaled=True)


@pytest.fixture(scope="module")
def model(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("engines") / "model.safetensors"
    save_checkpoint(checkpoint, path)
    return path


def in_precision(graph, precision):
    if precision == "fp32":
        return graph
    if precision == "int8":
        return quantised(graph, dict.fromkeys(quantised_layers(graph), 50.0))
    return half_precision(graph, precision)


def run(*arguments):
    return CliRunner().invoke(main, ["tensorrt", *map(str, arguments)], prog_name="alexnet-export")


# What is built


@pytest.mark.slow
@pytest.mark.parametrize("views", ["ten", "centre"])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_built_in_every_precision(rtx, name, views):
    made = untrained(small(name) if name != "mini" else mini(), seed=0)
    graph = onnx_model(made, views=views, features=views == "ten")
    sizes = {}
    for precision in ("fp32", "fp16", "bf16", "int8"):
        engine = build_engine(in_precision(graph, precision), RTX)
        assert engine.tensorrt == rtx.__version__
        sizes[precision] = len(engine.plan)
    assert sizes["fp32"] > max(sizes["fp16"], sizes["bf16"]) > sizes["int8"] > 10_000


@pytest.mark.slow
def test_a_network_at_full_size_holds_weights_of_its_precision(rtx):
    made = untrained(preset("caffe"), seed=0)
    weights = sum(weight.numel() for weight in made.weights.values())
    graph = onnx_model(made, views="centre")
    for precision, size in (("fp32", 4), ("fp16", 2)):
        plan = build_engine(in_precision(graph, precision), replace(RTX, batch=(1, 1, 1))).plan
        # Apart from weights: the code, and the mean image of 256 x 256.
        assert size * weights < len(plan) < size * weights + 5e6


def test_targets_are_the_library_s_compute_capabilities(rtx, checkpoint):
    graph = onnx_model(checkpoint, views="centre")
    engine = build_engine(graph, replace(RTX, targets=("8.6", "12.0")))
    assert engine.targets == ("8.6", "12.0")
    with pytest.raises(EngineError, match=r"does not build for compute capability 9\.0, only for"):
        build_engine(graph, replace(RTX, targets=("9.0",)))


def test_a_graph_it_cannot_take_gives_the_parser_s_reason(rtx, checkpoint):
    graph = onnx_model(checkpoint, views="centre")
    place = [node.name for node in graph.graph.node].index("fc6_relu")
    graph.graph.node[place].op_type = "Bernoulli"
    with pytest.raises(EngineError, match=r"fc6_relu \(Bernoulli\)") as caught:
        build_engine(graph, RTX)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_what_the_builder_says_is_the_reason(rtx, checkpoint):
    graph = onnx_model(checkpoint, views="centre")
    with pytest.raises(EngineError, match=r"built no engine\. It says: .*Turing"):
        build_engine(graph, replace(RTX, targets=("7.5",)))  # which has no product in float32


# The two files


def test_the_command_writes_an_engine_and_what_it_is(rtx, model, checkpoint, tmp_path):
    target = tmp_path / "deep" / "m.engine"
    options = ("--flavour", "rtx", "--precision", "fp16", "--batch", "1,2,4", "--views", "centre")
    done = run(model, "-o", target, *options, "--features", "--targets", "8.6,8.9")
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert str(target) in done.stderr
    assert sorted(path.name for path in target.parent.iterdir()) == ["m.engine", "m.engine.json"]
    info, facts = read_engine(target)
    assert (info.config, info.labels) == (checkpoint.config, checkpoint.labels)
    assert (info.views, info.precision, info.has_features) == ("centre", "fp16", True)
    assert (facts.flavour, facts.tensorrt, facts.lrn) == ("rtx", rtx.__version__, "native")
    assert (facts.batch, facts.targets) == ((1, 2, 4), ("8.6", "8.9"))
    assert (facts.source, facts.source_sha256) == ("model.safetensors", sha256_of(model))
    assert facts.engine_sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
    text = json.loads((tmp_path / "deep" / "m.engine.json").read_text("utf-8"))
    assert text["graph"]["config"]["preset"] == "mini"
    assert text["versions"]["tensorrt-rtx"] == rtx.__version__


def test_a_graph_is_built_as_it_is(rtx, checkpoint, tmp_path):
    write_onnx(checkpoint, tmp_path / "m.onnx", views="centre")
    done = run(tmp_path / "m.onnx", "-o", tmp_path / "m.engine", "--flavour=rtx", "--batch=3")
    assert done.exit_code == 0, done.output
    info, facts = read_engine(tmp_path / "m.engine")
    assert (info.views, info.precision, facts.batch) == ("centre", "fp32", (3, 3, 3))
    assert facts.source_sha256 == sha256_of(tmp_path / "m.onnx")


def test_int8_is_calibrated_on_real_photos(rtx, model, tmp_path):
    options = ("--flavour=rtx", "--precision=int8", "--batch=1", "--views=centre")
    done = run(model, "-o", tmp_path / "m.engine", *options, "--unvalidated")
    assert done.exit_code == 0, done.output
    assert read_engine(tmp_path / "m.engine")[0].precision == "int8"


def test_nothing_is_written_where_nothing_is_built(rtx, checkpoint, tmp_path):
    graph = onnx_model(checkpoint)
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    # Valid ONNX that TensorRT has no operator for.
    softmax = next(node for node in broken.graph.node if node.op_type == "Softmax")
    softmax.CopyFrom(helper.make_node("Bernoulli", softmax.input, softmax.output, name="softmax"))
    (tmp_path / "m.onnx").write_bytes(broken.SerializeToString())
    done = run(tmp_path / "m.onnx", "-o", tmp_path / "out" / "m.engine", "--flavour=rtx")
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert "softmax (Bernoulli)" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_terminal_shows_how_far_the_build_is(rtx, model, tmp_path):
    drawn = on_terminal(
        "export", "tensorrt", model, "-o", tmp_path / "m.engine", "--flavour=rtx", "--batch=1"
    )
    assert "Building" in drawn


# What is refused before anything is loaded


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--flavour=rtx", "--lrn=plugin"), "no --lrn plugin: it takes no plugins"),
        (("--flavour=rtx", "--version-compatible"), "no --version-compatible"),
        (("--flavour=rtx", "--hardware-compatible=ampere"), "name GPUs with --targets"),
        (("--flavour=rtx", "--timing-cache=t"), "no --timing-cache"),
        (("--targets=8.6",), "--targets is for --flavour rtx"),
        (("--batch=8,1,64",), "in rising order, from 1 on, not 8,1,64"),
        (("--batch=0,1,64",), "not 0,1,64"),
    ],
)
def test_options_that_do_not_go_together_are_a_sentence(model, tmp_path, options, sentence):
    done = run(model, "-o", tmp_path / "m.engine", *options)
    assert done.exit_code == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_a_sentence(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    done = run(model, "-o", tmp_path / "m.engine")
    assert done.exit_code == 1
    assert "pip install -e '.[tensorrt]'" in done.stderr
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(MissingPackageError, match=r"\.\[tensorrt-rtx\]"):
        build_engine(onnx_model(untrained(mini(), seed=0)), RTX)


def test_an_engine_s_name_ends_in_engine(model, tmp_path):
    assert "ends in .engine" in run(model, "-o", tmp_path / "m.plan").stderr
    assert run(model, "-o", tmp_path / "m.engine", "--batch", "1,2").exit_code == 2


# The bar


def test_phases_inside_phases_are_parts_of_a_whole():
    """Two steps, the first of which is four of another phase: worked by hand."""
    phases = Phases()
    seen = []
    phases.start("all", 2)
    seen.append(phases.done)
    phases.start("inner", 4)
    for step in range(3):
        phases.step("inner", step)
        seen.append(phases.done)
    phases.finish("inner")
    phases.start("again", 10)  # a second phase of the same step: the bar does not go back
    seen.append(phases.done)
    phases.finish("again")
    phases.step("all", 0)
    seen.append(phases.done)
    phases.step("all", 1)
    phases.finish("all")
    seen.append(phases.done)
    assert seen == [0, 0.125, 0.25, 0.375, 0.375, 0.5, 1]


class Bar(Progress):
    """Counts what it is moved by."""

    def __init__(self):
        super().__init__(None, None)
        self.at, self.notes = 0, []

    def advance(self, count=1):
        assert count >= 0
        self.at += count

    def note(self, text):
        self.notes.append(text)


def test_the_library_s_own_monitor_fills_the_bar(rtx, checkpoint, monkeypatch):
    bar = Bar()
    monkeypatch.setattr("export.tensorrt.progress", lambda *_, **__: contextlib.nullcontext(bar))
    build_engine(onnx_model(checkpoint, views="centre"), RTX)
    assert bar.at == PARTS
    assert len(set(bar.notes)) > 5


def test_an_interrupt_ends_the_build_in_the_library_and_then_here(rtx, checkpoint, monkeypatch):
    class Interrupted(Bar):
        def note(self, text):
            if text:
                raise KeyboardInterrupt

    monitor = monitor_of(rtx, Interrupted())
    monitor.phase_start("all", None, 3)
    assert monitor.interrupted
    assert monitor.step_complete("all", 0) is False
    bar = Interrupted()
    monkeypatch.setattr("export.tensorrt.progress", lambda *_, **__: contextlib.nullcontext(bar))
    with pytest.raises(KeyboardInterrupt):
        build_engine(onnx_model(checkpoint, views="centre"), RTX)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from export.cli import main\n"
        "try: main(['tensorrt', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'tensorrt', 'tensorrt_rtx', 'triton'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
    assert "--timing-cache" in done.stdout
