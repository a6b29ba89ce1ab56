"""Which kernels a step is computed with: rounding of products, choice by time, torch.compile."""

from __future__ import annotations

import shutil
from typing import cast

import torch
from torch import nn

from alexnet.errors import AlexNetError
from train.recipe import Recipe

GRAPHS = 32
"""Graphs of one function at most. An epoch's steps need up to twelve of `AlexNet.conv_stage`, six
layers on whole minibatches and on the last, short one, where columns that are apart break the
network into its stages."""


class KernelsError(AlexNetError):
    """Kernels that can't be had here."""


def choose_kernels(recipe: Recipe, device: torch.device) -> None:
    """Set PyTorch's switches for this process as the recipe says.

    Raises:
        KernelsError: they are to be compiled, and there is no compiler.
    """
    # By default GPUs convolve in TF32, also what autocast leaves in float32: normalisation.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = recipe.tf32
    if device.type == "cuda":
        # The fastest for each of the few shapes of a run, which the first steps find out.
        torch.backends.cudnn.benchmark = True
    compilers = shutil.which("g++") or shutil.which("c++")
    if recipe.compiled and device.type == "cpu" and not compilers:
        raise KernelsError(
            "recipe.compiled needs a C++ compiler on CPUs, and there is none: install g++, or use "
            "--set recipe.compiled=false."
        )


def compiled(network: nn.Module) -> nn.Module:
    """The network with kernels of its own, a graph for each size of a minibatch.

    Left to itself, torch.compile makes the second size's graph for any size. A run that goes on in
    the middle of an epoch meets the sizes in another order, and would get other graphs.
    """
    import torch._dynamo

    # Beyond the limit, of eight, PyTorch goes on without compiling and says nothing.
    config = torch._dynamo.config
    config.recompile_limit = max(GRAPHS, config.recompile_limit)
    return cast(nn.Module, torch.compile(network, dynamic=False))
