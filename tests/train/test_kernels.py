"""Which kernels a step runs on: rounding, compiling, and graphs that PyTorch does not give up."""

from dataclasses import replace

import pytest
import torch

from tests.train.runs import ODD, trainer_of
from train import kernels
from train.kernels import KernelsError

COMPILED = replace(ODD, compiled=True)  # an epoch: minibatches of 20, 20 and 8 photos


def test_the_compiler_is_asked_where_the_recipe_says_so(colors, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda network, **how: asked.append(network) or network)
    monkeypatch.setattr(kernels.shutil, "which", lambda name: "/usr/bin/g++")
    trainer_of(colors, recipe=ODD)
    assert not asked
    trainer = trainer_of(colors, recipe=COMPILED)
    assert asked == [trainer.network]


def test_without_a_compiler_there_is_a_sentence(colors, monkeypatch):
    monkeypatch.setattr(kernels.shutil, "which", lambda name: None)
    with pytest.raises(KernelsError, match=r"install g\+\+, or use --set recipe.compiled=false"):
        trainer_of(colors, recipe=COMPILED)


@pytest.mark.parametrize("rounded", [False, True])
def test_products_are_rounded_to_tf32_where_the_recipe_says_so(colors, rounded):
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        trainer_of(colors, recipe=replace(ODD, tf32=rounded))
        assert torch.backends.cuda.matmul.allow_tf32 == rounded
        assert torch.backends.cudnn.allow_tf32 == rounded
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
