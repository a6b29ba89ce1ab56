"""Recipes: how a network is trained, as frozen dataclasses.

The parts that one process on one device needs. Sources are tagged as in alexnet/config.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from alexnet.config import Config, InputConfig, NetworkConfig
from alexnet.errors import AlexNetError
from alexnet.settings import at_least, chosen_by


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """When the learning rates are cut."""

    kind: Literal["plateau", "epochs"] = "plateau"
    """`plateau`: when the validation error stops improving [P §5], without a person. `epochs`: at
    the epochs of `cut_at`."""
    factor: float = 0.1
    """Rates are multiplied by this at each cut."""
    cuts: int = 3
    """`plateau`: cuts in all, three in the paper; the run ends at the plateau after the last."""
    patience: int = 5
    """`plateau`: epochs without a better validation error before a cut."""
    cut_at: tuple[int, ...] = ()
    """`epochs`: first epochs (counted from 1) with a lower rate; none: the rate is constant."""

    def __post_init__(self) -> None:
        """Check ranges, and that fields are used by the kind of schedule."""
        if not 0 < self.factor < 1:
            raise ValueError(f"the factor must be between 0 and 1, not {self.factor:g}.")
        at_least(0, cuts=self.cuts)
        at_least(1, patience=self.patience)
        if self.cut_at and self.kind != "epochs":
            raise ValueError("cut_at belongs to kind='epochs', and only there.")
        defaults = (ScheduleConfig.cuts, ScheduleConfig.patience)
        if self.kind == "epochs" and (self.cuts, self.patience) != defaults:
            raise ValueError("cuts and patience belong to kind='plateau', and only there.")
        if list(self.cut_at) != sorted({cut for cut in self.cut_at if cut >= 2}):
            raise ValueError(f"cut_at must be rising epochs from 2 on, not {list(self.cut_at)}.")


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

    def __post_init__(self) -> None:
        """Check ranges."""
        at_least(0, coefficient=self.coefficient)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything about training that is not the network."""

    name: str = field(metadata=chosen_by("--recipe"))
    batch: int = 128
    lr: float = 0.01
    """Learning rate of the weights at the start."""
    bias_lr: float = 0.01
    """Learning rate of the biases at the start; cut together with the weights'."""
    momentum: float = 0.9
    weight_decay: float = 0.0005
    bias_decay: bool = False
    """Whether biases decay too; in 2012 they did not [S layer.cu:565]."""
    lr_in_velocity: bool = True
    """`v <- m v - lr (g + d w); w <- w + v` [P §5]. False: the rate multiplies the finished
    velocity, as in torch.optim.SGD."""
    crops_shared_by: int = 1
    """Consecutive photos of a minibatch that share one crop and mirror; 32 in 2012
    [S convdata_jpeg.py:77,238]."""
    noise: NoiseConfig = NoiseConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    epochs: int = 90
    """The run ends here, if the schedule has not ended it before."""

    def __post_init__(self) -> None:
        """Check ranges."""
        at_least(1, batch=self.batch, epochs=self.epochs, crops_shared_by=self.crops_shared_by)
        at_least(0, lr=self.lr, bias_lr=self.bias_lr, weight_decay=self.weight_decay)
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum must be from 0 to 1, not {self.momentum:g}.")


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

    @property
    def config(self) -> Config:
        """The network and the way photos enter it, without how they are trained."""
        return Config(preset=self.preset, input=self.input, network=self.network)


def paper() -> Recipe:
    """The recipe of the printed text [P §5], with the colour noise as it was implemented."""
    return Recipe(name="paper")


def mini() -> Recipe:
    """The recipe of the small model that ships; ours, not of 2012.

    Half the minibatch, twice the rate for biases, and cuts at fixed epochs, so that the length of
    the run is known before it starts.
    """
    schedule = ScheduleConfig(kind="epochs", cut_at=(58, 68))
    return Recipe(name="mini", batch=64, bias_lr=0.02, schedule=schedule, epochs=72)


RECIPES: dict[str, Callable[[], Recipe]] = {maker.__name__: maker for maker in (paper, mini)}


def recipe(name: str) -> Recipe:
    """The recipe called `name`.

    Raises:
        AlexNetError: there is no such recipe.
    """
    if name not in RECIPES:
        raise AlexNetError(f"There is no recipe '{name}': choose one of {', '.join(RECIPES)}.")
    return RECIPES[name]()
