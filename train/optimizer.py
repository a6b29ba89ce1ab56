"""Stochastic gradient descent as in the paper's section 5, and in PyTorch's reading of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from train.layers import names
from train.recipe import Recipe
from train.schedule import Moment, Rates, rates


class SGD(torch.optim.Optimizer):
    """Momentum and weight decay with the learning rate inside or outside the velocity.

    Inside [P §5, S weights.cu:148-195]: `v <- m v - lr (g + d w)`, `w <- w + v`. A cut of the rate
    then acts on new gradients only. Outside (torch.optim.SGD): `v <- m v + g + d w`,
    `w <- w - lr v`. The two are equal while the rate is constant.

    With `zero_lr_skips`, a group whose rate is 0 is left alone altogether: no decay, no drift, its
    velocity kept [S weights.cu:148].
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        momentum: float,
        lr_in_velocity: bool = True,
        zero_lr_skips: bool = True,
    ):
        """`groups`: dictionaries with `params`, `lr` and `weight_decay`."""
        super().__init__(groups, {"momentum": momentum, "lr_in_velocity": lr_in_velocity})
        self._zero_lr_skips = zero_lr_skips

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            if group["lr"] == 0 and self._zero_lr_skips:
                continue
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, group)
        return loss

    def _update(self, weight: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(weight)
        velocity, rate = state["velocity"], group["lr"]
        gradient = weight.grad
        assert gradient is not None
        if group["weight_decay"]:
            gradient = gradient.add(weight, alpha=group["weight_decay"])
        if group["lr_in_velocity"]:
            velocity.mul_(group["momentum"]).sub_(gradient, alpha=rate)
            weight.add_(velocity)
        else:
            velocity.mul_(group["momentum"]).add_(gradient)
            weight.sub_(velocity, alpha=rate)


def optimizer_for(network: nn.Module, recipe: Recipe) -> SGD:
    """The recipe's optimizer: weights and biases in groups, named as in `Rates.named`.

    Conv1 is apart, and so are the layers of each entry of the recipe's `layers`. Those that never
    learn are told to have no gradients: do this before the network is compiled or shared out.
    """
    begun = rates(recipe, Moment(1))
    groups: dict[str, dict[str, Any]] = {
        name: {
            "name": name,
            "params": [],
            "lr": recipe.lr if name.endswith("weights") else recipe.bias_lr,
            "weight_decay": _decay(recipe, name),
        }
        for name in begun.named()
    }
    for name, parameter in network.named_parameters():
        layer, _, kind = name.rpartition(".")
        group = "biases" if kind == "bias" else "weights"
        if place := _place(layer, begun):
            group = f"{place}_{group}"
        groups[group]["params"].append(parameter)
        if any(part.still and names(part.layers, layer) for part in recipe.layers):
            parameter.requires_grad_(False)
    return SGD(
        list(groups.values()),
        momentum=recipe.momentum,
        lr_in_velocity=recipe.lr_in_velocity,
        zero_lr_skips=recipe.zero_lr_skips,
    )


def set_rates(optimizer: SGD, rates: Rates) -> None:
    """Give every group its rate."""
    named = rates.named()
    for group in optimizer.param_groups:
        group["lr"] = named[group["name"]]


def _place(layer: str, found: Rates) -> str:
    """Which rates a layer has, by the beginning of their names; "" where it has none of its own."""
    if layer == "conv1":
        return layer
    return next((own.layers for own in found.layers if names(own.layers, layer)), "")


def _decay(recipe: Recipe, group: str) -> float:
    return recipe.weight_decay if group.endswith("weights") or recipe.bias_decay else 0.0
