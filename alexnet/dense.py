"""Dense answers: the network at every position of a whole photo of any shape, averaged.

docs/dense.md says how, and what it is compared with.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet.config import Config
from alexnet.geometry import last_side
from alexnet.network import AlexNet
from alexnet.views import Crops


class DenseClassifier(nn.Module):
    """uint8 photos of one shape (N, H, W, 3), RGB -> probabilities (N, classes).

    The convolutions run over the whole photo and over its mirror. fc6 reads a window of the last
    maps, as large as those of a crop; it, fc7, fc8 and the softmax answer for each place of that
    window, and the answers are averaged. H and W are at least `input.crop`. Evaluation only.
    """

    def __init__(self, config: Config, network: AlexNet, mean: NDArray[np.float32] | None):
        """`mean`: the mean image (S, S, 3), RGB on 0-255; None with channel means."""
        super().__init__()
        self.config = config
        self.crops = Crops(config.input, mean)
        self.network = network
        self._window = last_side(config)
        self.eval()

    def forward(self, photos: Tensor) -> Tensor:
        """Probabilities (N, classes), each row summing to 1."""
        return self.forward_features(photos)[0]

    def forward_features(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities, and the mean over positions and mirrors of fc7 after its ReLU."""
        maps = self.network.maps_of(self.crops.whole(photos))
        # As in a flattened crop: maps, then rows, then columns. One multiplication for all windows
        # reads fc6's weights once; a convolution reads them for every photo.
        windows = F.unfold(maps, self._window).transpose(1, 2)
        logits, features = self.network.full_stage(windows.flatten(0, 1))
        places = len(photos), windows.shape[1]
        return _averaged(torch.softmax(logits, dim=1), *places), _averaged(features, *places)


def _averaged(values: Tensor, photos: int, positions: int) -> Tensor:
    """(mirrors * photos * positions, width) -> (photos, width)."""
    return values.reshape(-1, photos, positions, values.shape[1]).mean((0, 2))
