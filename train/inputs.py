"""What enters the network in a step: crops with colour noise, and the draws of dropout.

All of it is drawn for the whole minibatch and the whole network, from the step's own streams; each
process keeps its part. So the same numbers enter, however many processes there are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from alexnet.geometry import feature_count
from alexnet.network import Draws
from alexnet.views import Crops
from train.augment import color_shift, draw_crops, rescaled
from train.dataset import Dataset
from train.loader import Minibatch
from train.mesh import Mesh, parts
from train.recipe import Recipe, RunConfig
from train.schedule import Moment
from train.streams import CROPS, DROPOUT, random_stream


class Inputs:
    """Makes the inputs of steps on the mesh's device."""

    def __init__(self, config: RunConfig, dataset: Dataset, mesh: Mesh):
        self.config, self.mesh = config, mesh
        self.mean = dataset.mean if config.input.has_mean_image else None
        self.color_pca = dataset.color_pca
        self.cut = Crops(config.input, self.mean).to(mesh.device, precision(config.recipe))

    def of(self, minibatch: Minibatch, moment: Moment) -> tuple[Tensor, Draws]:
        """This process's crops (N, 3, C, C) of a step, and uniform numbers for its dropouts."""
        stream = random_stream(self.config.seed, CROPS, moment.epoch, moment.step)
        crops = self.crops(minibatch, stream, epoch=moment.epoch)
        return crops, self._draws(minibatch, moment)

    def crops(self, minibatch: Minibatch, generator: torch.Generator, *, epoch: int = 1) -> Tensor:
        """A random crop of each photo, with the epoch's colour noise: (N, 3, C, C)."""
        recipe, device, own = self.config.recipe, self.mesh.device, minibatch.own
        draw = draw_crops(
            minibatch.whole,
            self.config.input,
            generator=generator,
            shared_by=recipe.crops_shared_by,
        )
        noise = recipe.noise.at(epoch)
        shift = None
        if noise.coefficient:
            factors = torch.randn(minibatch.whole, 3, generator=generator)
            shift = self._sent(color_shift(factors, self.color_pca, noise)[own])
        crops = self.cut.each(
            minibatch.photos.to(device, non_blocking=True),
            self._sent(draw.y[own]),
            self._sent(draw.x[own]),
            mirrored=self._sent(draw.mirrored[own]),
            shift=shift,
        )
        crops = rescaled(crops, noise)
        return crops if recipe.channels_last else crops.contiguous()

    def _sent(self, values: Tensor) -> Tensor:
        """The same on the device. A copy from pageable memory would wait for all its work."""
        device = self.mesh.device
        pinned = values.pin_memory() if device.type == "cuda" else values
        return pinned.to(device, non_blocking=True)

    def _draws(self, minibatch: Minibatch, moment: Moment) -> Draws:
        device, network = self.mesh.device, self.config.network
        keys = (DROPOUT, moment.epoch, moment.step)
        stream = random_stream(self.config.seed, *keys, device=device)
        inputs = network.dropout.of == "inputs"  # they are joined: every column has all of them
        features = feature_count(self.config.config)
        widths = (features, network.fc6.units) if inputs else (network.fc6.units, network.fc7.units)

        def draw(width: int) -> Tensor:
            whole = torch.rand(minibatch.whole, width, generator=stream, device=device)
            column = slice(None) if inputs else parts(width, self.mesh.columns)[self.mesh.column]
            return whole[minibatch.own, column]

        return draw(widths[0]), draw(widths[1])


def precision(recipe: Recipe) -> torch.dtype:
    """The type of weights, velocities and loss."""
    return torch.float64 if recipe.dtype == "float64" else torch.float32
