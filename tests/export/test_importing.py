"""alexnet-export import: other programs' networks answer as there; misfits are a sentence."""

import argparse
import pickle
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from onnx import numpy_helper
from torch import nn

from alexnet.backends import open_backend
from alexnet.checkpoint import load_checkpoint
from alexnet.config import preset
from alexnet.errors import AlexNetError
from alexnet.files import sha256_of
from alexnet.labels import ilsvrc2012
from export.cli import main
from export.importing import import_model
from tests.alexnet import plain
from tests.export.caffe_files import ALEXNET, CAFFENET, binaryproto, blob, caffemodel, field, layer
from tests.models import real_pixels
from tests.photos import damaged

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"

# Of Caffe's AlexNet [C models/bvlc_alexnet/deploy.prototxt].
SHAPES = {
    "conv1": (96, 3, 11, 11), "conv2": (256, 48, 5, 5), "conv3": (384, 256, 3, 3),
    "conv4": (384, 192, 3, 3), "conv5": (256, 192, 3, 3),
    "fc6": (4096, 9216), "fc7": (4096, 4096), "fc8": (1000, 4096),
}  # fmt: skip


def drawn(shapes):
    """Weights of a size that photos reach the far end with; conv1 sees 0-255."""
    random = np.random.default_rng(0)
    weights = {}
    for name, shape in shapes.items():
        std = 0.01 if name == "conv1" else (2 / np.prod(shape[1:])) ** 0.5
        weights[f"{name}.weight"] = random.standard_normal(shape, dtype=np.float32) * np.float32(
            std
        )
        weights[f"{name}.bias"] = random.standard_normal(shape[0], dtype=np.float32)
    return weights


@pytest.fixture(scope="module")
def weights():
    return drawn(SHAPES)


@pytest.fixture(scope="module")
def small():
    """Layers of the right shapes up to conv4: enough for what goes wrong before."""
    return drawn({name: shape for name, shape in SHAPES.items() if name < "conv5"})


def crops(side):
    """A crop of a photograph, and one whose pixels are noise: (2, 3, side, side), about 0."""
    photo = real_pixels(preset("caffe"), 1)[0, :side, :side].transpose(2, 0, 1) - 120.0
    noise = np.random.default_rng(1).uniform(-100, 100, (3, side, side))
    return torch.from_numpy(np.stack([photo, noise]).astype(np.float32))


def doubles(weights):
    return {name: torch.from_numpy(values).double() for name, values in weights.items()}


def run(*arguments):
    return CliRunner().invoke(main, ["import", *map(str, arguments)], prog_name="alexnet-export")


def refused(source, *sentences, options=()):
    """The command ends with 1 and one line that holds the sentences, and writes nothing."""
    target = source.parent / "refused" / "out.safetensors"
    done = run(source, "-o", target, *options)
    assert done.exit_code == 1, done.output
    assert done.stderr.startswith("alexnet-export: ")
    assert done.stderr.count("\n") == 1
    for sentence in sentences:
        assert sentence in done.stderr
    assert not target.exists()


# Caffe's own files


@pytest.fixture(scope="module")
def from_caffe(weights, tmp_path_factory):
    """A network in today's form, written, imported, saved and loaded again."""
    folder = tmp_path_factory.mktemp("caffe")
    source = folder / "bvlc_alexnet.caffemodel"
    source.write_bytes(caffemodel(weights))
    done = run(source, "-o", folder / "out.safetensors")
    assert done.exit_code == 0, done.output
    assert "caffe" in done.stderr
    assert "227 pixels" in done.stderr
    return load_checkpoint(folder / "out.safetensors"), source, folder / "out.safetensors"


def agree_with_plain(checkpoint, weights, batch):
    expected = plain.forward("caffe", doubles(weights), batch.double())
    with torch.inference_mode():
        found = checkpoint.network()(batch)
    assert expected.std() > 0.3  # an answer that has something to say
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_caffemodel_gives_the_logits_of_the_second_implementation(from_caffe, weights):
    agree_with_plain(from_caffe[0], weights, crops(227))


