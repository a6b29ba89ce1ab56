"""The deployed function: from square uint8 photos to averaged probabilities, as one module.

Everything behind "decode and resize" is in here, so that no caller can preprocess wrongly: mean,
views, network, softmax, average. The exporters write this same function as a graph.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet.config import Config, Views
from alexnet.network import AlexNet
from alexnet.views import Crops, views_of


class Classifier(nn.Module):
    """uint8 photos (N, S, S, 3), RGB -> probabilities (N, classes).

    With `views="ten"` the softmax outputs of the ten views are averaged [P §4.1]; their logits or
    logarithms are not. Evaluation only: dropout is off, in the convention of the config.
    """

    def __init__(
        self,
        config: Config,
        network: AlexNet,
        mean: NDArray[np.float32] | None,
        *,
        views: Views = "ten",
    ):
        """`mean`: the mean image (S, S, 3), RGB on 0-255; None with channel means."""
        super().__init__()
        self.config = config
        self.views = views_of(config.input, views)
        self.crops = Crops(config.input, mean)
        self.network = network
        self.eval()

    def forward(self, photos: Tensor) -> Tensor:
        """Probabilities (N, classes), each row summing to 1."""
        return self.forward_features(photos)[0]

    def forward_features(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities, and the mean over the views of fc7 after its ReLU (N, units) [P §6.1]."""
        crops = self.crops(photos, self.views)
        logits, features = self.network.forward_features(crops)
        return self._average(torch.softmax(logits, dim=1)), self._average(features)

    def forward_views(self, photos: Tensor) -> Tensor:
        """Probabilities of each view by itself (views, N, classes)."""
        crops = self.crops(photos, self.views)
        probabilities = torch.softmax(self.network(crops), dim=1)
        return probabilities.reshape(len(self.views), len(photos), -1)

    def _average(self, values: Tensor) -> Tensor:
        views = len(self.views)
        return values.reshape(views, len(values) // views, values.shape[1]).mean(0)
