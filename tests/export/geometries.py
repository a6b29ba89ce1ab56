"""Networks of random geometry: kernels, strides, paddings, poolings and places of the views."""

from __future__ import annotations

import random
from dataclasses import replace

from alexnet.config import ConvConfig, LRNConfig, PoolConfig, mini
from alexnet.errors import AlexNetError
from alexnet.geometry import layers

# Powers of two, which float32 and float64 hold alike.
OVER_MAPS = LRNConfig(size=3, alpha=2**-6)
OVER_POSITIONS = [LRNConfig(size=size, alpha=2**-7, window="positions") for size in (2, 3, 4)]


def random_config(seed, *, mean="aligned"):
    """A network of two columns with two or three small convolutions."""
    while True:
        random_ = random.Random(f"{seed} {mean}")
        config = _config(random_, mean)
        try:
            layers(config)
        except AlexNetError:  # a kernel does not fit
            seed = f"{seed}+"
            continue
        return config


def _config(random_, mean):
    convs = tuple(_conv(random_, number) for number in range(random_.choice((2, 2, 3))))
    crop = random_.randint(18, 40)
    far = random_.choice((2, 4, 4, 8, 8, 8, 12, 16, 16, 5, 6))
    base = mini()
    given = replace(base.input, size=crop + far, crop=crop, mean=mean)
    small = replace(base.network.fc6, units=6)
    network = replace(base.network, convs=convs, fc6=small, fc7=small, classes=4)
    return replace(base, input=given, network=network)


def _conv(random_, number):
    kernel = random_.randint(1, 5)
    pad = (random_.randrange(kernel), random_.randrange(kernel))
    pool = PoolConfig(
        size=random_.randint(1, 4), stride=random_.choice((1, 1, 2, 2, 3)),
        ceil=random_.random() < 0.5,
    )  # fmt: skip
    steps = ["relu", "lrn", "same_map_lrn", "pool"]
    random_.shuffle(steps)
    steps = steps[: random_.randint(1, 4)]
    return ConvConfig(
        maps=(4, 6, 4)[number],
        kernel=kernel,
        stride=random_.choice((1, 1, 2, 3, 4) if number == 0 else (1, 1, 1, 2)),
        pad=pad,
        reads="all" if number == 0 else random_.choice(("all", "column")),
        steps=tuple(steps),
        lrn=OVER_MAPS if "lrn" in steps else None,
        same_map_lrn=random_.choice(OVER_POSITIONS) if "same_map_lrn" in steps else None,
        pool=pool if "pool" in steps else None,
        init_std=0.3,
    )
