"""Graphs whose views share their first layers: the same function as ten separate crops."""

from dataclasses import replace
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from alexnet.backends import open_backend
from alexnet.checkpoint import save_checkpoint
from alexnet.config import PRESETS, preset
from alexnet.fresh import fresh_checkpoint
from alexnet.geometry import layers
from alexnet.photo import load_photo
from export.by_layer import compare_layers, torch_layers
from export.choices import PLAIN, GraphChoices, choices_for
from export.graph import onnx_model, write_onnx
from export.layer_nodes import Graph, layer_of
from export.nodes import Nodes
from export.precision import half_precision
from export.shared_views import add_shared_views
from export.sharing import PLACES, sharing_of
from export.verify import DifferentModelsError
from tests.export.float64 import values_of
from tests.export.geometries import random_config
from tests.models import real_pixels, tiny
from tests.photos import imagenet_samples
from train.untrained import untrained

SHARED = GraphChoices(views="shared")
EVERY_WAY = GraphChoices(views="shared", lrn="fast", columns="split")


# In float64, against ten separate crops


def thin(name):
    """A preset with about an eighth of its maps, and its photos, kernels and sides.

    alpha is a power of two, which the float32 of a graph holds as exactly as float64 does.
    """
    config = preset(name)
    network = config.network
    convs = tuple(
        replace(
            conv,
            maps=max(conv.maps // 16, 2) * 2,
            lrn=conv.lrn and replace(conv.lrn, alpha=2**-13, alpha_of="sum"),
            same_map_lrn=conv.same_map_lrn
            and replace(conv.same_map_lrn, alpha=2**-14, alpha_of="sum"),
        )
        for conv in network.convs
    )
    fc6, fc7 = replace(network.fc6, units=32), replace(network.fc7, units=24)
    network = replace(network, convs=convs, fc6=fc6, fc7=fc7, classes=20)
    return replace(config, network=network)


def noise(config, count, *, seed=0):
    shape = (count, config.input.size, config.input.size, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def uneven(checkpoint):
    """The checkpoint with a mean image that has no symmetry."""
    if checkpoint.mean is None:
        return checkpoint
    side = np.linspace(-40, 40, len(checkpoint.mean), dtype=np.float32)
    slope = side[:, None, None] + side[None, :, None] ** 2 / 60
    return replace(checkpoint, mean=checkpoint.mean + slope * np.float32([1, 0.7, -0.4]))


def maps_of_views(checkpoint, photos, *, choices=SHARED, worth=float("inf")):
    """The maps at which shared views part, (views, N, ...) in the order of alexnet.views; and the
    name of their layer."""
    config = checkpoint.config
    sharing = sharing_of(config, worth=worth)
    weights = {name: weight.numpy() for name, weight in checkpoint.weights.items()}
    graph = Graph(config=config, weights=weights, nodes=Nodes(), choices=choices)
    name = add_shared_views(graph, sharing, checkpoint.mean)
    values = values_of(graph.nodes.nodes, graph.nodes.constants, photos)
    maps = values[name].unflatten(0, (len(PLACES), 2, len(photos)))
    # A view of the mirror is where the mirrored view was: left is right.
    mirrored = [list(PLACES).index(place) for place in
                ("top_right", "top_left", "centre", "bottom_right", "bottom_left")]  # fmt: skip
    ordered = torch.cat([maps[:, 0], maps[mirrored, 1]])
    return ordered.numpy(), sharing.stages[-1].layers[-1].name


def check(checkpoint, *, count=2, **options):
    photos = noise(checkpoint.config, count)
    found, name = maps_of_views(checkpoint, photos, **options)
    expected = torch_layers(checkpoint.classifier("ten").double(), photos)[name]
    expected = expected.reshape(found.shape)
    assert np.abs(expected).max() > 0
    assert np.abs(found - expected).max() <= 1e-12 * np.abs(expected).max()


GEOMETRIES = [seed for seed in range(60) if sharing_of(random_config(seed), worth=1e9).stages]


@pytest.mark.parametrize("seed", GEOMETRIES[::2])
def test_random_geometries_agree_with_separate_crops_to_rounding(seed):
    checkpoint = uneven(fresh_checkpoint(random_config(seed), seed=seed))
    check(checkpoint, choices=EVERY_WAY if seed % 3 else SHARED)


CENTRED = [seed for seed in range(30) if sharing_of(random_config(seed, mean="centred")).linear]


@pytest.mark.parametrize("seed", CENTRED[:6])
def test_random_geometries_with_a_centred_mean_agree(seed):
    check(uneven(fresh_checkpoint(random_config(seed, mean="centred"), seed=seed)))


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "caffe"])
def test_the_geometry_of_a_preset_agrees_to_rounding(name):
    check(uneven(fresh_checkpoint(thin(name))), worth=0.7, count=1)