@pytest.mark.slow
def test_a_caffemodel_of_the_old_form_is_the_same_network(from_caffe, weights, tmp_path):
    source = tmp_path / "old.caffemodel"
    source.write_bytes(caffemodel(weights, form="layers"))
    old = import_model(source)
    assert old.config == from_caffe[0].config
    assert all(np.array_equal(old.weights[name], values) for name, values in weights.items())


def test_the_file_says_that_it_is_the_preset_caffe_with_channel_means(from_caffe):
    checkpoint = from_caffe[0]
    assert checkpoint.config.network == preset("caffe").network
    entry = checkpoint.config.input
    assert (entry.crop, entry.size, entry.order, entry.fit) == (227, 256, "bgr", "warp")
    assert (entry.mean, entry.mean_rgb) == ("channel", (123.0, 117.0, 104.0))
    assert checkpoint.labels == ilsvrc2012()


def test_the_provenance_names_file_kind_and_mean(from_caffe):
    checkpoint, source, _ = from_caffe
    assert checkpoint.provenance["imported"] == {
        "file": "bvlc_alexnet.caffemodel",
        "sha256": sha256_of(source),
        "kind": "Caffe",
    }
    assert "ILSVRC-2012 as Caffe publishes" in checkpoint.provenance["mean"]


def test_photos_enter_as_bgr_less_the_means(from_caffe, weights):
    """By hand: the central 227 of 256 pixels, blue first, less (104, 117, 123)."""
    photos = real_pixels(from_caffe[0].config, 2)
    backend = open_backend(from_caffe[2], views="centre")
    bgr = photos[:, 14:241, 14:241, ::-1].astype(np.float64) - (104, 117, 123)
    by_hand = torch.from_numpy(bgr.transpose(0, 3, 1, 2).copy())
    expected = torch.softmax(plain.forward("caffe", doubles(weights), by_hand), 1).numpy()
    assert np.abs(backend.run(photos) - expected).max() <= 1e-5
    swapped = np.ascontiguousarray(photos[:, :, :, ::-1])
    assert np.abs(backend.run(swapped) - expected).max() > 1e-2


@pytest.mark.slow
def test_caffenet_pools_before_it_normalises_and_is_imported_so(tmp_path):
    zeros = {
        f"{name}.{part}": np.zeros(shape if part == "weight" else shape[:1], np.float32)
        for name, shape in SHAPES.items()
        for part in ("weight", "bias")
    }
    source = tmp_path / "bvlc_reference_caffenet.caffemodel"
    source.write_bytes(caffemodel(zeros, order=CAFFENET))
    convs = import_model(source).config.network.convs
    assert [conv.steps for conv in convs[:2]] == [("relu", "pool", "lrn")] * 2
    # One more layer, all others as they should be.
    zeros |= {"fc9.weight": np.zeros((10, 1000)), "fc9.bias": np.zeros(10)}
    source.write_bytes(caffemodel(zeros, order=(*ALEXNET, "fc9")))
    refused(source, "holds 'fc9.blobs[0]'", "no layer")
    # A hidden layer whose ReLU is gone.
    source.write_bytes(caffemodel(zeros, order=[name for name in ALEXNET if name != "relu7"]))
    refused(source, "behind 'fc7'", "a ReLU")


@pytest.mark.parametrize("form", ["layer", "layers"])
def test_the_first_tensor_that_differs_is_named_with_both_shapes(small, tmp_path, form):
    source = tmp_path / "m.caffemodel"
    order = ALEXNET[:12]
    changed = small | {"conv3.weight": small["conv3.weight"][:, :128]}
    source.write_bytes(caffemodel(changed, form=form, order=order))
    refused(source, "'conv3.blobs[0]'", "(384, 128, 3, 3)", "(384, 256, 3, 3)")
    source.write_bytes(caffemodel(small, form=form, order=order))
    refused(source, "lacks 'conv5.weight'", "(256, 192, 3, 3)")
    without = {name: values for name, values in small.items() if name != "conv2.bias"}
    source.write_bytes(caffemodel(without, form=form, order=order))
    refused(source, "lacks 'conv2.bias'", "(256,)")
    more = {name: np.zeros((384, 192, 3, 3)) for name in ("conv5.weight",)}
    source.write_bytes(caffemodel(small | more, form=form, order=[*order, "relu4", "sigmoid9"]))
    refused(source, "'sigmoid9'", "number 19" if form == "layers" else "Sigmoid")


