"""Which outputs of a view are also outputs of the whole photo: by arithmetic alone.

A view is a crop of the photo or of its mirror. Away from the crop's edges a convolution, a pooling
or a normalisation gives for the crop what it gives for the whole photo, so that it need be computed
only once for all views. docs/shared-views.md derives the numbers.

Rows and columns follow the same rule (photos, crops and kernels are square), so everything here is
along one axis. Along it the five places of the views begin at 0, `far / 2` and `far`. An edge of a
view is an outer one where it is the photo's edge, too; the padding behind an outer edge is the
same for both. Behind an inner edge the whole photo goes on, and outputs that look there differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from alexnet.config import Config, ConvConfig
from alexnet.geometry import Layer, layers

Edge = Literal["top", "bottom", "left", "right"]
EDGES: tuple[tuple[Edge, Edge], ...] = (("top", "bottom"), ("left", "right"))
"""Where a view begins and ends, down and across."""

PLACES = {
    "top_left": (0, 0),
    "top_right": (0, 2),
    "centre": (1, 1),
    "bottom_left": (2, 0),
    "bottom_right": (2, 2),
}
"""The views' places down and across, in the order of alexnet.views: 0 is near, 1 the middle, 2 far.
The views of the mirror are at the same five places of the mirrored photo, in another order."""

# Where more of a convolution's work is left than this, copying the views' maps together takes what
# is saved: docs/shared-views.md has the comparison.
_WORTH = 0.7


@dataclass(frozen=True, kw_only=True)
class Extent:
    """A layer's maps along one axis: a view's, and how they lie in the whole photo's."""

    side: int
    """Values of a view; the whole photo's maps have `far` more."""
    far: int
    """Where the furthest view begins."""
    before: int = 0
    """Values at a view's start (top, left) that differ if that edge is an inner one."""
    after: int = 0
    """Values at its end (bottom, right) that differ if that edge is an inner one."""

    def length(self, *, whole: bool) -> int:
        """Values of the whole photo, or of a view."""
        return self.side + (self.far if whole else 0)

    def offset(self, place: int) -> int:
        """Where a view of a place (0, 1 or 2) begins in the whole photo's maps."""
        return place * self.far // 2

    def common(self, place: int) -> tuple[int, int]:
        """The values [start, stop) of a view of this place that are the whole photo's, too."""
        start = self.before if self.offset(place) > 0 else 0
        stop = self.side - self.after if self.offset(place) < self.far else self.side
        return start, stop

    def edges(self, name: str) -> dict[Edge, tuple[int, int]]:
        """The edges of a view of `PLACES` that differ, with their values [start, stop)."""
        found: dict[Edge, tuple[int, int]] = {}
        for place, (first, last) in zip(PLACES[name], EDGES, strict=True):
            start, stop = self.common(place)
            if start > 0:
                found[first] = (0, start)
            if stop < self.side:
                found[last] = (stop, self.side)
        return found


@dataclass(frozen=True, kw_only=True)
class Window:
    """What a layer reads: output j reads `size` inputs from j * stride - before on."""

    size: int = 1
    stride: int = 1
    before: int = 0


@dataclass(frozen=True, kw_only=True)
class Reach:
    """The inputs [start, stop) that some outputs of a layer read, and the padding around them."""

    start: int
    stop: int
    before: int
    after: int
    outputs: int


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A convolution and those of its steps that are computed once for all views."""

    layers: tuple[Layer, ...]
    windows: tuple[Window, ...]
    """Of each layer."""
    extents: tuple[Extent, ...]
    """Of the stage's inputs, then of each layer's outputs."""

    @property
    def inputs(self) -> Extent:
        """What the convolution reads."""
        return self.extents[0]

    @property
    def outputs(self) -> Extent:
        """What the last step leaves."""
        return self.extents[-1]

    def reaches(self, start: int, stop: int, *, whole: bool = False) -> tuple[Reach, ...]:
        """What each layer reads for the outputs [start, stop) of a view, or of the whole photo."""
        found = []
        for window, extent in zip(reversed(self.windows), self.extents[-2::-1], strict=True):
            first = start * window.stride - window.before
            last = (stop - 1) * window.stride - window.before + window.size
            length = extent.length(whole=whole)
            reach = Reach(
                start=max(first, 0),
                stop=min(last, length),
                before=max(-first, 0),
                after=max(last - length, 0),
                outputs=stop - start,
            )
            found.append(reach)
            start, stop = reach.start, reach.stop
        return tuple(reversed(found))

    def all_of(self, *, whole: bool = False) -> tuple[Reach, ...]:
        """What each layer reads for all outputs of a view, or of the whole photo."""
        return self.reaches(0, self.outputs.length(whole=whole), whole=whole)

    def without_pool(self) -> Stage:
        """The same without a pooling at its end, whose windows make the edges wider."""
        count = len(self.layers) - (self.layers[-1].kind == "pool")
        return Stage(
            layers=self.layers[:count],
            windows=self.windows[:count],
            extents=self.extents[: count + 1],
        )

    @property
    def work(self) -> float:
        """Multiply-adds of the convolution, on the whole photo and for the edges that differ, as
        part of those of one view after the other."""
        across = self.all_of()[0].outputs
        done = self.all_of(whole=True)[0].outputs ** 2
        for name in PLACES:
            for start, stop in self.outputs.edges(name).values():
                done += self.reaches(start, stop)[0].outputs * across
        return done / (len(PLACES) * across**2)


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """What the views of a network share."""

    stages: tuple[Stage, ...]
    limit: str
    """Why it isn't more: the end of a sentence."""
    linear: bool = False
    """conv1 is shared by photos that still have the mean in them; its answer to the mean is
    subtracted from each view's maps."""

    @property
    def sentence(self) -> str:
        """What is shared, with the work that it leaves, and why it isn't more."""
        shared = " and ".join(
            f"{stage.layers[0].name} ({100 * stage.work:.0f} % of its work is left)"
            for stage in self.stages
        )
        return f"The views share {shared or 'nothing'}: {self.limit}."


