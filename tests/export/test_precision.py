"""Half precision and int8: what is rounded, what is not, and what it does to the answers."""

import tarfile
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import numpy_helper

from alexnet.backends import BackendError, open_backend
from alexnet.checkpoint import save_checkpoint
from alexnet.config import PRESETS, mini
from alexnet.errors import AlexNetError
from alexnet.geometry import layers
from alexnet.photo import load_photo
from export.calibration import calibrated
from export.calibration_photos import calibration_photos
from export.cli import main
from export.graph import onnx_model
from export.precision import half_precision
from export.quantize import quantised, quantised_layers
from export.source import open_source
from tests.models import real_pixels, small
from tests.photos import pattern, sklearn_photos
from train.untrained import untrained

HALF = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}
FLOAT = onnx.TensorProto.FLOAT


@pytest.fixture(scope="module")
def checkpoint():
    return untrained(mini(), seed=0, scaled=True)


@pytest.fixture(scope="module")
def graph(checkpoint):
    return onnx_model(checkpoint, features=True)


@pytest.fixture(scope="module")
def int8(graph, checkpoint):
    ranges = calibrated(graph, list(real_pixels(checkpoint.config, 8)))
    return ranges, quantised(graph, ranges)


def opened(model, path):
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return open_backend(path, threads=1)


def types(model):
    """The type of every value, by strict shape inference."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    return {value.name: value.type.tensor_type.elem_type for value in values}


# Half precision


# Every pair of preset and precision, of preset and views, and of precision and views.
PAIRS = [
    (name, precision, ("ten", "centre")[(row + column) % 2])
    for row, name in enumerate(PRESETS)
    for column, precision in enumerate(("fp16", "bf16"))
]


@pytest.mark.parametrize(("name", "precision", "views"), PAIRS)
def test_layers_are_half_and_everything_around_them_is_not(name, precision, views):
    made = untrained(small(name) if name != "mini" else mini(), seed=0)
    model = half_precision(onnx_model(made, views=views, features=True), precision)
    onnx.checker.check_model(model, full_check=True)
    found = types(model)
    nodes = {node.name: node for node in model.graph.node}
    for layer in layers(made.config)[1:]:
        if layer.name not in nodes:
            continue
        value = nodes[layer.name].output[0]
        half = layer.kind not in ("lrn", "softmax")
        assert found[value] == (HALF[precision] if half else FLOAT), layer.name
    for layer in ("minus_mean", "probabilities", "features"):
        assert found[layer] == FLOAT, layer
    assert found["photos"] == onnx.TensorProto.UINT8
    weights = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert all(weights[name] == HALF[precision] for name in made.weights)
    # A cast where the two meet, and no other: none is followed by another.
    casts = {node.output[0]: node for node in model.graph.node if node.op_type == "Cast"}
    assert not any(node.input[0] in casts for node in casts.values())


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_weights_are_rounded_to_the_nearest(graph, checkpoint, precision):
    """Against PyTorch's rounding, bit for bit."""
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    model = half_precision(graph, precision)
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, weight in checkpoint.weights.items():
        bits = np.frombuffer(found[name].raw_data, np.int16)
        expected = weight.to(dtype).view(torch.int16).numpy()
        assert np.array_equal(bits.reshape(expected.shape), expected), name


def test_onnx_runtime_runs_float16_near_to_float32(graph, checkpoint, tmp_path):
    photos = real_pixels(checkpoint.config, 6)
    exact = opened(graph, tmp_path / "exact.onnx")
    half = opened(half_precision(graph, "fp16"), tmp_path / "half.onnx")
    (p, f), (q, g) = exact.run_features(photos), half.run_features(photos)
    assert q.dtype == g.dtype == np.float32
    assert half.info.precision == "fp16"
    assert 0 < np.abs(p - q).max() < 5e-3
    assert np.abs(f - g).max() < 5e-3 * f.max()
    assert p.argmax(1).tolist() == q.argmax(1).tolist()