def test_tensors_of_doubles_and_unpacked_numbers_are_read(tmp_path):
    """What protobuf allows and Caffe may write; the misfit's shape shows that they were read."""
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    shape = field(7, field(1, 2) + field(1, 3))  # not packed either
    single = shape + b"".join(field(5, float(value)) for value in values.ravel())
    source = tmp_path / "m.caffemodel"
    for data in (single, blob(values, number=8, dtype="<f8")):
        body = field(1, "conv1") + field(2, "Convolution") + field(7, data)
        source.write_bytes(field(100, body))
        refused(source, "'conv1.blobs[0]' has the shape (2, 3)")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "lacks 'conv1.weight'"),
        (b"This is no model.\n" * 9, "no whole .caffemodel"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "no whole .caffemodel"),
        (layer("conv1", "Convolution", form="layer")[:-3], "breaks off"),
        (field(2, field(1, b"")), "upgrade_net_proto_binary"),
        (field(100, field(2, "Convolution") + field(7, field(1, 9) + field(5, b"1234"))),
         "1 numbers where the shape (9, 1, 1, 1) is promised"),
    ],
)  # fmt: skip
def test_what_is_no_caffemodel_is_a_sentence(tmp_path, data, sentence):
    (tmp_path / "m.caffemodel").write_bytes(data)
    refused(tmp_path / "m.caffemodel", sentence)


def test_a_caffemodel_cut_anywhere_is_a_sentence(small, tmp_path):
    whole = caffemodel(small, order=ALEXNET[:12])
    for end in np.linspace(1, len(whole) - 1, 12).astype(int):
        (tmp_path / "m.caffemodel").write_bytes(whole[:end])
        refused(tmp_path / "m.caffemodel", "m.caffemodel")


# The mean


def imported_mean(from_caffe, mean):
    return import_model(from_caffe[1], mean=str(mean))


def test_a_mean_image_is_turned_from_bgr_and_kept_whole(from_caffe, tmp_path):
    image = np.random.default_rng(2).uniform(80, 140, (256, 256, 3)).astype(np.float32)
    (tmp_path / "mean.binaryproto").write_bytes(binaryproto(image))
    found = imported_mean(from_caffe, tmp_path / "mean.binaryproto")
    assert np.array_equal(found.mean, image)
    assert (found.config.input.mean, found.config.input.mean_rgb) == ("aligned", None)
    assert "mean.binaryproto" in found.provenance["mean"]
    assert found.config.input == preset("caffe").input


def test_three_numbers_are_the_means_of_red_green_and_blue(from_caffe):
    found = imported_mean(from_caffe, "122.5,116,104")
    assert found.config.input.mean_rgb == (122.5, 116.0, 104.0)
    assert found.mean is None


@pytest.mark.parametrize("mean", ["1,2", "red,green,blue", "1,2,300", "nan,1,2", "mean.npy"])
def test_other_means_are_a_sentence(from_caffe, mean):
    refused(from_caffe[1], f"'{mean}'", "R,G,B", options=["--mean", mean])


def test_mean_images_that_do_not_fit_are_a_sentence(from_caffe, tmp_path):
    path = tmp_path / "mean.binaryproto"
    refused(from_caffe[1], "There is no mean image", options=["--mean", path])
    path.write_bytes(binaryproto(np.zeros((32, 32, 3))))
    refused(from_caffe[1], "32 pixels", "256", options=["--mean", path])
    path.write_bytes(blob(np.zeros((1, 1, 256, 256))))
    refused(from_caffe[1], "(1, 1, 256, 256)", "(1, 3, S, S)", options=["--mean", path])
    path.write_bytes(b"no mean")
    refused(from_caffe[1], "no whole .binaryproto", options=["--mean", path])


# The ONNX model zoo's


@pytest.fixture
def light():
    """ONNX's own copy of the zoo's graph: all its weights are 0.02."""
    return onnx.load(LIGHT / "light_bvlc_alexnet.onnx")