def sharing_of(config: Config, *, worth: float = _WORTH) -> Sharing:
    """What the ten views of a network can share.

    The views' maps are put together before the last stage's pooling: to copy them costs less than
    to compute the wider edges that pooled maps have.

    Args:
        config: the network.
        worth: the largest part of its work that a shared convolution may leave.

    Raises:
        AlexNetError: a kernel does not fit the maps that reach it.
    """
    linear = config.input.mean == "centred"
    stages: list[Stage] = []
    extent = Extent(side=config.input.crop, far=config.input.size - config.input.crop)
    limit = ""
    for number, conv in enumerate(config.network.convs):
        of_conv = [layer for layer in layers(config) if layer.conv == number]
        stage, limit = _stage(of_conv[:1] if linear else of_conv, conv, extent)
        if stage is None:
            break
        if (work := stage.without_pool().work) > worth:
            limit = f"of {of_conv[0].name} {100 * work:.0f} % would be left, too much to gain by it"
            break
        stages.append(stage)
        extent = stage.outputs
        if linear:
            limit = "from every view the mean's centre is subtracted, wherever the view lies"
        if limit:
            break
    if stages:
        stages[-1] = stages[-1].without_pool()
    return Sharing(
        stages=tuple(stages),
        limit=limit or "there are no more convolutions",
        linear=linear and bool(stages),
    )


def _stage(of_conv: Sequence[Layer], conv: ConvConfig, extent: Extent) -> tuple[Stage | None, str]:
    """As many of a convolution's layers as the views can share, and why it isn't all of them."""
    windows: list[Window] = []
    extents = [extent]
    limit = ""
    for layer in of_conv:
        window = _window(layer, conv)
        limit = _misaligned(extent, layer, window)
        if not limit:
            extent = _through(extent, window, side=layer.shape[1])
            if extent.before + extent.after >= extent.side:
                limit = f"the edges of {layer.name} leave nothing in between"
        if limit:
            break
        windows.append(window)
        extents.append(extent)
    if not windows:
        return None, limit
    shared = tuple(of_conv[: len(windows)])
    return Stage(layers=shared, windows=tuple(windows), extents=tuple(extents)), limit


def _window(layer: Layer, conv: ConvConfig) -> Window:
    if layer.kind == "conv":
        return Window(size=conv.kernel, stride=conv.stride, before=conv.pad[0])
    if layer.kind == "pool":
        assert conv.pool is not None
        return Window(size=conv.pool.size, stride=conv.pool.stride)
    if layer.kind == "lrn":
        assert layer.step is not None
        lrn = conv.lrn_of(layer.step)
        if lrn.window == "positions":
            return Window(size=lrn.size, before=lrn.size // 2)
    return Window()


def _misaligned(extent: Extent, layer: Layer, window: Window) -> str:
    """Why the views begin between two outputs of a layer; empty where they don't."""
    far, middle = extent.far, extent.far // 2
    begin = f"before {layer.name} the views begin at 0, {middle} and {far}"
    if far % window.stride or middle % window.stride:
        return f"{begin}, and its stride is {window.stride}"
    if far % 2:
        return f"{begin}, and those of the mirror at 0, {far - middle} and {far}"
    return ""


def _through(extent: Extent, window: Window, *, side: int) -> Extent:
    """What a layer makes of an extent; `side`: its outputs for a view."""
    # Of a view with two inner edges: the first output that reads nothing different, and the last.
    first = -(-(extent.before + window.before) // window.stride)
    last = (extent.side - extent.after - window.size + window.before) // window.stride
    return Extent(
        side=side,
        far=extent.far // window.stride,
        before=first,
        after=max(side - 1 - last, 0),
    )
