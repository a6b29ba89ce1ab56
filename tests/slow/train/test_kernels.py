"""Every part of a network is compiled."""

import functools
import shutil

import pytest

from tests.train.conftest import on_ranks
from tests.train.runs import config_of, train_epoch
from tests.train.test_kernels import COMPILED
from train.dataset import Dataset
from train.mesh import open_mesh
from train.trainer import Trainer


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
