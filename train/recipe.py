"""Recipes: how a network is trained, as frozen dataclasses.

The parts that one process on one device needs. Sources are tagged as in alexnet/config.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from alexnet.config import InputConfig, NetworkConfig
from alexnet.errors import AlexNetError


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
    """`epochs`: first epochs (counted from 1) with a lower rate."""


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


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything about training that is not the network."""

    name: str
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
        if self.batch < 1 or self.epochs < 1 or self.crops_shared_by < 1:
            raise ValueError("batch, epochs and crops_shared_by must be at least 1.")
        if self.lr < 0 or self.bias_lr < 0:
            raise ValueError("learning rates must not be negative.")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What a run is made of; `--set section.field=value` changes any of it."""

    preset: str
    input: InputConfig
    network: NetworkConfig
    recipe: Recipe
    seed: int = 0


def paper() -> Recipe:
    """The recipe of the printed text [P §5], with the colour noise as it was implemented."""
    return Recipe(name="paper")


def mini() -> Recipe:
    """The recipe of the small model that ships; ours, not of 2012.

    Half the minibatch, twice the rate for biases, and cuts at fixed epochs, so that the length of
    the run is known before it starts.
    """
    schedule = ScheduleConfig(kind="epochs", cut_at=(62, 74))
    return Recipe(name="mini", batch=64, bias_lr=0.02, schedule=schedule, epochs=80)


RECIPES: dict[str, Callable[[], Recipe]] = {maker.__name__: maker for maker in (paper, mini)}


def recipe(name: str) -> Recipe:
    """The recipe called `name`.

    Raises:
        AlexNetError: there is no such recipe.
    """
    if name not in RECIPES:
        raise AlexNetError(f"There is no recipe '{name}': choose one of {', '.join(RECIPES)}.")
    return RECIPES[name]()