def test_onnx_runtime_on_the_cpu_says_that_it_has_no_bfloat16(graph, tmp_path):
    with pytest.raises(BackendError, match=r"no code for on this device.*Conv"):
        opened(half_precision(graph, "bf16"), tmp_path / "m.onnx")


def test_a_weight_past_float16_is_named(checkpoint):
    weights = checkpoint.weights | {"fc6.bias": checkpoint.weights["fc6.bias"] + 70_000}
    model = onnx_model(replace(checkpoint, weights=weights))
    with pytest.raises(AlexNetError, match=r"'fc6\.bias' holds 7\.\d+e\+04.*take bf16"):
        half_precision(model, "fp16")
    half_precision(model, "bf16")


def test_the_graph_that_was_given_is_left_alone(graph):
    before = graph.SerializeToString()
    half_precision(graph, "fp16")
    quantised(graph, dict.fromkeys(quantised_layers(graph), 1.0))
    assert graph.SerializeToString() == before


# int8


def test_every_layer_but_the_first_is_int8(graph, int8):
    ranges, model = int8
    wanted = ["conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
    assert list(quantised_layers(graph)) == wanted == list(ranges)
    producer = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            rounded = [producer[name].op_type == "DequantizeLinear" for name in node.input[:2]
                       if name in producer]  # fmt: skip
            layer = node.name.removesuffix("_product")
            assert rounded == ([True, True] if layer in wanted else [False]), node.name


def largest_sum_of_neighbours(row):
    """The largest sum of two weights of one sign at inputs 0 and 1, 2 and 3, ...; row: (I, ...)."""
    pairs = [(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)]
    sums = [np.abs(a + b)[np.sign(a) == np.sign(b)] for a, b in pairs]
    return max((one.max() for one in sums if one.size), default=0)


def test_int8_is_symmetric_and_weights_have_a_scale_for_each_channel(int8, checkpoint):
    """Levels and scales against arithmetic on the checkpoint's weights: the largest weight is 127
    levels, or two neighbours of one sign are together, for sums of two products in 16 bits."""
    _, model = int8
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name in ("conv2.weight", "fc6.weight", "fc8.weight"):
        weight = checkpoint.weights[name].double().numpy()
        levels, scales = found[f"{name}.int8"], found[f"{name}.scales"]
        rows = weight.reshape(len(weight), -1)
        largest = [
            max(np.abs(row).max(), largest_sum_of_neighbours(row.reshape(weight.shape[1], -1)))
            for row in rows
        ]
        np.testing.assert_allclose(scales, np.array(largest) / 127, rtol=1e-6)
        assert np.abs(levels).max() <= 127
        back = levels * scales.reshape(-1, *(1,) * (levels.ndim - 1))
        assert (np.abs(back - weight).reshape(len(weight), -1).max(1) <= scales * 0.5001).all()
    zeros = [value for name, value in found.items() if name.endswith((".zero", ".zeros"))]
    assert zeros
    assert all(value.dtype == np.int8 and not value.any() for value in zeros)


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_ranges_come_from_the_values_on_the_photos(graph, checkpoint, method):
    """Of what enters fc6, by PyTorch: clipped near the largest values, never above."""
    photos = list(real_pixels(checkpoint.config, 8))
    ranges = calibrated(graph, photos, method=method)
    seen = []
    classifier = checkpoint.classifier("ten")
    fc6 = classifier.network.get_submodule("fc6")
    fc6.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        classifier(torch.from_numpy(np.stack(photos)))
    (values,) = seen
    assert ranges["fc6"] <= 1.01 * float(values.max())
    quantile = float(torch.quantile(values.flatten()[:1_000_000], 0.99))
    assert ranges["fc6"] >= 0.9 * quantile


def test_int8_answers_are_near_and_stay_probabilities(graph, int8, checkpoint, tmp_path):
    photos = real_pixels(checkpoint.config, 8)
    exact, rounded = opened(graph, tmp_path / "a.onnx"), opened(int8[1], tmp_path / "b.onnx")
    p, q = exact.run(photos), rounded.run(photos)
    assert rounded.info.precision == "int8"
    np.testing.assert_allclose(q.sum(axis=1), 1, atol=1e-5)
    assert 1e-6 < np.abs(p - q).max() < 0.1
    assert (p.argmax(1) == q.argmax(1)).mean() >= 0.75
    assert (tmp_path / "b.onnx").stat().st_size < 0.35 * (tmp_path / "a.onnx").stat().st_size


def test_a_network_without_a_scale_is_a_sentence(graph, checkpoint):
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    for tensor in model.graph.initializer:
        if tensor.name in ("fc6.weight", "fc6.bias"):
            dead = -np.ones(tuple(tensor.dims), np.float32)
            tensor.CopyFrom(numpy_helper.from_array(dead, tensor.name))
    with pytest.raises(AlexNetError, match=r"What enters fc7 reaches 0 .* take other photos"):
        calibrated(model, list(real_pixels(checkpoint.config, 2)))
    with pytest.raises(AlexNetError, match="no photos to calibrate on"):
        calibrated(graph, [])


# Photos to calibrate on


def test_a_data_set_gives_its_training_photos_evenly_spread(tmp_path):
    (tmp_path / "dataset.json").write_text("{}")
    shades = []
    for shard in range(3):
        with tarfile.open(tmp_path / f"train-{shard:06}.tar", "w") as tar:
            for number in range(10):
                shade = 20 * shard + 2 * number
                path = tmp_path / "photo"
                pattern(64, 64).point([shade] * 768).save(path, "PNG")
                tar.add(path, f"{shard}{number}.jpg")
                shades.append(shade)
    found = calibration_photos(tmp_path, mini().input, count=6)
    assert [int(photo[0, 0, 0]) for photo in found] == [0, 10, 20, 30, 40, 50]
    assert len(calibration_photos(tmp_path, mini().input)) == 30
    whole = (tmp_path / "train-000001.tar").read_bytes()
    (tmp_path / "train-000001.tar").write_bytes(whole[:3000])
    with pytest.raises(AlexNetError, match=r"train-000001\.tar is damaged.*prepare"):
        calibration_photos(tmp_path, mini().input)


def test_a_folder_gives_its_photos_and_nothing_gives_scikit_learn_s():
    folder = sklearn_photos()[0].parent
    config = mini().input
    (found, *_) = calibration_photos(folder, config, count=5)
    assert np.array_equal(found, load_photo(folder / "china.jpg", config).pixels)
    assert len(calibration_photos(None, config)) > 50


# Sources and the command


def test_a_graph_that_is_rounded_already_is_not_rounded_again(graph, checkpoint, tmp_path):
    path = tmp_path / "half.onnx"
    path.write_bytes(half_precision(graph, "fp16").SerializeToString())
    source = open_source(path)
    assert source.in_precision("fp16") is source.in_precision(None) is source.plain
    with pytest.raises(AlexNetError, match="is in fp16 already and can't be made int8"):
        source.in_precision("int8")
    with pytest.raises(BackendError, match="--views centre"):
        open_source(path, views="centre")
    with pytest.raises(AlexNetError, match="no checkpoint"):
        open_source(tmp_path / "m.pb")


def test_the_command_writes_each_precision(checkpoint, tmp_path):
    save_checkpoint(checkpoint, tmp_path / "m.safetensors")
    for precision, sentence in (("fp16", ""), ("bf16", "no bf16 convolutions"), ("int8", "")):
        target = tmp_path / f"{precision}.onnx"
        arguments = ["onnx", tmp_path / "m.safetensors", "-o", target, "--precision", precision]
        photos = ["--calibrate", sklearn_photos()[0].parent] if precision == "int8" else []
        photos += [] if precision == "fp16" else ["--unvalidated"]
        done = CliRunner().invoke(main, [*map(str, arguments), *map(str, photos)])
        assert done.exit_code == 0, done.output
        assert done.stdout == ""
        assert sentence in done.stderr
        props = {prop.key: prop.value for prop in onnx.load(target).metadata_props}
        assert props["precision"] == precision
