"""Counts and shapes against the published ones, and sums worked by hand."""

from dataclasses import replace

import pytest

from alexnet.config import PRESETS, ConvConfig, InputConfig, PoolConfig, paper, preset
from alexnet.errors import AlexNetError
from alexnet.geometry import conv_side, feature_count, layers, pool_side, totals
from alexnet.network import AlexNet


def with_convs(config, **changes):
    """The config with fields of single convolutions changed: `conv2={"maps": 4}`."""
    convs = list(config.network.convs)
    for name, fields in changes.items():
        number = int(name.removeprefix("conv")) - 1
        convs[number] = replace(convs[number], **fields)
    return replace(config, network=replace(config.network, convs=tuple(convs)))


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("paper", 60_965_224, 724_406_816),
        ("net145", 60_965_224, 724_406_816),
        ("caffe", 60_965_224, 724_406_816),
        ("torchvision", 61_100_840, 714_188_480),
        ("one_gpu", 59_798_312, 391_514_384),
        ("six_conv", 61_555_304, 745_640_480),
    ],
)
def test_presets_have_the_published_parameters_and_multiply_accumulates(name, parameters, macs):
    found = totals(preset(name))
    assert (found.parameters, found.macs) == (parameters, macs)


@pytest.mark.parametrize("name", ["paper", "net145"])
def test_the_paper_s_network_has_its_weights_biases_and_neurons(name):
    found = totals(preset(name))
    assert (found.weights, found.biases, found.neurons) == (60_954_656, 10_568, 659_272)


def test_without_groups_the_network_has_62_million_parameters():
    config = preset("paper")
    config = replace(config, network=replace(config.network, columns=1))
    found = totals(config)
    assert (found.parameters, found.macs) == (62_378_344, 1_135_256_096)


def test_with_2x2_pooling_net147_has_its_own_sizes():
    pool = PoolConfig(size=2)
    config = with_convs(
        preset("net145"),
        conv1={"pool": pool},
        conv2={"pool": pool, "pad": (1, 1)},
        conv5={"pool": pool, "pad": (0, 0)},
    )
    sizes = [layer.shape[1] for layer in layers(config) if layer.kind in ("conv", "pool")]
    assert sizes == [55, 28, 26, 13, 13, 13, 11, 6]
    found = totals(config)
    assert (found.parameters, found.macs) == (60_965_224, 686_891_552)


def test_the_layers_of_the_paper_have_the_shapes_of_its_figure():
    shapes = {layer.name: layer.shape for layer in layers(paper())}
    assert shapes["crop"] == (3, 224, 224)
    assert shapes["conv1"] == (96, 55, 55)
    assert shapes["pool1"] == (96, 27, 27)
    assert shapes["conv2"] == (256, 27, 27)
    assert shapes["pool2"] == (256, 13, 13)
    assert shapes["conv3"] == shapes["conv4"] == (384, 13, 13)
    assert shapes["conv5"] == (256, 13, 13)
    assert shapes["pool5"] == (256, 6, 6)
    assert shapes["fc6"] == shapes["fc7"] == (4096,)
    assert shapes["fc8"] == (1000,)


def test_layer_1_has_290_400_neurons_and_not_the_253_440_of_the_figure():
    (conv1,) = [layer for layer in layers(paper()) if layer.name == "conv1"]
    assert conv1.neurons == 290_400  # 55 * 55 * 96; the figure's is 55 * 48 * 96, a slip


@pytest.mark.parametrize(
    ("side", "rounded_up", "rounded_down"),
    [(223, 54, 54), (224, 55, 54), (225, 55, 54), (226, 55, 54), (227, 55, 55), (228, 56, 55)],
)
def test_conv1_has_55_windows_where_sizes_are_rounded_up(side, rounded_up, rounded_down):
    plain = ConvConfig(maps=96, kernel=11, stride=4)
    # Rounding up is the same as just enough zeros behind the last pixel.
    spill = (4 - (side - 11) % 4) % 4
    assert conv_side(side, replace(plain, pad=(0, spill))) == rounded_up
    assert conv_side(side, plain) == rounded_down


@pytest.mark.parametrize(
    ("side", "size", "stride", "up", "down"),
    [(55, 3, 2, 27, 27), (27, 3, 2, 13, 13), (13, 3, 2, 6, 6), (55, 2, 2, 28, 27), (6, 2, 3, 2, 2)],
)
def test_pooling_rounds_up_but_begins_no_window_past_the_edge(side, size, stride, up, down):
    assert pool_side(side, PoolConfig(size=size, stride=stride)) == up
    assert pool_side(side, PoolConfig(size=size, stride=stride, ceil=False)) == down


@pytest.mark.parametrize("name", PRESETS)
def test_arithmetic_and_the_module_agree(name):
    import torch

    config = preset(name)
    with torch.device("meta"):
        network = AlexNet(config)
    assert totals(config).parameters == sum(p.numel() for p in network.parameters())
    assert feature_count(config) == network.fc6.in_features


@pytest.mark.parametrize("name", PRESETS)
def test_no_two_layers_share_a_name(name):
    names = [layer.name for layer in layers(preset(name))]
    assert len(names) == len(set(names))


def test_a_convolution_s_steps_know_it_by_its_place():
    found = [(layer.name, layer.conv, layer.step) for layer in layers(preset("net145"))]
    assert found[1:9] == [
        ("conv1", 0, None),
        ("lrn1", 0, "lrn"),
        ("pool1", 0, "pool"),
        ("relu1", 0, "relu"),
        ("conv2", 1, None),
        ("relu2", 1, "relu"),
        ("lrn2", 1, "lrn"),
        ("same_map_lrn2", 1, "same_map_lrn"),
    ]
    assert all(conv is None for name, conv, _ in found if name.startswith(("fc", "dropout")))


def test_dropout_has_the_shape_of_what_it_drops():
    shapes = {layer.name: layer.shape for layer in layers(preset("torchvision"))}
    assert (shapes["dropout6"], shapes["dropout7"]) == ((9216,), (4096,))
    assert "dropout8" not in shapes
    shapes = {layer.name: layer.shape for layer in layers(paper())}
    assert (shapes["dropout6"], shapes["dropout7"]) == ((4096,), (4096,))


def test_a_crop_that_is_too_small_is_an_error_that_names_the_layer():
    config = replace(paper(), input=InputConfig(crop=32))
    with pytest.raises(AlexNetError, match=r"conv2|pool\d"):
        layers(config)
