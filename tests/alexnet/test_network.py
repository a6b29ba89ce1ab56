"""The network: against a second implementation, at its borders, in its columns, fresh weights."""

import math
from dataclasses import replace

import pytest
import torch

from alexnet.config import (
    PRESETS,
    ConvConfig,
    caffe,
    mini,
    net145,
    paper,
    torchvision,
)
from alexnet.lrn.reference import local_response_norm
from alexnet.network import AlexNet
from alexnet.views import Crops, views_of
from tests.alexnet import plain
from tests.models import narrow, real_pixels
from train.untrained import untrained

# A second implementation


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_the_network_is_the_one_that_is_written_out_layer_by_layer(name):
    checkpoint = untrained(narrow(name), seed=1, scaled=True)
    config = checkpoint.config
    crops = Crops(config.input, checkpoint.mean)
    photos = torch.from_numpy(real_pixels(config, 1))
    inputs = crops(photos, views_of(config.input, "centre")).double()
    weights = {key: weight.double() for key, weight in checkpoint.weights.items()}
    with torch.inference_mode():
        logits = checkpoint.network().double()(inputs)
        expected = plain.forward(name, weights, inputs)
    assert expected.std() > 1
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)


# F.7: the border of conv1


def conv1_of_ones(config):
    """conv1's maps for an input and weights of ones, without bias and what follows."""
    conv = config.network.convs[0]
    bare = ConvConfig(maps=2, kernel=conv.kernel, stride=conv.stride, pad=conv.pad, reads="all")
    bare = replace(bare, steps=())
    network = AlexNet(replace(config, network=replace(config.network, convs=(bare,))))
    torch.nn.init.ones_(network.conv1.weight)
    torch.nn.init.zeros_(network.conv1.bias)
    side = config.input.crop
    with torch.inference_mode():
        return network.conv_stage("conv1", bare, torch.ones(1, 3, side, side))[0, 0]


@pytest.mark.parametrize("config", [paper(), net145()])
def test_conv1_of_2012_reads_zeros_past_the_right_and_bottom_edge_only(config):
    maps = conv1_of_ones(config)
    assert maps.shape == (55, 55)
    assert (maps[:54, :54] == 363).all()  # the first row and column with it
    assert (maps[54, :54] == 264).all()
    assert (maps[:54, 54] == 264).all()
    assert maps[54, 54] == 192


def test_conv1_of_torchvision_reads_zeros_on_all_sides():
    maps = conv1_of_ones(torchvision())
    assert maps.shape == (55, 55)
    assert (maps[1:54, 1:54] == 363).all()
    assert (maps[0, 1:54] == 297).all()
    assert (maps[1:54, 0] == 297).all()
    assert (maps[54, 1:54] == 330).all()
    assert (maps[1:54, 54] == 330).all()
    assert (maps[0, 0], maps[0, 54], maps[54, 0], maps[54, 54]) == (243, 270, 270, 300)


def test_conv1_of_caffe_reads_no_zeros():
    maps = conv1_of_ones(caffe())
    assert maps.shape == (55, 55)
    assert (maps == 363).all()


# F.8: who reads whom


@pytest.fixture(scope="module")
def columns():
    """The paper's network with small hidden layers, and its stages."""
    checkpoint = untrained(narrow("paper", units=(8, 8)), seed=0, scaled=True)
    network = checkpoint.network()
    convs = dict(network.convs)
    return network, lambda name, maps: network.conv_stage(name, convs[name], maps)


def changed(stage, maps, number):
    """Which output maps change when one input map does."""
    other = maps.clone()
    other[:, number] += 50
    with torch.inference_mode():
        return (stage(maps) != stage(other)).flatten(2).any(2)[0]


def positive(*shape):
    return 50 * torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("number", [3, 90])
def test_a_map_of_layer_1_reaches_its_own_half_of_conv2(columns, number):
    _, stage = columns
    found = changed(lambda maps: stage("conv2", maps), positive(96, 27, 27), number)
    mine, other = (found[:128], found[128:]) if number < 48 else (found[128:], found[:128])
    assert mine.all()
    assert not other.any()