@pytest.mark.parametrize("name", ["paper", "net145", "torchvision"])
def test_probabilities_and_features_agree_in_float64(name):
    config = thin(name)
    config = replace(config, input=replace(config.input, size=112, crop=96))
    checkpoint = uneven(untrained(config, seed=0))
    photos = noise(config, 3)
    model = onnx_model(checkpoint, features=True, choices=EVERY_WAY)
    values = values_of(model.graph.node, model.graph.initializer, photos)
    with torch.inference_mode():
        expected = checkpoint.classifier("ten").double().forward_features(torch.from_numpy(photos))
    for output, value in zip(("probabilities", "features"), expected, strict=True):
        assert (values[output] - value).abs().max() <= 1e-12 * value.abs().max()


# In the runtimes


FORMS = {
    "portable": PLAIN,
    "onnxruntime": GraphChoices(
        target="onnxruntime", views="shared", lrn="fast", convolutions="winograd"
    ),
    "openvino": GraphChoices(target="openvino", views="shared", convolutions="winograd"),
    "split": EVERY_WAY,
}


@cache
def scaled(name):
    """A thin preset for smaller photos, scaled; three photos; and PyTorch's answers to them."""
    config = thin(name)
    if config.input.size == 256:  # 64 pixels less leave enough in common
        config = replace(config, input=replace(config.input, size=192, crop=config.input.crop - 64))
    checkpoint = uneven(untrained(config, seed=0, scaled=True))
    photos = real_pixels(checkpoint.config, 3)
    with torch.inference_mode():
        answers = checkpoint.classifier("ten")(torch.from_numpy(photos)).numpy()
    assert answers.max(axis=1).mean() > 4 / answers.shape[1]
    return checkpoint, photos, answers


def agree(run, name):
    _, photos, answers = scaled(name)
    assert np.abs(run(photos) - answers).max() <= 1e-5
    assert np.abs(run(photos[1:2]) - answers[1:2]).max() <= 1e-5


def onnx_runtime(model):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return lambda photos: session.run(None, {"photos": photos})[0]


def openvino(model):
    package = pytest.importorskip("openvino", reason="needs openvino")
    core = package.Core()
    read = core.read_model(model.SerializeToString(), b"")
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda photos: compiled(photos)[0]


# Every pair of preset and form, of preset and runtime, and of form and runtime.
PAIRS = [
    (name, form, (onnx_runtime, openvino)[(row + column) % 2])
    for row, name in enumerate(PRESETS)
    for column, form in enumerate(FORMS)
]


@pytest.mark.parametrize(("name", "form", "runtime"), PAIRS)
def test_a_runtime_and_pytorch_agree_whatever_the_form(name, form, runtime):
    agree(runtime(onnx_model(scaled(name)[0], choices=FORMS[form])), name)


@pytest.fixture(scope="module")
def full():
    """The full network; photos of ImageNet; and PyTorch's answers and features."""
    checkpoint = untrained(preset("paper"), seed=0, scaled=True)
    photos = [load_photo(path, checkpoint.config.input).pixels for path in imagenet_samples()[::99]]
    with torch.inference_mode():
        expected = checkpoint.classifier("ten").forward_features(torch.from_numpy(np.stack(photos)))
    return checkpoint, np.stack(photos), *(values.numpy() for values in expected)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_the_full_network_agrees_on_imagenet_samples(full, target, tmp_path):
    if target == "openvino":
        pytest.importorskip("openvino", reason="needs openvino")
    checkpoint, photos, answers, features = full
    choices = choices_for(target, checkpoint.config)
    write_onnx(checkpoint, tmp_path / "m.onnx", features=True, choices=choices)
    found, found_features = open_backend(tmp_path / "m.onnx").run_features(photos)
    assert np.abs(found - answers).max() <= 1e-5
    assert np.abs(found_features - features).max() <= 1e-5 * features.max()


# The graph


