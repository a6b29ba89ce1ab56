"""The exported graph of every preset: whole, short, and the same function as PyTorch's."""

import shutil
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from alexnet.backends import open_backend
from alexnet.backends.metadata import info_from_metadata
from alexnet.checkpoint import save_checkpoint
from alexnet.config import PRESETS, DropoutConfig, LRNConfig, PoolConfig, mini, preset
from alexnet.errors import AlexNetError
from alexnet.geometry import layers
from alexnet.photo import load_photo
from export.graph import onnx_model, write_onnx
from tests.models import real_pixels, small, tiny
from tests.photos import imagenet_samples
from train.untrained import untrained

VIEWS = ("ten", "centre")
STANDARD = {
    "Cast", "Concat", "Conv", "Div", "Flatten", "Gemm", "LRN", "MaxPool", "Mul", "Pow",
    "ReduceMean", "Relu", "Reshape", "Slice", "Softmax", "Sub", "Transpose",
}  # fmt: skip


class Exported:
    """A preset's network, and its graphs: ten views with features, and the centre."""

    def __init__(self, checkpoint, folder):
        self.checkpoint, self.folder = checkpoint, folder
        self.opened = {}
        save_checkpoint(checkpoint, folder / "model.safetensors")
        for views in VIEWS:
            write_onnx(checkpoint, self.graph(views), views=views, features=views == "ten")

    def graph(self, views):
        return self.folder / f"{views}.onnx"

    def pair(self, views):
        """The checkpoint and the graph, each with its backend."""
        if views not in self.opened:
            pytorch = open_backend(self.folder / "model.safetensors", views=views)
            self.opened[views] = (pytorch, open_backend(self.graph(views)))
        return self.opened[views]


@contextmanager
def files_of(config, tmp_path_factory):
    """A network's files. One at a time: the full-size ones have three of 244 MB each."""
    folder = tmp_path_factory.mktemp(config.preset)
    exported = Exported(untrained(config, seed=0, scaled=True), folder)
    yield exported
    for backend in [backend for pair in exported.opened.values() for backend in pair]:
        backend.close()
    shutil.rmtree(folder)


# paper at full size; tests/slow has the others so.
@pytest.fixture(scope="module", params=PRESETS)
def exported(request, tmp_path_factory):
    name = request.param
    config = preset(name) if name in ("paper", "mini") else small(name)
    with files_of(config, tmp_path_factory) as exported:
        yield exported


# The answers


def agree(exported, photos, views):
    expected, found = (backend.run(photos) for backend in exported.pair(views))
    # Far from the answer of an untrained network, which would agree with anything.
    classes = exported.checkpoint.config.network.classes
    assert expected.max(axis=1).mean() > 5 / classes
    assert len(set(expected.argmax(axis=1).tolist())) > 1
    assert np.abs(found - expected).max() <= 1e-5
    assert found.argmax(axis=1).tolist() == expected.argmax(axis=1).tolist()


@pytest.mark.parametrize("views", VIEWS)
def test_onnx_runtime_and_pytorch_agree_on_real_photos(exported, views):
    agree(exported, real_pixels(exported.checkpoint.config, 4), views)


def agree_on_samples(exported, views):
    config = exported.checkpoint.config.input
    photos = [load_photo(path, config).pixels for path in imagenet_samples()[::60]]
    agree(exported, np.stack(photos), views)


@pytest.mark.shared
@pytest.mark.parametrize("views", VIEWS)
@pytest.mark.parametrize("exported", ["paper"], indirect=True)
def test_onnx_runtime_and_pytorch_agree_on_imagenet_samples(exported, views):
    agree_on_samples(exported, views)


# The file


@pytest.mark.parametrize("views", VIEWS)
def test_the_graph_passes_onnx_s_full_checks(exported, views):
    onnx.checker.check_model(exported.graph(views), full_check=True)


def test_strict_shape_inference_finds_the_shapes_of_every_layer(exported):
    # Without the weights' values, which shapes do not hang on.
    model = onnx.load(exported.graph("ten"))
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    found = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*model.graph.value_info, *model.graph.output]
    }
    for layer in layers(exported.checkpoint.config)[1:]:
        # Inside of LRN's window two columns are two photos.
        name = f"{layer.name}_joined" if f"{layer.name}_joined" in found else layer.name
        if layer.kind != "dropout" or name in found:
            assert found[name][1:] == list(layer.shape), name
    assert found["probabilities"] == [0, exported.checkpoint.config.network.classes]
    assert found["features"] == [0, exported.checkpoint.config.network.fc7.units]


