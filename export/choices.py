"""How a graph may be written: a few small choices that don't hang on each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from alexnet.backends.base import Precision, Target
from alexnet.config import Config, LRNConfig
from alexnet.geometry import groups

ViewsForm = Literal["plain", "shared"]
LRNForm = Literal["standard", "fast"]
ColumnsForm = Literal["grouped", "split"]
ConvolutionsForm = Literal["direct", "winograd"]


@dataclass(frozen=True, kw_only=True)
class GraphChoices:
    """The forms of a graph. All of them give the same answers, but for rounding."""

    target: Target = "portable"
    """The runtime that the graph is for; it stands in the file."""
    views: ViewsForm = "plain"
    """`plain`: the network runs on each view. `shared`: what the views have in common is computed
    once (export.shared_views)."""
    lrn: LRNForm = "standard"
    """`standard`: ONNX's LRN operator. `fast`: convolutions and square roots (export.fast_lrn)."""
    columns: ColumnsForm = "grouped"
    """`grouped`: one convolution of two groups. `split`: one for each column."""
    convolutions: ConvolutionsForm = "direct"
    """`direct`: each is one node. `winograd`: with ten views, those of 3x3 kernels are 16 smaller
    ones, which multiply about half as often (export.winograd)."""


PLAIN = GraphChoices()
"""Today's runtimes and tomorrow's read it, and each layer is one node."""

_OF_TARGET: dict[Target, GraphChoices] = {
    "portable": PLAIN,
    # Its own LRN is a plain loop.
    "onnxruntime": GraphChoices(
        target="onnxruntime", views="shared", lrn="fast", convolutions="winograd"
    ),
    "openvino": GraphChoices(target="openvino", views="shared", convolutions="winograd"),
    # It gets plugins for LRN (export.plugin_graph), and has memory and cores for ten views.
    "tensorrt": GraphChoices(target="tensorrt"),
}

# Maps from which on Winograd's convolutions are faster: reading half as many, mini's are a little
# slower; reading twice as many, the paper's take three quarters of the time.
_MANY = 96


def choices_for(
    target: Target,
    config: Config,
    *,
    precision: Precision | None = None,
    share: bool | None = None,
    lrn: LRNForm | None = None,
    columns: ColumnsForm | None = None,
    convolutions: ConvolutionsForm | None = None,
) -> GraphChoices:
    """The fastest choices for a runtime (docs/shared-views.md), but for those that are made.

    Args:
        target: the runtime.
        config: the network.
        precision: what its layers will be computed in; None is fp32.
        share: whether the views share; None: as is best, and so on.
        lrn: how to normalise.
        columns: how to write convolutions of two columns.
        convolutions: how to write those of 3x3 kernels.
    """
    chosen = _OF_TARGET[target]
    if precision not in (None, "fp32") or _reads_few_maps(config):
        # Sums and differences of rounded values would be rounded once more.
        chosen = replace(chosen, convolutions="direct")
    if target == "openvino" and precision == "int8":
        # Not every graph's grouped convolutions run in int8 there: docs/results.md.
        chosen = replace(chosen, columns="split")
    if target == "openvino" and (_stops_at_columns(config) or _has_fraction(config)):
        # Its LRN is fast, but not the reshapes that keep windows inside of columns, and it drops
        # the fraction of k.
        chosen = replace(chosen, lrn="fast")
    if _has_even_window(config):
        # ONNX's operator centres those on another map (export.lrn).
        chosen = replace(chosen, lrn="fast")
    if share is not None:
        chosen = replace(chosen, views="shared" if share else "plain")
    return replace(
        chosen,
        lrn=lrn or chosen.lrn,
        columns=columns or chosen.columns,
        convolutions=convolutions or chosen.convolutions,
    )


def _stops_at_columns(config: Config) -> bool:
    return config.network.columns > 1 and any(lrn.within_columns for lrn in _normalising(config))


def _has_fraction(config: Config) -> bool:
    return any(not float(lrn.k).is_integer() for lrn in _normalising(config))


def _has_even_window(config: Config) -> bool:
    return any(lrn.window == "maps" and lrn.size % 2 == 0 for lrn in _normalising(config))


def _reads_few_maps(config: Config) -> bool:
    """Whether sums of the maps that 3x3 convolutions read cost what products are saved."""
    reads = [
        before.maps // groups(config.network, conv)
        for before, conv in pairwise(config.network.convs)
        if conv.kernel == 3
    ]
    return min(reads, default=0) < _MANY


def _normalising(config: Config) -> list[LRNConfig]:
    return [conv.lrn for conv in config.network.convs if conv.lrn is not None]
