"""tanh in place of ReLU: a choice of the config, in each convolution and in fc6 and fc7."""

import torch
import torch.nn.functional as F

from alexnet.config import Config, mini
from alexnet.geometry import layers
from alexnet.network import AlexNet
from alexnet.settings import from_dict, to_dict
from tests.alexnet import plain
from tests.models import tiny, with_tanh


def test_a_config_that_was_written_before_there_was_a_choice_has_relus():
    written = to_dict(mini())
    for layer in ("fc6", "fc7"):
        assert written["network"][layer].pop("nonlinearity") == "relu"
    assert from_dict(Config, written) == mini()


def test_a_network_with_tanh_is_the_plain_one_with_its_relus_replaced(monkeypatch):
    config = with_tanh(tiny())
    network = AlexNet(config).double().eval()
    side = config.input.crop
    stream = torch.Generator().manual_seed(0)
    crops = torch.randn(2, 3, side, side, generator=stream, dtype=torch.float64)
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(0, (4 / max(1, weight[0].numel())) ** 0.5, generator=stream)
        found, features = network.forward_features(crops)
        monkeypatch.setattr(F, "relu", torch.tanh)  # plain calls no other nonlinearity
        expected = plain.forward("mini", dict(network.state_dict()), crops)
    assert (found - expected).abs().max() < 1e-12
    assert expected.std() > 0.1
    assert features.abs().max() <= 1
    assert (features < 0).any()


def test_layers_are_named_after_their_nonlinearity():
    names = [layer.name for layer in layers(with_tanh(tiny()))]
    assert [name for name in names if "tanh" in name] == [
        *("tanh1", "tanh2", "tanh3", "tanh4", "tanh5", "fc6_tanh", "fc7_tanh")
    ]
    assert [name.replace("tanh", "relu") for name in names] == [x.name for x in layers(tiny())]