@pytest.mark.parametrize("views", VIEWS)
def test_a_graph_has_no_more_nodes_than_the_network_has_steps(exported, views):
    """The steps from photos to answers, counted from the config and its layers alone.

    A photo becomes floating point, goes channels first, has its order turned (BGR), its mean taken
    away, its deviation divided by. Each upright view is cut; the ten are put together, mirrored,
    and put together with their mirrors. Each layer is a step, but: LRN inside of two columns parts
    the maps, normalises, and joins them; the same-map normalisation squares, sums, takes the power
    and divides; dropout in use is a step only where it scales. Maps become one row of values. Each
    answer that is averaged is laid out by view, and averaged.
    """
    config = exported.checkpoint.config
    steps = ["float", "channels first", "mean"]
    steps += ["bgr"] if config.input.order == "bgr" else []
    steps += ["std"] if config.input.std_rgb else []
    steps += ["cut"] * 5 + ["together", "mirror", "with mirrors"] if views == "ten" else ["cut"]
    for layer in layers(config)[1:]:
        lrn = next((c.lrn for c in config.network.convs if c.lrn), None)
        if layer.name.startswith("same_map_lrn"):
            steps += ["square", "sum", "power", "divide"]
        elif layer.kind == "lrn" and lrn.within_columns and config.network.columns > 1:
            steps += ["part", "normalise", "join"]
        elif layer.kind != "dropout" or config.network.dropout.scaled == "in_test":
            steps += [layer.name]
    steps += ["one row"]
    steps += ["by view", "average"] * 2 if views == "ten" else []  # probabilities and features

    nodes = onnx.load(exported.graph(views)).graph.node
    assert len(nodes) <= len(steps), [node.name for node in nodes]
    assert {node.op_type for node in nodes} <= STANDARD
    assert {node.domain for node in nodes} == {""}


def test_features_are_pytorch_s_too(exported):
    photos = real_pixels(exported.checkpoint.config, 2)
    (expected, features), (found, found_features) = (
        backend.run_features(photos) for backend in exported.pair("ten")
    )
    assert np.abs(found - expected).max() <= 1e-5
    assert np.abs(found_features - features).max() <= 1e-5 * features.max()


def test_weights_lie_in_the_file_under_their_own_names(exported):
    model = onnx.load(exported.graph("centre"))
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, weight in exported.checkpoint.weights.items():
        assert constants[name].HasField("raw_data"), name
        assert np.array_equal(numpy_helper.to_array(constants[name]), weight.numpy()), name


# One small network for what does not hang on the preset


@pytest.fixture(scope="module")
def checkpoint():
    return untrained(mini(), seed=0, scaled=True)


def run(checkpoint, path, photos, **options):
    write_onnx(checkpoint, path, **options)
    return open_backend(path).run(photos)


def test_nodes_have_readable_names_in_the_order_of_the_layers(checkpoint):
    nodes = [node.name for node in onnx_model(checkpoint).graph.node]
    assert nodes == [
        "photos_float", "channels_first", "minus_mean",
        "view_top_left", "view_top_right", "view_centre", "view_bottom_left", "view_bottom_right",
        "views_upright", "views_mirrored", "views",
        "conv1", "relu1", "lrn1_columns", "lrn1", "lrn1_joined", "pool1",
        "conv2", "relu2", "lrn2_columns", "lrn2", "lrn2_joined", "pool2",
        "conv3", "relu3", "conv4", "relu4", "conv5", "relu5", "pool5", "flat",
        "fc6", "fc6_relu", "dropout6", "fc7", "fc7_relu", "dropout7", "fc8", "softmax",
        "probabilities_by_view", "probabilities",
    ]  # fmt: skip


def test_old_runtimes_can_read_the_graph(checkpoint):
    model = onnx_model(checkpoint)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert model.ir_version == 8