def test_onnx_s_own_test_model_gives_its_expected_output():
    checkpoint = import_model(LIGHT / "light_bvlc_alexnet.onnx")
    expected = onnx.TensorProto()
    expected.ParseFromString((LIGHT / "light_bvlc_alexnet_output_0.pb").read_bytes())
    with torch.inference_mode():
        found = torch.softmax(checkpoint.network()(torch.rand(1, 3, 224, 224)), 1)
    assert np.abs(found.numpy() - numpy_helper.to_array(expected)).max() <= 1e-5
    assert checkpoint.provenance["imported"]["kind"] == "ONNX"


@pytest.mark.slow
def test_the_zoo_s_graph_with_real_weights_gives_onnx_runtime_s_output(light, weights, tmp_path):
    """All equal weights would agree with anything: here each one is another."""
    path = tmp_path / "bvlcalexnet-9.onnx"
    kept = [node for node in light.graph.node if node.op_type != "ConstantOfShape"]
    del light.graph.node[:]
    light.graph.node.extend(kept)
    for name, values in weights.items():
        theirs = name.replace(".weight", "_w_0").replace(".bias", "_b_0")
        light.graph.initializer.append(numpy_helper.from_array(values, theirs))
    onnx.save(light, path)
    checkpoint = import_model(path)
    # What the graph says: 224 pixels give 54 windows, and poolings of 26, 12 and 6.
    assert checkpoint.config.input.crop == 224
    assert [conv.pool.ceil for conv in checkpoint.config.network.convs if conv.pool] == [
        False, False, True,
    ]  # fmt: skip
    session = onnxruntime.InferenceSession(path)
    for batch in crops(224).split(1):
        (expected,) = session.run(None, {"data_0": batch.numpy()})
        with torch.inference_mode():
            found = torch.softmax(checkpoint.network()(batch), 1).numpy()
        assert expected.max() > 5 / 1000
        assert np.abs(found - expected).max() <= 1e-5


def node_of(model, name):
    return next(node for node in model.graph.node if node.name == name)


def set_attribute(model, node, name, value):
    attributes = node_of(model, node).attribute
    kept = [attribute for attribute in attributes if attribute.name != name]
    del attributes[:]
    attributes.extend([*kept, onnx.helper.make_attribute(name, value)])


def set_shape(model, name, shape):
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.array(shape, np.int64), name))


def without_the_last_layer(model):
    del model.graph.node[-2:]


@pytest.mark.parametrize(
    ("change", "sentences"),
    [
        (lambda m: set_shape(m, "conv3_w_0__SHAPE", (384, 128, 3, 3)),
         ["'conv3_w_0' has the shape (384, 128, 3, 3)", "(384, 256, 3, 3)"]),
        (lambda m: set_shape(m, "fc7_b_0__SHAPE", (4095,)),
         ["'fc7_b_0' has the shape (4095,)", "(4096,)"]),
        (without_the_last_layer, ["lacks 'fc8.weight'", "(1000, 4096)"]),
        (lambda m: set_attribute(m, "n14", "pads", [0, 0, 0, 0]),
         ["'fc6_w_0'", "(4096, 9216)", "(4096, 6400)"]),
        (lambda m: set_attribute(m, "n0", "strides", [4, 2]), ["'n0'", "windows"]),
        (lambda m: set_attribute(m, "n0", "strides", [3, 3]), ["'conv1_w_0' has the stride 3"]),
        (lambda m: setattr(node_of(m, "n1"), "op_type", "Tanh"), ["'n1'", "operator Tanh"]),
        (lambda m: m.graph.node.remove(node_of(m, "n9")), ["'n10' reads 'r9' and not 'r8'"]),
        (lambda m: node_of(m, "n0").input.__setitem__(1, "lost"), ["'lost'", "lacks"]),
        (lambda m: m.graph.ClearField("node"), ["lacks 'conv1.weight'"]),
        (lambda m: m.Clear(), ["0 inputs"]),
    ],
)  # fmt: skip
def test_a_graph_that_does_not_fit_is_named_where_it_differs(light, tmp_path, change, sentences):
    change(light)
    (tmp_path / "m.onnx").write_bytes(light.SerializeToString())
    refused(tmp_path / "m.onnx", *sentences)


