"""From square photos to normalised crops, as ONNX nodes: what alexnet.views does."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from alexnet.config import InputConfig, Views
from alexnet.views import Crops, views_of
from export.nodes import HEIGHT, WIDTH, Nodes

_PLACES = ("top_left", "top_right", "centre", "bottom_left", "bottom_right")  # as in views_of


def add_views(
    nodes: Nodes, config: InputConfig, mean: NDArray[np.float32] | None, *, views: Views
) -> str:
    """Nodes from `photos` to crops (views * N, 3, C, C), view by view.

    Constants are on the whole photo where that is the same, so that each pixel is normalised once
    and not once per view.

    Raises:
        AlexNetError: the mean image is missing, superfluous, or of another size.
    """
    constant = mean_of(config, mean)
    value = add_photos(nodes, config)
    if config.mean == "centred":
        return normalised(nodes, _cut(nodes, value, config, views), config, constant)
    return _cut(nodes, normalised(nodes, value, config, constant), config, views)


def mean_of(config: InputConfig, mean: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """What is subtracted from photos or crops: (3, side, side) or (3, 1, 1), as PyTorch has it, but
    in the network's order of channels.

    Raises:
        AlexNetError: the mean image is missing, superfluous, or of another size.
    """
    constant: NDArray[np.float32] = Crops(config, mean).mean.numpy()
    return constant[::-1] if config.order == "bgr" else constant


def add_photos(nodes: Nodes, config: InputConfig) -> str:
    """Nodes from `photos` to floating point, channels first and in the network's order."""
    value = nodes.add("Cast", ["photos"], name="photos_float", to=onnx.TensorProto.FLOAT)
    value = nodes.add("Transpose", [value], name="channels_first", perm=[0, 3, 1, 2])
    return nodes.reversed(value, name="bgr", axis=1) if config.order == "bgr" else value


def normalised(
    nodes: Nodes,
    value: str,
    config: InputConfig,
    constant: NDArray[np.float32] | str,
    *,
    name: str = "mean",
    of: str = "",
) -> str:
    """Nodes that subtract a constant, whose name is `name`, and divide by the deviations.

    `constant` may be the name of a value that is there. `of`: what is normalised, where it is no
    photo.
    """
    prefix = f"{of}_" if of else ""
    if not isinstance(constant, str):
        constant = nodes.constant(name, constant)
    value = nodes.add("Sub", [value, constant], name=f"{prefix}minus_{name}")
    if config.std_rgb is None:
        return value
    std = np.array(config.std_rgb, dtype=np.float32).reshape(3, 1, 1)
    if config.order == "bgr":
        std = std[::-1]
    return nodes.add("Div", [value, nodes.constant("std", std)], name=f"{prefix}over_std")


def _cut(nodes: Nodes, value: str, config: InputConfig, views: Views) -> str:
    upright = [view for view in views_of(config, views) if not view.mirrored]
    places = _PLACES if views == "ten" else ("centre",)
    cut = [
        nodes.slice(
            value,
            name=f"view_{place}",
            starts=[view.y, view.x],
            ends=[view.y + config.crop, view.x + config.crop],
            axes=[HEIGHT, WIDTH],
        )
        for place, view in zip(places, upright, strict=True)
    ]
    if views == "centre":
        return cut[0]
    together = nodes.add("Concat", cut, name="views_upright", axis=0)
    mirrored = nodes.reversed(together, name="views_mirrored", axis=WIDTH)
    return nodes.add("Concat", [together, mirrored], name="views", axis=0)
