"""Dense answers as ONNX nodes, for photos of any shape: what alexnet.dense does.

No node knows how high or wide a photo is, and none asks but where the mean image is stretched. The
windows that fc6 reads are cut by a convolution whose kernels each copy one value: a Gemm for all of
them follows, which reads fc6's weights once, and is the same as for crops.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alexnet.config import Config, InputConfig
from alexnet.geometry import last_side, layers
from export.nodes import HEIGHT, WIDTH, Nodes
from export.views import add_photos, mean_of, normalised


def add_whole(nodes: Nodes, config: InputConfig, mean: NDArray[np.float32] | None) -> str:
    """Nodes from `photos` to normalised whole photos and then their mirrors (2 * N, 3, H, W).

    Raises:
        AlexNetError: the mean image is missing, superfluous, or of another size.
    """
    constant = mean_of(config, mean)
    value = add_photos(nodes, config)
    flat = constant.shape[1:] == (1, 1)
    subtracted = nodes.constant("mean", constant) if flat else _stretched(nodes, constant)
    if config.mean == "aligned":
        return _with_mirrors(nodes, normalised(nodes, value, config, subtracted))
    return normalised(nodes, _with_mirrors(nodes, value), config, subtracted)


def add_windows(nodes: Nodes, config: Config, maps: str) -> str:
    """Nodes from the last maps (2 * N, C, h, w) to what fc6 reads at each place of its window.

    Returns:
        (2 * N * places, C * side * side): for each photo and then each mirror, row by row.
    """
    count, side = _last_maps(config), last_side(config)
    cells = side * side
    # Of each map, cell by cell: the kernel that is 1 there and 0 elsewhere.
    copies = np.eye(cells, dtype=np.float32).reshape(cells, 1, side, side)
    inputs = [maps, nodes.constant("windows.kernel", np.tile(copies, (count, 1, 1, 1)))]
    cut = nodes.add("Conv", inputs, name="windows", kernel_shape=[side, side], group=count)
    last = nodes.add("Transpose", [cut], name="windows_last", perm=[0, 2, 3, 1])
    return nodes.reshape(last, name="flat", shape=[-1, count * cells])


def add_average(nodes: Nodes, source: str, *, name: str, width: int) -> str:
    """Nodes for the mean over places and mirrors of what each window gave: (N, width)."""
    if "windows_places" not in {node.name for node in nodes.nodes}:
        # Of the windows (2 * N, C, places down, places across) the first number: 2 * N.
        rows = nodes.add("Shape", ["windows"], name="windows_photos", start=0, end=1)
        rest = nodes.constant("windows.rest", [-1])
        nodes.add("Concat", [rows, rest], name="windows_places", axis=0)
    last = nodes.constant(f"{name}.width", [width])
    shape = nodes.add("Concat", ["windows_places", last], name=f"{name}_places", axis=0)
    by_place = nodes.add("Reshape", [source, shape], name=f"{name}_by_place")
    of_place = nodes.add("ReduceMean", [by_place], name=f"{name}_of_place", axes=[1], keepdims=0)
    both = nodes.reshape(of_place, name=f"{name}_by_view", shape=[2, -1, width])
    return nodes.add("ReduceMean", [both], name=name, axes=[0], keepdims=0)


def _with_mirrors(nodes: Nodes, photos: str) -> str:
    mirrored = nodes.reversed(photos, name="mirrored", axis=WIDTH)
    return nodes.add("Concat", [photos, mirrored], name="views", axis=0)


def _stretched(nodes: Nodes, mean: NDArray[np.float32]) -> str:
    """The mean image over the whole photo, as `torch.nn.functional.interpolate` does it."""
    sides = nodes.add("Shape", ["photos"], name="photo_sides", start=HEIGHT - 1, end=WIDTH)
    maps = nodes.constant("mean.maps", [1, 3])
    sizes = nodes.add("Concat", [maps, sides], name="mean_sizes", axis=0)
    inputs = [nodes.constant("mean", mean[None]), "", "", sizes]
    return nodes.add(
        "Resize",
        inputs,
        name="mean_stretched",
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )


def _last_maps(config: Config) -> int:
    """Maps of the last convolution, of all columns."""
    return [layer.shape[0] for layer in layers(config) if len(layer.shape) == 3][-1]
