"""Recipes: how a network is trained, as frozen dataclasses.

Every difference between two recipes is a field here; train/recipes.py names the combinations.
Sources are tagged as in alexnet/config.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from itertools import combinations, pairwise
from typing import Literal

from alexnet.config import Config, InputConfig, NetworkConfig
from alexnet.settings import at_least, chosen_by
from train.layers import check_names, chosen_layers, layer_names, overlap

Kind = Literal["plateau", "epochs", "dexp", "cosine", "constant"]
READERS: dict[str, tuple[Kind, ...]] = {
    "factor": ("plateau", "epochs"),
    "cuts": ("plateau",),
    "patience": ("plateau",),
    "cut_at": ("epochs",),
    "reduction": ("dexp",),
    "steps": ("dexp",),
}
"""The fields of a schedule that only some kinds read."""


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How learning rates change during a run: the factor on the recipe's rate."""

    kind: Kind = "plateau"
    """`plateau`: cut when the validation error stops improving [P §5], without a person.
    `epochs`: cut at the epochs of `cut_at`, as noted in the logs of 2012. `dexp`: `steps` equal
    parts of the run, rates geometrically spaced from 1 to 1 / `reduction` [S src/lr.cu].
    `cosine`: half a cosine from 1 to 0. `constant`: 1 throughout."""
    factor: float = 0.1
    """`plateau`, `epochs`: what a cut multiplies rates by."""
    cuts: int = 3
    """`plateau`: cuts in all, three in the paper; the run ends at the plateau after the last."""
    patience: int = 5
    """`plateau`: epochs without a better validation error before a cut."""
    cut_at: tuple[int, ...] = ()
    """`epochs`: first epochs (counted from 1) with a lower rate."""
    reduction: float = 250.0
    """`dexp`: the first rate over the last."""
    steps: int = 4
    """`dexp`: different rates in all."""
    warm_up: float = 0.0
    """Epochs in which rates rise linearly from 0; not of 2012."""

    def __post_init__(self) -> None:
        """Check ranges, and that fields are used by the kind of schedule."""
        if not 0 < self.factor < 1:
            raise ValueError(f"the factor must be between 0 and 1, not {self.factor:g}.")
        at_least(0, cuts=self.cuts, warm_up=self.warm_up)
        at_least(1, patience=self.patience, reduction=self.reduction)
        at_least(2, steps=self.steps)
        if list(self.cut_at) != sorted({cut for cut in self.cut_at if cut >= 2}):
            raise ValueError(f"cut_at must be rising epochs from 2 on, not {list(self.cut_at)}.")
        for item in fields(self):
            readers = READERS.get(item.name, (self.kind,))
            if self.kind not in readers and getattr(self, item.name) != item.default:
                kinds = " or ".join(repr(kind) for kind in readers)
                raise ValueError(f"{item.name} belongs to kind={kinds}, and only there.")


@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """Colour noise: a random shift along the principal components of the pixels [P §4.1]."""

    coefficient: float = 0.1
    """Standard deviation of the random factors; 0 switches the noise off."""
    of: Literal["deviations", "eigenvalues"] = "deviations"
    """What the factors multiply. The text says eigenvalues, which on pixels of 0-255 would be a
    shift of 1483 grey levels; the code uses their roots [S convdata_jpeg.py:65,177]."""
    rescale: bool = False
    """Divide the noisy input by 1 + coefficient [S convdata_jpeg.py:179]."""
    off_at: int | None = None
    """First epoch without noise; null: there is noise to the end."""

    def __post_init__(self) -> None:
        """Check ranges."""
        at_least(0, coefficient=self.coefficient)
        at_least(1, off_at=self.off_at)

    def at(self, epoch: int) -> NoiseConfig:
        """The noise of an epoch: without noise, nothing is divided either."""
        off = self.off_at is not None and epoch >= self.off_at
        return replace(self, coefficient=0.0) if off else self


@dataclass(frozen=True, kw_only=True)
class Conv1Config:
    """The first layer at the end of a run [S layer-params-145.cfg:165-182]."""

    slow_at: int | None = None
    """First epoch in which its weights learn at `slow_factor` times everybody's rate."""
    slow_factor: float = 0.1
    frozen_at: int | None = None
    """First epoch in which its weights and biases stay as they are."""

    def __post_init__(self) -> None:
        """Check ranges, and that the layer is not to learn once it is frozen."""
        at_least(1, slow_at=self.slow_at, frozen_at=self.frozen_at)
        at_least(0, slow_factor=self.slow_factor)
        slow, frozen = self.slow_at, self.frozen_at
        if slow is not None and frozen is not None and slow > frozen:
            raise ValueError(f"slow_at can't be after frozen_at: {slow} is after {frozen}.")


@dataclass(frozen=True, kw_only=True)
class RateStep:
    """From when on some layers learn at another rate."""

    at: float
    """Counted from 1, as epochs are: 3 is the beginning of the third epoch, 3.5 its middle."""
    factor: float
    """On the recipe's rate of the weights at that moment, not on the factor before; 0: frozen."""
    bias_factor: float | None = None
    """Likewise, of the biases; null: the same as `factor`."""

    def __post_init__(self) -> None:
        """Check ranges."""
        at_least(0, factor=self.factor, bias_factor=self.bias_factor)
        if not 1 < self.at < math.inf:
            raise ValueError(f"a step's at must be more than 1, the beginning, not {self.at:g}.")