def test_each_weight_is_in_the_file_once():
    checkpoint = scaled("paper")[0]
    constants = onnx_model(checkpoint, choices=SHARED).graph.initializer
    names = [tensor.name for tensor in constants]
    assert len(names) == len(set(names))
    assert set(checkpoint.weights) <= set(names)


def test_strips_of_an_edge_are_one_batch():
    nodes = onnx_model(scaled("paper")[0], choices=SHARED).graph.node
    found = [node.name for node in nodes if layer_of(node.name) == "conv2"]
    assert found == ["conv2", "conv2_top", "conv2_bottom", "conv2_left", "conv2_right"]
    # Those of left and right edges are computed on their side.
    read = {node.name: tuple(node.input[:2]) for node in nodes}
    assert read["conv2_top"] == ("conv2_top_in", "conv2.weight")
    assert read["conv2_left"] == ("conv2_left_lying", "conv2.weight.lying")
    # No view of this preset differs at its beginning.
    found = [node.name for node in nodes if layer_of(node.name) == "conv1"]
    assert found == ["conv1", "conv1_bottom", "conv1_right"]


@pytest.mark.parametrize("name", PRESETS)
def test_the_checker_infers_every_shape(name, tmp_path):
    write_onnx(scaled(name)[0], tmp_path / "m.onnx", choices=EVERY_WAY, features=True)
    model = onnx.load(tmp_path / "m.onnx")
    onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


@pytest.mark.parametrize(
    ("node", "layer"),
    [
        ("conv1", "conv1"),
        ("conv2_left", "conv2"),
        ("conv1_of_mean", "conv1"),
        ("conv4_column2", "conv4"),
        ("conv2_bottom_column1", "conv2"),
        ("same_map_lrn2_top", "same_map_lrn2"),
        ("fc6_relu", "fc6_relu"),
        ("fc8", "fc8"),
        ("softmax", "softmax"),
        ("conv2_columns", None),
        ("conv2_left_in", None),
        ("lrn1_base", None),
        ("lrn1_bottom_squares", None),
        ("pool1_of_centre", None),
        ("views", None),
    ],
)
def test_a_node_s_name_says_which_layer_it_computes(node, layer):
    assert layer_of(node) == layer


def test_every_layer_of_a_shared_graph_is_found_by_the_names_of_its_nodes():
    checkpoint = scaled("paper")[0]
    nodes = onnx_model(checkpoint, choices=EVERY_WAY).graph.node
    found = {layer_of(node.name) for node in nodes} - {None}
    assert found == {layer.name for layer in layers(checkpoint.config)[1:]}
    weighted = {"Conv", "Gemm"}
    for node in nodes:
        reads = [name.split(".")[0] for name in node.input if ".weight" in name]
        if node.op_type in weighted and reads:
            assert reads == [layer_of(node.name)]


@pytest.mark.parametrize("name", ["net145", "mini"])
@pytest.mark.parametrize("choices", [SHARED, EVERY_WAY], ids=["shared", "every way"])
def test_shared_views_in_half_precision(name, choices):
    checkpoint, photos, answers = scaled(name)
    model = half_precision(onnx_model(checkpoint, choices=choices), "fp16")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    # Halves have 11 bits; a probability of 0.5 is rounded by 2e-4, and its logit by some 1e-2.
    assert np.abs(session.run(None, {"photos": photos})[0] - answers).max() <= 0.01


def test_what_can_t_be_shared_is_written_as_plain_views():
    checkpoint = scaled("caffe")[0]
    plain, shared = (onnx_model(checkpoint, choices=choices).graph for choices in (PLAIN, SHARED))
    assert plain == shared


def test_one_view_is_written_as_ever():
    checkpoint = scaled("paper")[0]
    plain, shared = (
        onnx_model(checkpoint, choices=choices, views="centre").graph for choices in (PLAIN, SHARED)
    )
    assert plain == shared


def test_layers_of_shared_views_are_not_compared(tmp_path):

    checkpoint = untrained(tiny(), seed=0)
    save_checkpoint(checkpoint, tmp_path / "m.safetensors")
    write_onnx(checkpoint, tmp_path / "m.onnx", choices=SHARED)
    a, b = (open_backend(tmp_path / name) for name in ("m.safetensors", "m.onnx"))
    with pytest.raises(DifferentModelsError, match="--no-share"):
        compare_layers(a, b, [("photo", noise(checkpoint.config, 1)[0])])
