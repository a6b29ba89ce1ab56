"""The first layers of ten views, computed once for all of them: on the photo and on its mirror.

`export.sharing` says how far that goes. Each stage, a convolution and its steps, runs on the whole
photo under the layers' own names (`conv1`, `relu1`, ...) and again on strips along those edges of
the views where they differ: `conv1_top`, `conv1_bottom`, `conv1_left`, `conv1_right`, and so on.
Strips of the same edge are one batch, in which those of left and right edges are transposed. Then
each view's maps are put together:

    ..._of_PLACE_inside    what the view has in common with the whole photo
    ..._of_PLACE_across    the same with the left and right strips at its sides
    ..._of_PLACE           the same with the top and bottom strips

A value holds the photos and then their mirrors, (2N, C, H, W): a place in it is two views of each
photo. The network goes on with the five places in a row, (10N, C, H, W), in another order of the
views than the plain graph's; their average is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alexnet.geometry import Layer
from export.layer_nodes import Graph, Part, add_layer, conv_of, pads_of
from export.nodes import HEIGHT, WIDTH
from export.sharing import EDGES, PLACES, Edge, Reach, Sharing, Stage
from export.views import add_photos, mean_of, normalised

WHOLE = "photo_and_mirror"
"""The node that only graphs with shared views have."""


def add_shared_views(graph: Graph, sharing: Sharing, mean: NDArray[np.float32] | None) -> str:
    """Nodes from `photos` to the maps that the last stage gives of each view, (10N, C, H, W).

    Raises:
        AlexNetError: the mean image is missing, superfluous, or of another size.
    """
    nodes, config = graph.nodes, graph.config.input
    constant = mean_of(config, mean)
    photos = add_photos(nodes, config)
    if sharing.linear:
        # Any level will do, as long as the mean loses it, too. Near the mean, sums round less.
        level = np.rint(constant.mean(axis=(1, 2), keepdims=True))
        upright = normalised(nodes, photos, config, level, name="level")
    else:
        upright = normalised(nodes, photos, config, constant)
    mirror = nodes.reversed(upright, name="mirror", axis=WIDTH)
    whole = nodes.add("Concat", [upright, mirror], name=WHOLE, axis=0)
    views: Mapping[str, str] | None = None
    for stage in sharing.stages:
        whole, views = _StageNodes(graph=graph, stage=stage, whole=whole, views=views).add()
    assert views is not None
    last = sharing.stages[-1].layers[-1].name
    together = nodes.add("Concat", list(views.values()), name=f"{last}_of_views", axis=0)
    if not sharing.linear:
        return together
    of_mean = _of_mean(graph, sharing.stages[0].layers[0], constant, level)
    return nodes.add("Sub", [together, of_mean], name=f"{last}_minus_mean")


def _of_mean(
    graph: Graph, conv1: Layer, mean: NDArray[np.float32], level: NDArray[np.float32]
) -> str:
    """What conv1 answers to the mean, less its bias: no photo changes it, so runtimes keep it."""
    nodes = graph.nodes
    value = nodes.constant("mean", mean[None])
    value = normalised(nodes, value, graph.config.input, level, name="level", of="mean")
    conv = conv_of(graph.config, conv1)
    return nodes.add(
        "Conv",
        [value, graph.weight(f"{conv1.name}.weight")],
        name=f"{conv1.name}_of_mean",
        kernel_shape=[conv.kernel, conv.kernel],
        strides=[conv.stride, conv.stride],
        pads=pads_of(conv, None),
    )


@dataclass(frozen=True, kw_only=True)
class _StageNodes:
    """One stage, while its nodes are written."""

    graph: Graph
    stage: Stage
    whole: str
    """What it reads of the whole photo."""
    views: Mapping[str, str] | None
    """What it reads of the view at each place; None for the first stage, whose views are parts of
    the photo."""

    def add(self) -> tuple[str, dict[str, str]]:
        """What the stage gives of the whole photo, and of the view at each place."""
        every = self.stage.all_of(whole=True)
        whole = self._add_layers(self.whole, suffix="", rows=every, columns=every)
        strips: dict[tuple[str, Edge], str] = {}
        for edge in (*EDGES[0], *EDGES[1]):
            strips |= self._add_strips(edge)
        return whole, {place: self._together(place, whole, strips) for place in PLACES}

    def _add_layers(
        self,
        source: str,
        *,
        suffix: str,
        rows: Sequence[Reach],
        columns: Sequence[Reach],
        lying: bool = False,
    ) -> str:
        """All layers on a part of the maps."""
        stage = self.stage
        for layer, row, column, extent in zip(
            stage.layers, rows, columns, stage.extents[:-1], strict=True
        ):
            part = Part(suffix=suffix, rows=row, columns=column, lying=lying)
            source = add_layer(self.graph, layer, source, side=extent.side, part=part)
        return source

    def _add_strips(self, edge: Edge) -> dict[tuple[str, Edge], str]:
        """All layers along an edge of the views that differ there: one batch, then a value each."""
        stage, nodes = self.stage, self.graph.nodes
        first, last = (f"{layer.name}_{edge}" for layer in (stage.layers[0], stage.layers[-1]))
        found = {place: stage.outputs.edges(place) for place in PLACES}
        places = [place for place, edges in found.items() if edge in edges]
        if not places:
            return {}
        along, across = stage.reaches(*found[places[0]][edge]), stage.all_of()
        reaches = (along[0], across[0]) if edge in EDGES[0] else (across[0], along[0])
        parts = [
            self._cut(place, name=f"{first}_of_{place}_in", reaches=reaches) for place in places
        ]
        batch = nodes.add("Concat", parts, name=f"{first}_in", axis=0)
        # Kernels run along rows, and are slow on short ones: a strip on its side has long rows.
        lying = edge in EDGES[1]
        if lying:
            batch = nodes.transposed(batch, name=f"{first}_lying")
        strips = self._add_layers(batch, suffix=f"_{edge}", rows=along, columns=across, lying=lying)
        if lying:
            strips = nodes.transposed(strips, name=f"{last}_upright")
        names = [f"{last}_of_{place}" for place in places]
        nodes.split(strips, name=f"{last}_by_place", outputs=names, axis=0)
        return {(place, edge): name for place, name in zip(places, names, strict=True)}

    def _cut(self, place: str, *, name: str, reaches: tuple[Reach, Reach]) -> str:
        """What a strip reads: rows and columns of the view at a place."""
        source, begins = self.whole, [self.stage.inputs.offset(at) for at in PLACES[place]]
        if self.views is not None:
            source, begins = self.views[place], [0, 0]
        return self.graph.nodes.slice(
            source,
            name=name,
            starts=[begin + reach.start for begin, reach in zip(begins, reaches, strict=True)],
            ends=[begin + reach.stop for begin, reach in zip(begins, reaches, strict=True)],
            axes=[HEIGHT, WIDTH],
        )

    def _together(self, place: str, whole: str, strips: Mapping[tuple[str, Edge], str]) -> str:
        """The maps of the view at a place: a part of the whole photo's, and strips around it."""
        nodes, extent = self.graph.nodes, self.stage.outputs
        name = f"{self.stage.layers[-1].name}_of_{place}"
        begins = [extent.offset(at) for at in PLACES[place]]
        commons = [extent.common(at) for at in PLACES[place]]
        inside = nodes.slice(
            whole,
            name=f"{name}_inside",
            starts=[begin + start for begin, (start, _) in zip(begins, commons, strict=True)],
            ends=[begin + stop for begin, (_, stop) in zip(begins, commons, strict=True)],
            axes=[HEIGHT, WIDTH],
        )
        left, right = (self._between(strips.get((place, edge)), commons[0]) for edge in EDGES[1])
        parts = [part for part in (left, inside, right) if part is not None]
        across = nodes.concat(parts, name=f"{name}_across", axis=WIDTH)
        top, bottom = (strips.get((place, edge)) for edge in EDGES[0])
        parts = [part for part in (top, across, bottom) if part is not None]
        return nodes.concat(parts, name=name, axis=HEIGHT)

    def _between(self, strip: str | None, rows: tuple[int, int]) -> str | None:
        """A left or right strip without its corners, which the top and bottom strips have."""
        if strip is None or rows == (0, self.stage.outputs.side):
            return strip
        return self.graph.nodes.slice(
            strip, name=f"{strip}_inside", starts=[rows[0]], ends=[rows[1]], axes=[HEIGHT]
        )