def test_a_map_of_layer_2_reaches_both_halves_of_conv3(columns):
    _, stage = columns
    found = changed(lambda maps: stage("conv3", maps), positive(256, 13, 13), 5)
    assert found[:192].any()
    assert found[192:].any()


def test_a_map_of_layer_3_stays_in_its_half_through_conv4_and_conv5(columns):
    _, stage = columns
    for after in (lambda m: stage("conv4", m), lambda m: stage("conv5", stage("conv4", m))):
        found = changed(after, positive(384, 13, 13), 7)
        half = len(found) // 2
        assert found[:half].any()
        assert not found[half:].any()


def test_a_map_of_layer_5_reaches_all_units_of_fc6(columns):
    network, _ = columns
    found = changed(lambda maps: network.fc6(maps.flatten(1))[..., None], positive(256, 6, 6), 9)
    assert found.all()


@pytest.mark.parametrize(
    ("config", "reached"), [(paper(), [45, 46, 47]), (caffe(), [45, 46, 47, 48, 49])]
)
def test_normalisation_of_map_47_crosses_the_columns_in_caffe_only(config, reached):
    lrn = config.network.convs[0].lrn
    found = changed(lambda maps: local_response_norm(maps, lrn, columns=2), positive(96, 4, 4), 47)
    assert found.nonzero().flatten().tolist() == reached


# F.14: fresh weights


def test_fresh_weights_have_their_deviation_mean_and_biases():
    network = AlexNet(net145()).initialise(torch.Generator().manual_seed(0))
    stds = dict.fromkeys(("conv1", "conv2", "fc6", "fc7", "fc8"), 0.01)
    stds |= dict.fromkeys(("conv3", "conv4", "conv5"), 0.03)
    for name, std in stds.items():
        weight = network.get_submodule(name).weight
        assert weight.std().item() == pytest.approx(std, rel=0.01), name
        assert abs(weight.mean().item()) < 4 * std / math.sqrt(weight.numel()), name
    biases = {name: b for name, b in network.named_parameters() if name.endswith("bias")}
    ones = {f"{name}.bias" for name in ("conv2", "conv4", "conv5", "fc6", "fc7")}
    for name, bias in biases.items():
        assert (bias == (1 if name in ones else 0)).all(), name
    assert sum(bias.sum().item() for bias in biases.values()) == 9088
    # A Gaussian that is not cut off.
    assert network.fc6.weight.abs().max() > 4 * 0.01


def test_the_paper_s_middle_layers_start_from_one_hundredth():
    network = AlexNet(narrow("paper")).initialise(torch.Generator().manual_seed(0))
    for name in ("conv3", "conv4", "conv5"):
        assert network.get_submodule(name).weight.std().item() == pytest.approx(0.01, rel=0.01)


def test_the_first_loss_is_that_of_a_guess():
    config = replace(narrow("paper", units=(4096, 512)), preset="paper")
    config = replace(config, network=replace(config.network, classes=1000))
    network = AlexNet(config).initialise(torch.Generator().manual_seed(0)).eval()
    crops = torch.from_numpy(real_pixels(config, 4)).permute(0, 3, 1, 2)[..., :224, :224] - 120.0
    with torch.inference_mode():
        logits = network(crops)
    losses = -torch.log_softmax(logits, dim=1)
    # Over all labels alike, the mean loss is ln K + half the variance of the logits.
    expected = math.log(1000) + logits.var(dim=1).mean().item() / 2
    assert losses.mean().item() == pytest.approx(expected, abs=0.02)
    assert losses.mean().item() == pytest.approx(6.91, abs=0.1)


def test_pytorch_s_default_start_is_uniform_within_one_over_the_root_of_the_inputs():
    network = AlexNet(narrow("torchvision")).initialise(torch.Generator().manual_seed(0))
    for name, inputs in (("conv2", 64 * 25), ("fc7", 64)):
        layer = network.get_submodule(name)
        bound = inputs**-0.5
        assert bound * 0.9 < layer.weight.abs().max() <= bound
        assert layer.bias.abs().max() <= bound
        assert layer.bias.any()


def test_the_same_seed_gives_the_same_weights():
    a, b, c = (
        AlexNet(mini()).initialise(torch.Generator().manual_seed(seed)).state_dict()
        for seed in (3, 3, 4)
    )
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["conv1.weight"], c["conv1.weight"])
