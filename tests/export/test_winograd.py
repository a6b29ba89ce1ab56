"""3x3 convolutions by Winograd's smaller ones: the same function as the convolutions themselves."""

import random
from dataclasses import replace
from itertools import product

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from alexnet.backends import open_backend
from alexnet.checkpoint import save_checkpoint
from alexnet.config import PRESETS, ConvConfig, LRNConfig, PoolConfig, mini, preset
from alexnet.errors import AlexNetError
from alexnet.geometry import layers
from export.by_layer import compare_layers, first_different
from export.choices import PLAIN, GraphChoices
from export.graph import onnx_model, write_onnx
from export.layer_nodes import Graph
from export.nodes import Nodes
from export.precision import half_precision
from export.source import open_source
from export.winograd import add_chain, chain_of
from tests.export.float64 import values_of
from tests.models import real_pixels, small, tiny, with_tanh
from train.untrained import untrained

WINOGRAD = replace(PLAIN, convolutions="winograd")
FORMS = {
    "plain": WINOGRAD,
    "plain, split": replace(WINOGRAD, columns="split"),
    "shared": replace(WINOGRAD, views="shared"),
    "shared, fast, split": GraphChoices(
        target="onnxruntime", views="shared", lrn="fast", columns="split", convolutions="winograd"
    ),
}
FIRST = ConvConfig(maps=4, kernel=1, reads="all", steps=())


def with_convs(*convs, side=13, columns=2):
    """Small convolutions on maps of one side; the first one is of 1x1 kernels."""
    base = mini()
    given = replace(base.input, size=side + 2, crop=side)
    network = replace(base.network, convs=(FIRST, *convs), columns=columns)
    return replace(base, input=given, network=network)


def conv3(maps=6, *, kernel=3, pad=(1, 1), **fields):
    return ConvConfig(maps=maps, kernel=kernel, pad=pad, **fields)


# In float64, against torch's convolution


