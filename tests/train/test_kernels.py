"""Which kernels a step runs on: rounding, compiling, and graphs that PyTorch does not give up."""

import functools
import shutil
from dataclasses import replace

import pytest
import torch

from tests.train.conftest import on_ranks
from tests.train.runs import ODD, config_of, train_epoch, trainer_of
from train import kernels
from train.dataset import Dataset
from train.kernels import KernelsError
from train.mesh import open_mesh
from train.trainer import Trainer

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


class Graphs:
    """A compiler that leaves graphs as they are, and notes the sizes of their inputs."""

    def __init__(self):
        self.sizes = []

    def __call__(self, graph, inputs):
        self.sizes.append({type(size) for one in inputs for size in getattr(one, "shape", [one])})
        return graph.forward


def two_epochs(data, columns):
    """In one of so many processes: what was compiled, or why PyTorch gave up."""
    import torch._dynamo

    graphs = Graphs()
    torch.compile = functools.partial(torch.compile, backend=graphs)
    torch._dynamo.config.fail_on_recompile_limit_hit = True  # else it goes on without compiling
    with open_mesh(columns=columns) as mesh:
        trainer = Trainer(config_of(recipe=COMPILED), Dataset(data), mesh=mesh)
        counts = []
        try:
            for _ in range(2):
                train_epoch(trainer)
                counts.append(len(graphs.sizes))
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return counts, graphs.sizes


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs g++ on CPUs")
@pytest.mark.parametrize("columns", [1, 2])
def test_every_part_of_the_network_is_compiled_for_whole_and_for_short_minibatches(colors, columns):
    for answer in on_ranks(columns, functools.partial(two_epochs, colors, columns)):
        assert not isinstance(answer, str), answer
        (first, second), sizes = answer
        # In one piece it is a graph for each size; apart, five stages and what is around them.
        assert first >= 2 * (1 if columns == 1 else 5)
        assert second == first  # the second epoch brings nothing new
        assert set().union(*sizes) == {int}  # no size is left open: see `compiled`
