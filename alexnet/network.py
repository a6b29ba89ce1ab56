"""AlexNet: one module for every preset. It knows nothing of ranks, files or photos."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet.config import Config, ConvConfig, DropoutConfig, Nonlinearity, Step
from alexnet.geometry import feature_count, groups
from alexnet.lrn.op import lrn, relu_lrn_pool

Join = Callable[[str, Tensor], Tensor]
Draws = tuple[Tensor, Tensor]

NONLINEARITIES: dict[Nonlinearity, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "tanh": torch.tanh,
}


def _whole(layer: str, values: Tensor) -> Tensor:
    """The join of a network that is in one piece."""
    return values


class Dropout(nn.Module):
    """Dropout in both conventions [P §4.2].

    Unlike `nn.Dropout` it can leave the survivors as they are in training and scale every value by
    1 - rate in use, which is what the 2012 code does.
    """

    def __init__(self, config: DropoutConfig):
        super().__init__()
        self.config = config

    def forward(self, values: Tensor, draw: Tensor | None = None) -> Tensor:
        """Drop in training; otherwise scale as the config says.

        `draw`: a uniform number from 0 to 1 for each value, drawn here when None.
        """
        rate, inverted = self.config.rate, self.config.scaled == "in_training"
        if not self.training:
            return values if inverted else values * (1.0 - rate)
        # The 2012 mask: a uniform draw below the probability of keeping [S layer.cu:1126].
        kept = values * ((torch.rand_like(values) if draw is None else draw) < 1.0 - rate)
        return kept / (1.0 - rate) if inverted else kept


class AlexNet(nn.Module):
    """The network from a normalised crop to the logits.

    Layers are called conv1.. conv5 (or conv6), fc6, fc7 and fc8, and so are the weights:
    `conv1.weight` is (maps, maps seen, kernel, kernel), `fc6.weight` (units, inputs).

    Columns meet where the paper's GPUs talk: in what conv3 and the fully connected layers read, and
    in the logits. There the network calls `join(layer, values)`, so that its columns can be held
    apart from outside; in one piece, it changes nothing.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        network = config.network
        maps = 3
        self.convs: list[tuple[str, ConvConfig]] = []
        for number, conv in enumerate(network.convs, 1):
            name = f"conv{number}"
            self.convs.append((name, conv))
            split = groups(network, conv)
            module = nn.Conv2d(maps, conv.maps, conv.kernel, stride=conv.stride, groups=split)
            self.add_module(name, module)
            maps = conv.maps
        self.fc6 = nn.Linear(feature_count(config), network.fc6.units)
        self.fc7 = nn.Linear(network.fc6.units, network.fc7.units)
        self.fc8 = nn.Linear(network.fc7.units, network.classes)
        self.dropout6 = Dropout(network.dropout)
        self.dropout7 = Dropout(network.dropout)
        self.columns = network.columns
        """Columns that are in here, all of them unless the network was split."""
        self.join: Join = _whole

    def forward(self, crops: Tensor, draws: Draws | None = None) -> Tensor:
        """Logits (N, classes) of normalised crops (N, 3, crop, crop).

        `draws`: uniform numbers for the values that the two dropouts may drop, for training that
        must be repeatable; see `Dropout`.
        """
        return self.forward_features(crops, draws)[0]

    def forward_features(self, crops: Tensor, draws: Draws | None = None) -> tuple[Tensor, Tensor]:
        """Logits (N, classes), and fc7 after its nonlinearity and before dropout (N, units)."""
        return self.full_stage(self.maps_of(crops).flatten(1), draws)

    def maps_of(self, crops: Tensor) -> Tensor:
        """What the last convolution and its steps give; crops (N, 3, H, W) may be of any shape."""
        maps = crops
        for name, conv in self.convs:
            if conv.reads == "all" and name != "conv1":
                maps = self.join(name, maps)
            maps = self.conv_stage(name, conv, maps)
        return maps

    def full_stage(self, values: Tensor, draws: Draws | None = None) -> tuple[Tensor, Tensor]:
        """The same of what fc6 reads (N, inputs): the last maps, flattened."""
        first, second = draws or (None, None)
        drop_inputs = self.config.network.dropout.of == "inputs"
        values = self.join("fc6", values)
        hidden = self.fc6(self.dropout6(values, first) if drop_inputs else values)
        hidden = NONLINEARITIES[self.config.network.fc6.nonlinearity](hidden)
        values = self.join("fc7", hidden if drop_inputs else self.dropout6(hidden, first))
        hidden = self.fc7(self.dropout7(values, second) if drop_inputs else values)
        hidden = NONLINEARITIES[self.config.network.fc7.nonlinearity](hidden)
        values = self.join("fc8", hidden if drop_inputs else self.dropout7(hidden, second))
        return self.join("logits", self.fc8(values)), hidden

    def conv_stage(self, name: str, conv: ConvConfig, maps: Tensor) -> Tensor:
        """One convolution and its steps: (N, C, H, W) -> (N, conv.maps, H', W')."""
        maps = self.convolve(name, conv, maps)
        if conv.steps == ("relu", "lrn", "pool"):  # one kernel, where there is one
            assert conv.lrn is not None
            assert conv.pool is not None
            return relu_lrn_pool(maps, conv.lrn, conv.pool, columns=self.columns)
        for step in conv.steps:
            maps = self.step(step, conv, maps)
        return maps

    def convolve(self, name: str, conv: ConvConfig, maps: Tensor) -> Tensor:
        """One convolution without its steps."""
        before, after = conv.pad
        layer = self.get_submodule(name)
        assert isinstance(layer, nn.Conv2d)
        if before == after:
            return F.conv2d(
                maps, layer.weight, layer.bias, conv.stride, before, groups=layer.groups
            )
        padded: Tensor = layer(F.pad(maps, (before, after, before, after)))
        return padded

    def step(self, step: Step, conv: ConvConfig, maps: Tensor) -> Tensor:
        """One of a convolution's steps, on the maps that the step before left."""
        if step in NONLINEARITIES:
            return NONLINEARITIES[step](maps)
        if step == "pool":
            assert conv.pool is not None
            return F.max_pool2d(maps, conv.pool.size, conv.pool.stride, ceil_mode=conv.pool.ceil)
        return lrn(maps, conv.lrn_of(step), columns=self.columns)

    def initialise(self, generator: torch.Generator | None = None) -> AlexNet:
        """Draw fresh weights as the config says: plain Gaussians, untruncated [S layer.py:807].

        Layers whose deviation is null get PyTorch's default (uniform, bound 1/sqrt(fan-in)).
        """
        network = self.config.network
        starts = {f"conv{n}": (c.init_std, c.init_bias) for n, c in enumerate(network.convs, 1)}
        starts["fc6"] = (network.fc6.init_std, network.fc6.init_bias)
        starts["fc7"] = (network.fc7.init_std, network.fc7.init_bias)
        starts["fc8"] = (network.fc8_init_std, 0.0)
        with torch.no_grad():
            for name, (std, bias) in starts.items():
                layer = self.get_submodule(name)
                assert isinstance(layer, nn.Conv2d | nn.Linear)
                assert layer.bias is not None
                if std is None:
                    bound = layer.weight[0].numel() ** -0.5
                    layer.weight.uniform_(-bound, bound, generator=generator)
                    layer.bias.uniform_(-bound, bound, generator=generator)
                else:
                    layer.weight.normal_(0.0, std, generator=generator)
                    layer.bias.fill_(bias)
        return self