def exact_weights(config, seed):
    """Eighths: float32 holds their sums, halves of these, and sums of those exactly."""
    drawn = np.random.default_rng(seed)
    found, reads = {}, FIRST.maps
    for layer in layers(config)[2:]:
        if layer.kind == "conv":
            conv = config.network.convs[layer.conv]
            shape = (conv.maps, reads // layer.groups, conv.kernel, conv.kernel)
            for of, sizes in (("weight", shape), ("bias", (conv.maps,))):
                values = drawn.integers(-16, 17, sizes) / 8
                found[f"{layer.name}.{of}"] = values.astype(np.float32)
            reads = conv.maps
    return found


def of_torch(config, chain, weights, maps):
    """The layers of a chain by their definitions."""
    value = torch.from_numpy(maps)
    for layer in chain:
        if layer.kind == "conv":
            weight, bias = (
                torch.from_numpy(weights[f"{layer.name}.{of}"]).double()
                for of in ("weight", "bias")
            )
            value = F.conv2d(value, weight, bias, padding=1, groups=layer.groups)
        elif layer.kind == "pool":
            ceil = config.network.convs[layer.conv].pool.ceil
            value = F.max_pool2d(value, 3, 2, ceil_mode=ceil)
        else:
            value = {"relu": torch.relu, "tanh": torch.tanh}[layer.kind](value)
    return value


def check(config, *, columns="grouped", photos=2, seed=0):
    following = layers(config)[2:]
    last = next(place for place, layer in enumerate(following) if layer.conv is None)
    chain = chain_of(config, following)
    assert chain == following[:last]
    weights = exact_weights(config, seed)
    choices = replace(WINOGRAD, columns=columns)
    graph = Graph(config=config, weights=weights, nodes=Nodes(), choices=choices)
    side = config.input.crop
    name = add_chain(graph, chain, "photos", side=side)
    assert name == chain[-1].name
    maps = np.random.default_rng(seed + 1).normal(size=(photos, FIRST.maps, side, side)) - 0.5
    found = values_of(graph.nodes.nodes, graph.nodes.constants, maps)[name]
    expected = of_torch(config, chain, weights, maps)
    assert expected.shape[1:] == chain[-1].shape
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


@pytest.mark.parametrize("pool", [None, PoolConfig(ceil=True), PoolConfig(ceil=False)], ids=str)
@pytest.mark.parametrize("side", [*range(3, 10), 13, 14])
def test_every_side_gives_torch_s_values_in_float64(side, pool):
    steps = ("relu", "pool") if pool else ("relu",)
    first = conv3(reads="all")
    check(with_convs(first, conv3(8), conv3(4, steps=steps, pool=pool), side=side))


@pytest.mark.parametrize("side", [1, 2])
def test_maps_of_a_single_tile_do_too(side):
    check(with_convs(conv3(), conv3(4), side=side))


@pytest.mark.parametrize("seed", range(24))
def test_random_chains_give_torch_s_values_in_float64(seed):
    drawn = random.Random(seed)
    count = drawn.randint(1, 4)
    convs = [
        conv3(
            drawn.choice((2, 4, 6)),
            reads=drawn.choice(("all", "column")),
            steps=drawn.choice(((), ("relu",), ("tanh",))),
        )
        for _ in range(count)
    ]
    side = drawn.randint(3, 12)
    if seed % 2:
        pool = PoolConfig(ceil=drawn.random() < 0.5)
        convs[-1] = replace(convs[-1], steps=(*convs[-1].steps, "pool"), pool=pool)
    config = with_convs(*convs, side=side, columns=drawn.choice((1, 2)))
    columns = drawn.choice(("grouped", "split"))
    check(config, columns=columns, photos=drawn.randint(1, 3), seed=seed)


# Where a chain ends


def chain_names(*convs):
    config = with_convs(*convs)
    return [layer.name for layer in chain_of(config, layers(config)[2:])]


def test_a_chain_goes_to_the_pooling():
    assert chain_names(conv3(), conv3(4, steps=("relu", "pool"), pool=PoolConfig()), conv3()) == [
        "conv2", "relu2", "conv3", "relu3", "pool3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        conv3(kernel=5, pad=(2, 2)),
        conv3(pad=(0, 0)),
        conv3(pad=(0, 2)),
        conv3(stride=2),
        conv3(kernel=1, pad=(0, 0)),
    ],
    ids=lambda conv: f"{conv.kernel}x{conv.kernel} stride {conv.stride} pad {conv.pad}",
)
def test_other_convolutions_stay_as_they_are(other):
    assert chain_names(conv3(), other) == ["conv2", "relu2"]
    assert chain_names(other, conv3()) == []


def test_a_normalisation_or_another_pooling_ends_a_chain_before_it():
    lrn = conv3(steps=("relu", "lrn"), lrn=LRNConfig())
    assert chain_names(conv3(), lrn, conv3()) == ["conv2", "relu2", "conv3", "relu3"]
    pooled = conv3(steps=("relu", "pool"), pool=PoolConfig(size=2))
    assert chain_names(pooled, conv3()) == ["conv2", "relu2"]


def test_a_network_without_such_convolutions_is_written_as_ever():
    config = tiny()
    convs = tuple(
        replace(conv, kernel=5, pad=(2, 2)) if conv.kernel == 3 else conv
        for conv in config.network.convs
    )
    checkpoint = untrained(replace(config, network=replace(config.network, convs=convs)), seed=0)
    assert same_graph(checkpoint)


@pytest.mark.parametrize("views", ["centre", "dense"])
def test_one_view_is_written_as_ever(views):
    checkpoint = untrained(tiny(), seed=0)
    assert same_graph(checkpoint, views=views)
    assert not same_graph(checkpoint)


def same_graph(checkpoint, **options):
    direct, by_tiles = (
        onnx_model(checkpoint, choices=choices, **options) for choices in (PLAIN, WINOGRAD)
    )
    return direct == by_tiles


# Whole networks in the runtimes


