"""Photos of 32 pixels in three classes that differ in colour, for the networks of CIFAR-10."""

import numpy as np
from PIL import Image

from tests.photos import encode
from tests.train.folders import make, write

TRAIN, VAL = 150, 30


def prepared(folder):
    """A prepared data set: `TRAIN` training and `VAL` validation photos."""
    random = np.random.default_rng(3)
    files = {}
    for split, count in (("train", TRAIN), ("val", VAL)):
        for channel, name in enumerate(("red", "green", "blue")):
            for number in range(count // 3):
                pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                pixels[..., channel] = np.minimum(pixels[..., channel] + 80.0, 255)
                files[f"{split}/{name}/{number:03}.png"] = encode(Image.fromarray(pixels))
    make(write(folder / "source", files), folder / "data", size=32)
    return folder / "data"
