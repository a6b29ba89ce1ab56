"""Untrained networks, and how their layers are scaled to a trained network's size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet.checkpoint import Checkpoint
from alexnet.config import Config, ConvConfig, InputConfig
from alexnet.fresh import MEAN_RGB, fresh_checkpoint
from alexnet.labels import Label
from alexnet.network import NONLINEARITIES, AlexNet
from alexnet.views import Crops, views_of

# Standard deviations of a layer's values before its nonlinearity, of the layers with LRN, the other
# convolutions, fc6 and fc7: chosen so that sums of squares count beside LRN's k.
_NORMALISED_STDS, _CONV_STD, _HIDDEN_STD = (67.0, 47.0), 9.0, 5.6
# A tanh's answers would all be -1 or 1 there.
_TANH_STD = 1.0
_BEST_PROBABILITY = 0.65
_PHOTOS = 48


def untrained(
    config: Config, *, seed: int, scaled: bool = False, labels: Sequence[Label] | None = None
) -> Checkpoint:
    """A checkpoint with fresh weights, scaled where asked for.

    Args:
        config: the network; its number of classes becomes that of `labels`, where given.
        seed: of the weights, and of the made-up photos that `scaled` measures with.
        scaled: rescale layer by layer, see `scale`.
        labels: see `fresh_checkpoint`.

    Raises:
        AlexNetError: a kernel does not fit the maps that reach it.
    """
    checkpoint = fresh_checkpoint(config, seed=seed, labels=labels)
    network = checkpoint.network()
    if scaled:
        crops = Crops(config.input, checkpoint.mean)(
            torch.from_numpy(made_up_photos(_PHOTOS, config.input, seed=seed)),
            views_of(config.input, "centre"),
        )
        scale(network, crops)
    provenance = {**checkpoint.provenance, "scaled": scaled}
    return replace(checkpoint, weights=network.state_dict(), provenance=provenance)


def made_up_photos(count: int, config: InputConfig, *, seed: int) -> NDArray[np.uint8]:
    """Noise with the statistics of photos: uint8 (count, S, S, 3).

    Amplitudes fall with frequency, as in photos, each photo with a brightness, contrast and
    steepness of its own; most of the variation is common to the three channels. Over all photos a
    channel deviates by about 74, as in ILSVRC-2012 [CC2 input_meta].
    """
    random = np.random.default_rng(seed)
    side = config.size
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = math.inf  # the mean is set apart
    photos = np.empty((count, side, side, 3), dtype=np.uint8)
    for photo in photos:
        spectrum = np.fft.rfft2(random.standard_normal((4, side, side)))
        noise = np.fft.irfft2(spectrum / frequency ** random.uniform(0.8, 1.4), s=(side, side))
        noise /= noise.std(axis=(1, 2), keepdims=True)
        colours = noise[0] + 0.4 * noise[1:]
        brightness = random.normal(0.0, 20.0) + random.normal(0.0, 10.0, (3, 1, 1))
        values = random.uniform(35.0, 95.0) * colours + brightness
        levels = np.rint(values.transpose(1, 2, 0) + MEAN_RGB)
        photo[:] = np.clip(levels, 0, 255).astype(np.uint8)
    return photos


def scale(network: AlexNet, crops: Tensor) -> None:
    """Rescale each layer in turn, in place, by what it answers to `crops` (N, 3, C, C).

    Weights are multiplied so that a layer's values, before its nonlinearity, have a trained
    network's standard deviation; biases make each map's (or unit's) mean 0, so that half of all
    ReLUs are open and the answers hang on the photo. The last layer is scaled so that the best
    class of these photos has a probability of 0.65 on average; for real photos, which its few
    directions fit less well, it is about 0.3 with one view and half of that with ten.
    """
    with torch.no_grad():
        maps = crops
        for number, (name, conv) in enumerate(network.convs):
            layer = network.get_submodule(name)
            assert isinstance(layer, nn.Conv2d)
            values = network.conv_stage(name, _bare(conv), maps)
            _scale_layer(layer, values, std=_std_of(conv, number))
            maps = network.conv_stage(name, conv, maps)
        dropped = network.config.network.dropout.of
        values = maps.flatten(1)
        hidden = network.config.network
        for layer, config, dropout in (
            (network.fc6, hidden.fc6, network.dropout6),
            (network.fc7, hidden.fc7, network.dropout7),
        ):
            inputs = dropout(values) if dropped == "inputs" else values
            std = _TANH_STD if config.nonlinearity == "tanh" else _HIDDEN_STD
            _scale_layer(layer, layer(inputs), std=std)
            values = NONLINEARITIES[config.nonlinearity](layer(inputs))
            values = dropout(values) if dropped == "outputs" else values
        _scale_last_layer(network.fc8, values)


def _bare(conv: ConvConfig) -> ConvConfig:
    return replace(conv, steps=(), lrn=None, same_map_lrn=None, pool=None)


def _std_of(conv: ConvConfig, number: int) -> float:
    if "tanh" in conv.steps:
        return _TANH_STD
    return _CONV_STD if conv.lrn is None else _NORMALISED_STDS[min(number, 1)]


def _scale_layer(layer: nn.Conv2d | nn.Linear, values: Tensor, *, std: float) -> None:
    """Make `values` (N, C, ...), the layer's output, centred by map and of deviation `std`."""
    assert layer.bias is not None
    over = [axis for axis in range(values.ndim) if axis != 1]
    mean = values.mean(dim=over)
    shape = [-1 if axis == 1 else 1 for axis in range(values.ndim)]
    factor = std / (values - mean.view(shape)).square().mean().sqrt()
    layer.weight.mul_(factor)
    layer.bias.sub_(mean).mul_(factor)


def _scale_last_layer(layer: nn.Linear, inputs: Tensor) -> None:
    """Let the layer answer to what tells photos apart, as confidently as wished."""
    # Only directions in which photos' features differ, as in a trained network. Answers from random
    # directions carry the rounding errors of all units: several times as much.
    centred = inputs - inputs.mean(dim=0)
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[:-1]
    layer.weight.copy_((layer.weight @ directions.T) @ directions)
    logits = layer(inputs)
    _scale_layer(layer, logits, std=_confident_std(logits))


def _confident_std(logits: Tensor) -> float:
    """The deviation at which the best class of a photo is as probable as wished, on average."""
    centred = logits - logits.mean(dim=0)
    unit = centred / centred.square().mean().sqrt()
    low, high = 0.0, 100.0
    for _ in range(40):
        middle = (low + high) / 2
        best = torch.softmax(unit * middle, dim=1).amax(dim=1).mean().item()
        low, high = (middle, high) if best < _BEST_PROBABILITY else (low, middle)
    return high