def test_the_batch_is_free_and_everything_else_is_fixed(checkpoint):
    graph = onnx_model(checkpoint, features=True).graph
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*graph.input, *graph.output]
    }
    units = checkpoint.config.network.fc7.units
    assert shapes == {
        "photos": ["batch", 64, 64, 3],
        "probabilities": ["batch", 50],
        "features": ["batch", units],
    }
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_the_metadata_holds_what_the_checkpoint_held(checkpoint, tmp_path):
    model = onnx_model(checkpoint, views="centre", features=True)
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    info = info_from_metadata(metadata, tmp_path, sha256="")
    assert info.config == checkpoint.config
    assert info.labels == checkpoint.labels
    assert (info.views, info.has_features) == ("centre", True)
    assert info.provenance == checkpoint.provenance


def test_the_same_checkpoint_gives_the_same_bytes(checkpoint):
    first, again = (onnx_model(checkpoint).SerializeToString() for _ in range(2))
    assert first == again


def changed(**fields):
    """A tiny network with fields of its first convolution changed."""
    config = tiny()
    network = config.network
    convs = (replace(network.convs[0], **fields), *network.convs[1:])
    config = replace(config, network=replace(network, convs=convs))
    return untrained(config, seed=0, scaled=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"pool": PoolConfig(size=2)},  # 27 of 55 maps' worth of windows, and a half one
        {"pool": PoolConfig(size=2, ceil=False)},
        {"pool": PoolConfig(size=2, stride=3)},
        {"lrn": LRNConfig(size=3, k=1.5, alpha=3e-3, beta=0.6)},
        {"lrn": LRNConfig(window="positions", size=4, alpha=1e-4)},
        {"steps": ("pool", "lrn", "relu")},
        {"pad": (0, 0)},
    ],
    ids=str,
)
def test_every_setting_of_a_layer_is_in_the_graph(tmp_path, fields):
    other = changed(**fields)
    photos = real_pixels(other.config, 4)
    with torch.inference_mode():
        expected = other.classifier("centre")(torch.from_numpy(photos)).numpy()
    found = run(other, tmp_path / "m.onnx", photos, views="centre")
    assert np.abs(found - expected).max() <= 1e-5


@pytest.mark.parametrize(
    "fields",
    [
        {"mean": "centred"},
        {"mean": "centred", "order": "bgr"},
        {"mean": "centred", "std_rgb": (50.0, 60.0, 70.0)},
        {"order": "bgr", "std_rgb": (50.0, 60.0, 70.0)},
        {"mean": "channel", "mean_rgb": (100.0, 110.0, 120.0), "order": "bgr"},
        {"crop": 47},  # the centre is a corner
        {"crop": 48},  # all five are one
    ],
    ids=str,
)
@pytest.mark.parametrize("views", VIEWS)
def test_every_way_into_the_network_is_in_the_graph(tmp_path, fields, views):
    config = tiny(**fields)
    other = untrained(config, seed=0, scaled=True)
    if other.mean is not None:  # uneven, as real ones are
        slope = np.linspace(-40, 40, 48, dtype=np.float32)
        other = replace(other, mean=other.mean + slope[:, None, None] + slope[None, :, None] / 2)
    photos = real_pixels(config, 4)
    with torch.inference_mode():
        expected = other.classifier(views)(torch.from_numpy(photos)).numpy()
    assert np.abs(run(other, tmp_path / "m.onnx", photos, views=views) - expected).max() <= 1e-5


@pytest.mark.parametrize("of", ["inputs", "outputs"])
@pytest.mark.parametrize("scaled", ["in_test", "in_training"])
def test_dropout_s_convention_is_in_the_graph(tmp_path, of, scaled):
    config = tiny()
    dropout = DropoutConfig(rate=0.3, scaled=scaled, of=of)
    config = replace(config, network=replace(config.network, dropout=dropout))
    other = untrained(config, seed=0, scaled=True)
    photos = real_pixels(config, 3)
    with torch.inference_mode():
        expected = other.classifier("centre")(torch.from_numpy(photos)).numpy()
    found = run(other, tmp_path / "m.onnx", photos, views="centre")
    assert np.abs(found - expected).max() <= 1e-5


def test_a_window_of_an_even_number_of_maps_is_refused(tmp_path):
    other = changed(lrn=LRNConfig(size=4))
    with pytest.raises(AlexNetError, match="lrn1 has a window of 4 maps"):
        write_onnx(other, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