def test_what_is_no_onnx_model_is_a_sentence(tmp_path):
    whole = (LIGHT / "light_bvlc_alexnet.onnx").read_bytes()
    for data in (whole[: len(whole) // 2], b"no model at all", b"\x89PNG\r\n\x1a\n"):
        (tmp_path / "m.onnx").write_bytes(data)
        refused(tmp_path / "m.onnx", "no whole ONNX model")


# torchvision's


def torchvisions():
    """torchvision's alexnet, layer by layer [TV]."""
    torch.manual_seed(3)
    features = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(3, 2),
    )  # fmt: skip
    classifier = nn.Sequential(
        nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(),
        nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000),
    )  # fmt: skip
    parts = {"features": features, "pool": nn.AdaptiveAvgPool2d(6), "flat": nn.Flatten()}
    return nn.Sequential(nn.ModuleDict(parts | {"classifier": classifier})).eval()[0]


def test_a_state_dict_of_torchvision_gives_its_logits(tmp_path):
    network = torchvisions()
    torch.save(network.state_dict(), tmp_path / "alexnet.pth")
    done = run(tmp_path / "alexnet.pth", "-o", tmp_path / "out.safetensors")
    assert done.exit_code == 0, done.output
    checkpoint = load_checkpoint(tmp_path / "out.safetensors")
    assert checkpoint.config == preset("torchvision")
    assert checkpoint.labels == ilsvrc2012()
    assert checkpoint.provenance["imported"]["kind"] == "torchvision"
    batch = crops(224) / 50
    with torch.inference_mode():
        expected = batch
        for part in network.values():
            expected = part(expected)
        found = checkpoint.network()(batch)
    assert expected.std() > 1e-3
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_that_does_not_fit_is_named_where_it_differs(tmp_path, zipped):
    source = tmp_path / "m.pth"
    state = {"features.0.weight": torch.zeros(64, 3, 11, 11), "features.0.bias": torch.zeros(64)}
    torch.save(state, source, _use_new_zipfile_serialization=zipped)
    refused(source, "lacks 'features.3.weight'", "(192, 64, 5, 5)")
    state |= {"features.3.weight": torch.zeros(256, 48, 5, 5)}
    torch.save(state, source, _use_new_zipfile_serialization=zipped)
    refused(source, "'features.3.weight' has the shape (256, 48, 5, 5)", "(192, 64, 5, 5)")
    torch.save({"epoch": 3, "state_dict": state}, source)
    refused(source, "'features.3.weight' has the shape (256, 48, 5, 5)", "(192, 64, 5, 5)")
    source.write_bytes(source.read_bytes()[:-500])
    refused(source, "m.pth")


