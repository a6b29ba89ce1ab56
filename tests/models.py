"""Networks for tests, and pieces of real photographs to run them on."""

from dataclasses import replace

import numpy as np
from PIL import Image

from alexnet.config import mini, preset
from alexnet.photo import load_photo
from tests.photos import sklearn_photos

# Corners of pieces of a photograph of 640 x 427: all of it, squares, and details.
PIECES = ((0, 0, 640, 427), (0, 0, 300, 300), (300, 100, 560, 400), (200, 50, 330, 180))


def real_pixels(config, count=6):
    """Pieces of scikit-learn's two photographs, fitted to the network: uint8 (count, S, S, 3)."""
    pieces = []
    for box in PIECES:
        for path in sklearn_photos():
            with Image.open(path) as image:
                pieces.append(load_photo(image.crop(box), config.input).pixels)
    return np.stack(pieces[:count])


def narrow(name, *, units=(64, 48), classes=20):
    """A preset with small fully connected layers: all its convolutions, and quick to make."""
    config = preset(name)
    network = config.network
    fc6, fc7 = replace(network.fc6, units=units[0]), replace(network.fc7, units=units[1])
    return replace(config, network=replace(network, fc6=fc6, fc7=fc7, classes=classes))


def small(name):
    """`narrow` on photos of 160 pixels, whose maps have sides of 31, 15, 7 and 3: quicker yet."""
    config = narrow(name)
    crop = 131 if config.input.crop == 227 else 128
    return replace(config, input=replace(config.input, size=160, crop=crop))


def tiny(**fields):
    """`mini` with few maps, on photos of 48 pixels: for tests that make many networks.

    `fields` change how photos enter it.
    """
    base = mini()
    maps = (8, 16, 24, 24, 16)
    convs = tuple(
        replace(conv, maps=count) for conv, count in zip(base.network.convs, maps, strict=True)
    )
    fc6, fc7 = replace(base.network.fc6, units=48), replace(base.network.fc7, units=32)
    network = replace(base.network, convs=convs, fc6=fc6, fc7=fc7, classes=10)
    return replace(
        base, input=replace(base.input, **{"size": 48, "crop": 40} | fields), network=network
    )


def with_tanh(config):
    """A network with tanh in place of every ReLU."""
    network = config.network
    convs = tuple(
        replace(conv, steps=tuple("tanh" if step == "relu" else step for step in conv.steps))
        for conv in network.convs
    )
    fc6, fc7 = (replace(full, nonlinearity="tanh") for full in (network.fc6, network.fc7))
    return replace(config, network=replace(network, convs=convs, fc6=fc6, fc7=fc7))
