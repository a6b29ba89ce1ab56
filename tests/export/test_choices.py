"""How a graph is written for a runtime, and what can be chosen otherwise."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from alexnet.backends import open_backend
from alexnet.backends.metadata import info_of_model
from alexnet.checkpoint import save_checkpoint
from alexnet.config import caffe, mini, paper, six_conv, torchvision
from alexnet.errors import AlexNetError
from export.choices import PLAIN, choices_for
from export.cli import main
from export.graph import onnx_model
from export.source import open_source
from tests.models import real_pixels, tiny
from train.untrained import untrained


def form(choices):
    return choices.views, choices.lrn, choices.columns, choices.convolutions


def test_portable_is_plain_and_standard():
    assert choices_for("portable", paper()) == PLAIN
    assert form(PLAIN) == ("plain", "standard", "grouped", "direct")


def test_each_runtime_gets_what_is_fast_there():
    fast = ("shared", "fast", "grouped", "winograd")
    assert form(choices_for("onnxruntime", paper())) == fast
    assert form(choices_for("tensorrt", paper())) == ("plain", "standard", "grouped", "direct")
    own = ("shared", "standard", "grouped", "winograd")
    assert form(choices_for("openvino", torchvision())) == own


def test_openvino_s_own_lrn_is_taken_where_windows_cross_columns():
    assert choices_for("openvino", caffe()).lrn == "standard"
    assert choices_for("openvino", paper()).lrn == "fast"


def test_int8_in_openvino_splits_the_columns():
    assert choices_for("openvino", paper(), precision="int8").columns == "split"
    assert choices_for("onnxruntime", paper(), precision="int8").columns == "grouped"


@pytest.mark.parametrize("precision", ["bf16", "fp16", "int8"])
@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_rounded_values_are_not_summed_before_a_convolution(target, precision):
    assert choices_for(target, paper(), precision=precision).convolutions == "direct"
    assert choices_for(target, paper(), precision="fp32").convolutions == "winograd"


def test_networks_of_few_maps_keep_their_convolutions():
    assert choices_for("openvino", mini()).convolutions == "direct"
    assert choices_for("openvino", six_conv()).convolutions == "winograd"
    found = choices_for("openvino", mini(), convolutions="winograd")
    assert found.convolutions == "winograd"


def test_what_is_chosen_stays():
    found = choices_for("openvino", paper(), share=False, lrn="standard", columns="split")
    assert form(found) == ("plain", "standard", "split", "winograd")
    found = choices_for("portable", paper(), share=True)
    assert form(found) == ("shared", "standard", "grouped", "direct")
    found = choices_for("openvino", paper(), convolutions="direct")
    assert found == replace(choices_for("openvino", paper()), convolutions="direct")
    assert choices_for("portable", paper(), convolutions="winograd") == replace(
        PLAIN, convolutions="winograd"
    )


@pytest.mark.parametrize("target", ["portable", "onnxruntime", "openvino", "tensorrt"])
def test_the_file_says_which_runtime_it_is_for(target):
    checkpoint = untrained(tiny(), seed=0)
    model = onnx_model(checkpoint, choices=choices_for(target, checkpoint.config))
    assert info_of_model(model).target == target


def test_split_columns_are_a_convolution_each():
    nodes = onnx_model(untrained(tiny(), seed=0), choices=replace(PLAIN, columns="split")).graph
    convs = [node.name for node in nodes.node if node.op_type == "Conv"]
    of_columns = [f"conv{number}_column{column}" for number in (4, 5) for column in (1, 2)]
    assert convs == ["conv1", "conv2_column1", "conv2_column2", "conv3", *of_columns]
    groups = [a.i for node in nodes.node for a in node.attribute if a.name == "group"]
    assert set(groups) <= {1}


# The command


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("choices") / "model.safetensors"
    save_checkpoint(untrained(mini(), seed=0), path)
    return path


def export(model, path, *options):
    done = CliRunner().invoke(main, ["onnx", str(model), "-o", str(path), *options])
    return done.exit_code, " ".join(done.stderr.split())


def names(path: Path):
    return {node.name for node in onnx.load(path).graph.node}


def test_the_command_says_what_the_views_share_and_why_not_more(model, tmp_path):
    code, said = export(model, tmp_path / "m.onnx", "--for", "onnxruntime")
    assert code == 0
    assert "The views share conv1 (39 % of its work is left) and conv2 (53 %" in said
    assert "of conv3 82 % would be left" in said
    assert {"conv2_top", "lrn1_base"} <= names(tmp_path / "m.onnx")


def test_without_a_runtime_the_graph_is_plain(model, tmp_path):
    code, said = export(model, tmp_path / "m.onnx")
    assert code == 0
    assert "share" not in said
    assert len(names(tmp_path / "m.onnx")) == 43 - 2  # test_graph names them


@pytest.mark.parametrize(
    ("options", "there", "missing"),
    [
        (["--share"], "conv1_top", "lrn1_base"),
        (["--for=onnxruntime", "--no-share"], "lrn1_base", "conv1_top"),
        (["--lrn=fast"], "lrn1_base", "conv1_top"),
        (["--for=onnxruntime", "--lrn=standard"], "conv1_top", "lrn1_base"),
        (["--columns=split"], "conv2_column1", "conv1_top"),
        (["--for=openvino", "--views=centre"], "lrn1_base", "conv1_top"),
        (["--for=openvino", "--views=centre"], "conv3", "conv3_product_00"),
        (["--for=openvino", "--precision=bf16", "--unvalidated"], "conv3", "conv3_product_00"),
        (["--for=openvino"], "conv3", "conv3_product_00"),
        (["--for=openvino", "--convolutions=winograd"], "conv3_product_00", "conv3"),
        (["--convolutions=winograd"], "conv3_product_00", "conv3"),
    ],
    ids=str,
)
def test_each_choice_is_an_option(model, tmp_path, options, there, missing):
    assert export(model, tmp_path / "m.onnx", *options)[0] == 0
    assert there in names(tmp_path / "m.onnx")
    assert missing not in names(tmp_path / "m.onnx")


def test_one_view_can_t_share(model, tmp_path):
    code, said = export(model, tmp_path / "m.onnx", "--share", "--views=centre")
    assert code == 1
    assert "One view has none to share with" in said
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(
    "options",
    [["--views=centre"], ["--views=dense"], ["--precision=fp16"], ["--precision=int8"]],
    ids=str,
)
def test_winograd_s_convolutions_are_for_ten_views_in_fp32(model, tmp_path, options):
    code, said = export(model, tmp_path / "m.onnx", "--convolutions=winograd", *options)
    assert code == 1
    assert "Winograd's convolutions are for ten views in fp32" in said
    assert not (tmp_path / "m.onnx").exists()


def for_openvino(model):
    return open_source(model, choose=lambda config: choices_for("openvino", config))


def test_bf16_for_openvino_is_the_runtime_s_own_rounding(model):
    source = for_openvino(model)
    rounded = source.in_precision("bf16")
    assert rounded.graph == source.plain.graph
    assert info_of_model(rounded).precision == "bf16"
    assert info_of_model(source.plain).precision == "fp32"


def test_openvino_has_no_fp16_on_cpus(model):
    with pytest.raises(AlexNetError, match="take fp32, bf16 or int8"):
        for_openvino(model).in_precision("fp16")


# Windows of an even number of maps, which ONNX's operator centres on another map


def with_windows_of_four(columns):
    config = tiny()
    convs = tuple(
        conv if conv.lrn is None else replace(conv, lrn=replace(conv.lrn, size=4))
        for conv in config.network.convs
    )
    return replace(config, network=replace(config.network, convs=convs, columns=columns))


@pytest.mark.parametrize("target", ["portable", "onnxruntime", "openvino", "tensorrt"])
@pytest.mark.parametrize("columns", [1, 2])
def test_an_even_window_is_written_for_every_runtime_and_answers_as_pytorch(
    tmp_path, target, columns
):
    checkpoint = untrained(with_windows_of_four(columns), seed=0, scaled=True)
    source, graph = tmp_path / "model.safetensors", tmp_path / "model.onnx"
    save_checkpoint(checkpoint, source)
    code, said = export(source, graph, f"--for={target}")
    assert code == 0, said
    photos = real_pixels(checkpoint.config, 2)
    found = open_backend(graph, backend="onnxruntime").run(photos)
    np.testing.assert_allclose(found, open_backend(source).run(photos), atol=1e-5)


def test_the_standard_operator_is_still_refused_where_it_is_asked_for(tmp_path):
    save_checkpoint(untrained(with_windows_of_four(1), seed=0), tmp_path / "model.safetensors")
    code, said = export(
        tmp_path / "model.safetensors", tmp_path / "m.onnx", "--for=openvino", "--lrn=standard"
    )
    assert code == 1
    assert "take an odd size, or --lrn fast" in said