def test_a_tensor_too_many_is_named(tmp_path):
    state = torch.nn.ModuleDict(dict(torchvisions())).state_dict()
    torch.save(state | {"aux.weight": torch.zeros(1)}, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", "holds 'aux.weight'")


# What training programs save


OURS = {
    "features.0": "conv1", "features.3": "conv2", "features.6": "conv3", "features.8": "conv4",
    "features.10": "conv5", "classifier.1": "fc6", "classifier.4": "fc7", "classifier.6": "fc8",
}  # fmt: skip
WIDE = {
    "features.0": (64, 3, 11, 11), "features.3": (192, 64, 5, 5), "features.6": (384, 192, 3, 3),
    "features.8": (256, 384, 3, 3), "features.10": (256, 256, 3, 3),
    "classifier.1": (4096, 9216), "classifier.4": (4096, 4096), "classifier.6": (10, 4096),
}  # fmt: skip


def fine_tuned(*, start=1.0, dtype=torch.float32, **shapes):
    """A state dict of ten classes; every tensor has a value of its own, and takes no room."""
    state = {}
    for name, shape in (WIDE | shapes).items():
        for part, size in (("weight", shape), ("bias", shape[:1])):
            value = torch.tensor(start + len(state), dtype=dtype)
            state[f"{name}.{part}"] = value.expand(size)
    return state


def renamed(state, change):
    return {change(name): tensor for name, tensor in state.items()}


def assert_values(checkpoint, *, start=1.0):
    """Each tensor has come to its own layer."""
    assert checkpoint.config.network.classes == 10
    found = {name: w.flatten()[0].item() for name, w in checkpoint.weights.items()}
    names = [f"{OURS[name]}.{part}" for name in WIDE for part in ("weight", "bias")]
    assert found == {name: start + place for place, name in enumerate(names)}


PREFIXES = {
    "bare": lambda name: name,
    "DataParallel": lambda name: f"module.{name}",
    "of the features alone": lambda name: name.replace("features.", "features.module."),
    "compiled": lambda name: f"_orig_mod.{name}",
    "compiled, then distributed": lambda name: f"module._orig_mod.{name}",
    "Lightning": lambda name: f"model.{name}",
    "a class around it": lambda name: f"module.backbone.net.{name}",
}


@pytest.mark.parametrize("change", PREFIXES.values(), ids=PREFIXES)
def test_names_that_a_wrapper_has_changed_are_understood(tmp_path, change):
    torch.save(renamed(fine_tuned(), change), tmp_path / "m.pth")
    assert_values(import_model(tmp_path / "m.pth"))


FILES = {
    "m.pth.tar": lambda state: {
        "epoch": 3,
        "arch": "alexnet",
        "state_dict": renamed(state, PREFIXES["of the features alone"]),
        "best_acc1": torch.tensor(56.5),
        "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(2, 3)}}, "param_groups": [{}]},
    },
    "m.pt": lambda state: {"model": state, "lr_scheduler": {"last_epoch": 3}},
    "m.ckpt": lambda state: {"state_dict": renamed(state, PREFIXES["Lightning"]), "callbacks": {}},
    "m.bin": lambda state: {"model_state": state, "best": np.float64(0.4), "n": np.int64(3)},
    "m.pth": lambda state: {"network": state, "args": argparse.Namespace(lr=0.1, arch="alexnet")},
    "deep.pth": lambda state: {"checkpoint": {"model_state_dict": state, "epoch": 4}},
    "half.pth": lambda state: {name: tensor.half() for name, tensor in state.items()},
    "LOUD.PTH": lambda state: state,
}


@pytest.mark.parametrize("name", FILES)
def test_a_state_dict_is_found_in_what_is_saved_around_it(tmp_path, name):
    torch.save(FILES[name](fine_tuned()), tmp_path / name)
    assert_values(import_model(tmp_path / name))


@pytest.fixture
def averaged(tmp_path):
    """A network and an average of it, as torchvision's own recipe saves them."""
    ema = {"n_averaged": torch.tensor(7)}
    ema |= renamed(fine_tuned(start=101.0), PREFIXES["DataParallel"])
    torch.save({"model": fine_tuned(), "model_ema": ema, "epoch": 3}, tmp_path / "m.pth")
    return tmp_path / "m.pth"


def test_of_several_networks_in_a_file_one_must_be_chosen(averaged):
    refused(averaged, "weights of 2 networks, model, model_ema: choose one with --entry")
    assert_values(import_model(averaged, entry="model"))
    assert_values(import_model(averaged, entry="model_ema"), start=101.0)
    refused(averaged, "no entry 'ema'", "there is model, model_ema", options=("--entry", "ema"))


def test_an_entry_is_only_asked_of_files_that_have_some(tmp_path):
    (tmp_path / "m.onnx").touch()
    refused(tmp_path / "m.onnx", "--entry is for files of PyTorch", options=("--entry", "model"))


def test_two_tensors_for_one_layer_are_named(tmp_path):
    both = fine_tuned() | renamed(fine_tuned(), PREFIXES["DataParallel"])
    torch.save(both, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", "both 'features.0.weight' and 'module.features.0.weight'")
    two = renamed(fine_tuned(), "student.{}".format) | renamed(fine_tuned(), "teacher.{}".format)
    torch.save(two, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", "student.features.0.weight and teacher.features.0.weight")


def test_a_whole_module_is_refused_with_what_to_do(tmp_path):
    torch.save(nn.Conv2d(3, 4, 5), tmp_path / "m.pth")
    refused(tmp_path / "m.pth", "holds code, which is never run; save the network's state_dict()")
    with warnings.catch_warnings(action="ignore"):  # that it goes out of use
        torch.jit.script(nn.ReLU()).save(tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "TorchScript archive", "save the network's state_dict()")


@pytest.mark.parametrize("saved", [[1, 2], {"epoch": 3}, torch.zeros(2), {}, {"x": {1: None}}])
def test_a_file_without_a_network_is_a_sentence(tmp_path, saved):
    torch.save(saved, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", "save the network's state_dict()")


# Names of the classes

TEN = [f"breed {number}" for number in range(10)]


def test_classes_of_a_fine_tuned_network_are_named_by_a_file(tmp_path):
    torch.save(fine_tuned(), tmp_path / "m.pth")
    unnamed = import_model(tmp_path / "m.pth").labels
    assert [label.name for label in unnamed] == [f"class {number}" for number in range(10)]
    (tmp_path / "classes.txt").write_text("\n".join(TEN))
    done = run(
        tmp_path / "m.pth",
        "-o",
        tmp_path / "out.safetensors",
        "--classes",
        tmp_path / "classes.txt",
    )
    assert done.exit_code == 0, done.output
    assert "10 classes" in done.stderr
    labels = load_checkpoint(tmp_path / "out.safetensors").labels
    assert [label.name for label in labels] == TEN


@pytest.mark.parametrize("count", [9, 11])
def test_a_file_of_too_few_or_too_many_classes_is_refused_with_both_numbers(tmp_path, count):
    torch.save(fine_tuned(), tmp_path / "m.pth")
    classes = tmp_path / "classes.txt"
    classes.write_text("\n".join(f"breed {number}" for number in range(count)))
    sentence = f"names {count} classes, and the network has 10 outputs"
    refused(tmp_path / "m.pth", sentence, options=("--classes", classes))
    refused(tmp_path / "m.pth", "No such file", options=("--classes", tmp_path / "none.txt"))


class Code:
    """A pickle that does something when it is read."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("save", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))])
def test_code_in_a_pickle_is_refused_and_never_run(tmp_path, save):
    save({"features.0.weight": Code(tmp_path / "ran")}, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", "holds code, which is never run")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("data", [b"", b"no model at all", b"PK\x03\x04" + bytes(50)])
def test_what_is_no_file_of_pytorch_is_a_sentence(tmp_path, data):
    (tmp_path / "m.pth").write_bytes(data)
    refused(tmp_path / "m.pth", "m.pth is no")


# Damage of every kind


def turned_bits(tmp_path):
    """Small files of each program, cut short and with bits turned in many places."""
    first = {"features.0.weight": torch.zeros(2, 3)}
    torch.save(first, tmp_path / "zipped.pth")
    torch.save(first, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    ones = {
        f"{name}.{part}": np.ones((2,) * (len(shape) if part == "weight" else 1), np.float32)
        for name, shape in SHAPES.items()
        for part in ("weight", "bias")
    }
    (tmp_path / "new.caffemodel").write_bytes(caffemodel(ones))
    (tmp_path / "old.caffemodel").write_bytes(caffemodel(ones, form="layers"))
    for path in sorted(tmp_path.iterdir()):
        for data in damaged(path.read_bytes(), seed=1, cuts=20, flips=100):
            yield path, data


def test_whatever_is_damaged_ends_in_a_sentence(tmp_path):
    for path, data in turned_bits(tmp_path):
        path.write_bytes(data)
        with pytest.raises(AlexNetError, match=path.name):
            import_model(path)


# The command


def test_files_that_no_reader_is_for_are_a_sentence(tmp_path):
    refused(tmp_path / "nothing.onnx", "There is no file")
    (tmp_path / "m.h5").touch()
    refused(tmp_path / "m.h5", ".caffemodel, .onnx, .pth, .pt, .tar, .ckpt, .bin")


def test_the_output_is_a_checkpoint_by_name(tmp_path):
    done = run(LIGHT / "light_bvlc_alexnet.onnx", "-o", tmp_path / "m.onnx")
    assert done.exit_code == 1
    assert "ends in .safetensors" in done.stderr
