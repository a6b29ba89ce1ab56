"""Numbers of the presets that neither counts nor shapes show; each from docs/fidelity.md."""

import pytest
import torch

from alexnet.config import PRESETS, preset, torchvision
from alexnet.network import AlexNet
from tests.models import narrow

# (deviation, bias) that each layer starts from: conv1 ..., fc6, fc7, fc8.
STARTS = {
    "paper": [
        *((0.01, 0), (0.01, 1), (0.01, 0), (0.01, 1), (0.01, 1)),
        *((0.01, 1), (0.01, 1), (0.01, 0)),
    ],
    "net145": [
        *((0.01, 0), (0.01, 1), (0.03, 0), (0.03, 1), (0.03, 1)),
        *((0.01, 1), (0.01, 1), (0.01, 0)),
    ],
    "one_gpu": [
        *((0.01, 0), (0.01, 1), (0.03, 0), (0.03, 1), (0.03, 1)),
        *((0.01, 1), (0.01, 1), (0.01, 0)),
    ],
    "six_conv": [
        *((0.01, 0), (0.01, 1), (0.03, 0), (0.03, 1), (0.03, 1), (0.03, 1)),
        *((0.01, 1), (0.01, 1), (0.01, 0)),
    ],
    "caffe": [
        *((0.01, 0), (0.01, 0.1), (0.01, 0), (0.01, 0.1), (0.01, 0.1)),
        *((0.005, 0.1), (0.005, 0.1), (0.01, 0)),
    ],
}


@pytest.mark.parametrize("name", STARTS)
def test_layers_start_from_their_deviation_and_bias(name):
    config = narrow(name, units=(256, 512), classes=100)
    network = AlexNet(config).initialise(torch.Generator().manual_seed(0))
    layers = [module for module in network.children() if hasattr(module, "weight")]
    assert len(layers) == len(STARTS[name])
    for layer, (std, bias) in zip(layers, STARTS[name], strict=True):
        assert layer.weight.std().item() == pytest.approx(std, rel=0.02), layer
        assert (layer.bias == torch.tensor(bias, dtype=torch.float32)).all(), layer


@pytest.mark.parametrize("name", ["paper", "net145"])
def test_the_biases_of_the_paper_s_network_start_with_a_sum_of_9_088(name):
    config = preset(name)
    hidden = [(layer.units, layer.init_bias) for layer in (config.network.fc6, config.network.fc7)]
    convs = [(conv.maps, conv.init_bias) for conv in config.network.convs]
    assert sum(units * bias for units, bias in convs + hidden) == 9_088


def test_torchvision_s_constants_are_imagenet_s_on_the_scale_of_pixels():
    config = torchvision().input
    assert config.mean_rgb == pytest.approx((123.675, 116.28, 103.53), abs=1e-9)
    assert config.std_rgb == pytest.approx((58.395, 57.12, 57.375), abs=1e-9)


def test_only_torchvision_s_layers_start_as_pytorch_s_do():
    for name in PRESETS:
        network = preset(name).network
        stds = [conv.init_std for conv in network.convs]
        stds += [network.fc6.init_std, network.fc7.init_std, network.fc8_init_std]
        assert {std is None for std in stds} == {name == "torchvision"}
