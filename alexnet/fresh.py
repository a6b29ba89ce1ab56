"""Fresh checkpoints: networks as they are before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from alexnet.checkpoint import Checkpoint
from alexnet.config import Config
from alexnet.labels import Label, ilsvrc2012
from alexnet.machine import versions
from alexnet.network import AlexNet

MEAN_RGB = (127.30, 119.72, 104.91)
"""Channel means of ILSVRC-2012's mean image, RGB [CC2 make-data/input_meta]."""


def fresh_checkpoint(
    config: Config, *, seed: int = 0, labels: Sequence[Label] | None = None
) -> Checkpoint:
    """A checkpoint with weights drawn as `config` says, and an even mean image.

    Args:
        config: the network; its number of classes becomes that of `labels`, where given.
        seed: of the weights.
        labels: None: ILSVRC-2012's for 1000 classes, else "class 0", "class 1" and so on.

    Raises:
        AlexNetError: a kernel does not fit the maps that reach it.
    """
    if labels is None:
        labels = default_labels(config.network.classes)
    config = replace(config, network=replace(config.network, classes=len(labels)))
    network = AlexNet(config).initialise(torch.Generator().manual_seed(seed))
    side = config.input.size
    mean = None
    if config.input.has_mean_image:
        mean = np.full((side, side, 3), MEAN_RGB, dtype=np.float32)
    return Checkpoint(
        config=config,
        weights=network.state_dict(),
        labels=tuple(labels),
        mean=mean,
        provenance={
            "untrained": True,
            "preset": config.preset,
            "seed": seed,
            "versions": versions("torch"),
        },
    )


def default_labels(classes: int) -> tuple[Label, ...]:
    """ILSVRC-2012's classes for 1000 outputs, else "class 0", "class 1" and so on."""
    if classes == 1000:
        return ilsvrc2012()
    names = [f"class {index}" for index in range(classes)]
    return tuple(Label(name, name) for name in names)
