"""Test errors on CIFAR-10 with one view, and with several whose probabilities are averaged."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from train.experiments.cifar_photos import Photos
from train.metrics import top_k_correct

View = tuple[int, int, bool]
"""Row and column in a grid of 3 x 3 crops (0: at the first edge, 1: in the middle); mirrored?"""

CENTRE: tuple[View, ...] = ((1, 1, False),)
NINE: tuple[View, ...] = tuple((row, column, False) for row in range(3) for column in range(3))
"""cuda-convnet's views until 2012 [convdata.py of December 2011], and cuda-convnet 2's."""
TEN: tuple[View, ...] = tuple(
    (row, column, mirrored)
    for mirrored in (False, True)
    for row, column in ((0, 0), (0, 2), (1, 1), (2, 0), (2, 2))
)
"""cuda-convnet's views from March 2012 on: corners and centre, and their mirrored images."""
_BATCH = 500


def errors(
    net: nn.Module, photos: Photos, *, side: int | None, views: Mapping[str, tuple[View, ...]]
) -> dict[str, float]:
    """Share of `photos` that are classified wrongly with each set of views; as `wrong_photos`."""
    found = wrong_photos(net, photos, side=side, views=views)
    return {name: len(places) / len(photos.labels) for name, places in found.items()}


@torch.no_grad()
def wrong_photos(
    net: nn.Module, photos: Photos, *, side: int | None, views: Mapping[str, tuple[View, ...]]
) -> dict[str, list[int]]:
    """Places of the `photos` that are classified wrongly with each set of views, by its name.

    `side`: of the crops; None: whole photos, of which there is but the centre view.

    Raises:
        AlexNetError: the network gives probabilities that are no numbers.
    """
    wrong: dict[str, list[int]] = {name: [] for name in views}
    for start in range(0, len(photos.labels), _BATCH):
        part = slice(start, min(start + _BATCH, len(photos.labels)))
        labels = photos.labels[part].cpu().numpy()
        known = {
            view: _probabilities(net, photos, part, view, side or photos.size)
            for view in {view for views_of_set in views.values() for view in views_of_set}
        }
        for name, chosen in views.items():
            mean = torch.stack([known[view] for view in chosen]).mean(0)
            missed = top_k_correct(mean.cpu().numpy(), labels, 1) == 0
            wrong[name] += (start + np.flatnonzero(missed)).tolist()
    return wrong


def _probabilities(net: nn.Module, photos: Photos, part: slice, view: View, side: int) -> Tensor:
    row, column, mirrored = view
    middle = (photos.size - side) // 2
    places = (0, middle, photos.size - side)
    crops = photos.view(part, side=side, top=places[row], left=places[column], mirrored=mirrored)
    scores: Tensor = net(crops)
    return scores.softmax(1)