@dataclass(frozen=True, kw_only=True)
class LayersConfig:
    """Layers that learn at rates of their own: factors on the recipe's, from the beginning on."""

    layers: str
    """By name: `fc8`, `conv1-conv5`, `conv6,fc6-fc8`."""
    factor: float = 1.0
    """On the recipe's rate of the weights; 0: they stay as they are. Where that holds of weights
    and biases, and without steps, gradients are not even computed."""
    bias_factor: float | None = None
    """On the recipe's rate of the biases; null: the same as `factor`. In 2012 biases kept the
    recipe's rate, 1, whatever their weights' was [S layer-params-146-2009.cfg]."""
    steps: tuple[RateStep, ...] = ()
    """Other factors later on."""

    def __post_init__(self) -> None:
        """Check ranges and names, and that steps follow each other."""
        check_names(self.layers)
        at_least(0, factor=self.factor, bias_factor=self.bias_factor)
        if any(one.at >= other.at for one, other in pairwise(self.steps)):
            ats = [step.at for step in self.steps]
            raise ValueError(f"{self.layers}: steps must follow each other, not be at {ats}.")

    @property
    def still(self) -> bool:
        """Whether the layers never learn."""
        return not (self.factor or self.bias_factor or self.steps)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything about training that is not the network."""

    name: str = field(metadata=chosen_by("--recipe"))
    batch: int = 128
    """Photos of a step, over all processes."""
    lr: float = 0.01
    """Learning rate of the weights at the start."""
    schedule: ScheduleConfig = ScheduleConfig()
    """Of the weights' rate."""
    bias_lr: float = 0.01
    """Learning rate of the biases at the start."""
    bias_schedule: ScheduleConfig | None = None
    """Of the biases' rate; null: it is cut together with the weights'."""
    conv1: Conv1Config = Conv1Config()
    layers: tuple[LayersConfig, ...] = ()
    """Layers with rates of their own, for networks that begin with a trained one's weights. Conv1's
    `slow_factor` multiplies what they give it, and frozen it stays."""
    momentum: float = 0.9
    weight_decay: float = 0.0005
    bias_decay: bool = False
    """Whether biases decay too; in 2012 they did not [S layer.cu:565]."""
    lr_in_velocity: bool = True
    """`v <- m v - lr (g + d w); w <- w + v` [P §5]. False: the rate multiplies the finished
    velocity, as in torch.optim.SGD."""
    zero_lr_skips: bool = True
    """A layer with rate 0 is left alone: no decay, no drift, its velocity kept
    [S weights.cu:148]. False: its velocity goes on, as in torch.optim.SGD."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes; not of 2012."""
    crops_shared_by: int = 1
    """Consecutive photos of a minibatch that share one crop and mirror; 32 in 2012
    [S convdata_jpeg.py:77,238]."""
    noise: NoiseConfig = NoiseConfig()
    epochs: int = 90
    """The run ends here, if the schedule has not ended it before."""
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    """Of the arithmetic. `bfloat16`: products in it (autocast); weights, velocities, normalisation
    and loss stay float32."""
    tf32: bool = False
    """Whether NVIDIA GPUs may round what products in float32 multiply to TF32, 10 bits of fraction:
    faster. CPUs do not; float64 has no such products, bfloat16 a few."""
    compiled: bool = False
    """Whether torch.compile makes the step's kernels."""
    channels_last: bool = True
    """How maps lie in memory. On CPUs and on GPUs with half precision a step is faster so."""
    network_settings: tuple[str, ...] = field(default=(), metadata=chosen_by("--recipe"))
    """What the recipe asks of input and network, as settings of --set; a user's own come last."""

    def __post_init__(self) -> None:
        """Check ranges."""
        at_least(1, batch=self.batch, epochs=self.epochs, crops_shared_by=self.crops_shared_by)
        at_least(0, lr=self.lr, bias_lr=self.bias_lr, weight_decay=self.weight_decay)
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum must be from 0 to 1, not {self.momentum:g}.")
        if self.tf32 and self.dtype == "float64":
            raise ValueError("tf32 rounds products of float32, and dtype='float64' has none.")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(
                f"label_smoothing must be at least 0 and less than 1, not {self.label_smoothing:g}."
            )
        if self.bias_schedule is not None and self.bias_schedule.kind == "plateau":
            raise ValueError("bias_schedule can't be of kind='plateau': null follows the weights'.")
        for one, other in combinations([part.layers for part in self.layers], 2):
            if overlap(one, other):
                raise ValueError(f"layers: {one} and {other} name the same layer: name it once.")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What a run is made of; `--set section.field=value` changes any of it."""

    preset: str = field(metadata=chosen_by("--preset"))
    input: InputConfig
    network: NetworkConfig
    recipe: Recipe
    seed: int = field(default=0, metadata=chosen_by("--seed"))

    def __post_init__(self) -> None:
        """Check ranges."""
        at_least(0, seed=self.seed)
        learning = set(layer_names(self.network))
        for part in self.recipe.layers:
            try:
                chosen = chosen_layers(part.layers, self.network)
            except ValueError as error:
                raise ValueError(f"recipe.layers: {error}.") from error
            learning -= set(chosen if part.still else ())
        if not learning:
            raise ValueError("recipe.layers: no layer learns, all have the factor 0.")

    @property
    def config(self) -> Config:
        """The network and the way photos enter it, without how they are trained."""
        return Config(preset=self.preset, input=self.input, network=self.network)