# Every network once, and every pair of form and runtime. Other pairs are in test_shared_views.
NETWORKS = (*PRESETS, "tanh")
ROWS = [
    (name, tuple(FORMS)[row % len(FORMS)], ("onnxruntime", "openvino")[row // len(FORMS) % 2])
    for row, name in enumerate(NETWORKS)
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form", "runtime"), ROWS)
def test_runtimes_and_pytorch_agree(name, form, runtime, tmp_path):
    pytest.importorskip(runtime, reason=f"{runtime} is not installed")
    config = with_tanh(small("paper")) if name == "tanh" else small(name)
    checkpoint = untrained(config, seed=0, scaled=True)
    photos = real_pixels(config, 3)
    with torch.inference_mode():
        answers = checkpoint.classifier("ten")(torch.from_numpy(photos)).numpy()
    assert answers.max(axis=1).mean() > 3 / answers.shape[1]
    model = write_onnx(checkpoint, tmp_path / "m.onnx", choices=FORMS[form])
    # Of so narrow a `mini` the views share conv3, too, and it stays one node.
    assert any(node.name.endswith("_product_33") for node in model.graph.node)
    backend = open_backend(tmp_path / "m.onnx", backend=runtime)
    assert np.abs(backend.run(photos) - answers).max() <= 1e-5
    assert np.abs(backend.run(photos[1:2]) - answers[1:2]).max() <= 1e-5
    backend.close()


def test_every_form_is_run_in_both_runtimes():
    assert {row[1:] for row in ROWS} == set(product(FORMS, ("onnxruntime", "openvino")))


def test_conv6_has_no_pooling_and_its_maps_lie_side_by_side_again():
    checkpoint = untrained(small("six_conv"), seed=0)
    names = {node.name for node in onnx_model(checkpoint, choices=WINOGRAD).graph.node}
    assert {"pool5", "conv6_product_00", "relu6_apart", "relu6"} <= names
    assert not {"relu5", "relu5_apart", "conv6"} & names


@pytest.mark.parametrize("form", FORMS)
def test_the_checker_infers_every_shape(form, tmp_path):
    checkpoint = untrained(tiny(), seed=0)
    write_onnx(checkpoint, tmp_path / "m.onnx", choices=FORMS[form], features=True)
    model = onnx.load(tmp_path / "m.onnx")
    onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def test_it_multiplies_16_times_for_36():
    """Of paper's maps of 13x13, which 49 tiles cover, for one map in and one out."""
    config = preset("paper")
    checkpoint = untrained(small("paper"), seed=0)
    model = onnx_model(checkpoint, choices=WINOGRAD)
    products = [node for node in model.graph.node if node.name.startswith("conv3_product_")]
    assert len(products) == 16
    side = next(layer for layer in layers(config) if layer.name == "conv3").shape[-1]
    tiles = (-(-side // 2)) ** 2
    assert 16 * tiles / (9 * side**2) == pytest.approx(0.515, abs=1e-3)


def test_layers_that_are_there_are_compared(tmp_path):
    checkpoint = untrained(tiny(), seed=0, scaled=True)
    save_checkpoint(checkpoint, tmp_path / "m.safetensors")
    write_onnx(checkpoint, tmp_path / "m.onnx", choices=WINOGRAD)
    a, b = (open_backend(tmp_path / name) for name in ("m.safetensors", "m.onnx"))
    photos = real_pixels(checkpoint.config, 1)
    rows = compare_layers(a, b, [("photo", photos[0])])
    assert first_different(rows, tolerance=1e-5) is None
    names = {row.layer for row in rows}
    assert {"pool2", "pool5", "fc6"} <= names
    assert "conv3" not in names


def test_its_sums_are_not_rounded_to_int8(tmp_path):
    write_onnx(untrained(tiny(), seed=0), tmp_path / "m.onnx", choices=WINOGRAD)
    with pytest.raises(AlexNetError, match="begin with its checkpoint, and with --convolutions di"):
        open_source(tmp_path / "m.onnx").in_precision("int8")


def test_winograd_in_half_precision():
    checkpoint = untrained(tiny(), seed=0, scaled=True)
    photos = real_pixels(checkpoint.config, 3)
    with torch.inference_mode():
        answers = checkpoint.classifier("ten")(torch.from_numpy(photos)).numpy()
    model = half_precision(onnx_model(checkpoint, choices=FORMS["shared"]), "fp16")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    # As in test_shared_views.
    assert np.abs(session.run(None, {"photos": photos})[0] - answers).max() <= 0.01
