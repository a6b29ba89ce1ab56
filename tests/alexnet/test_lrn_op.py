import pytest
import torch
from torch._subclasses import FakeTensorMode

from alexnet.config import LRNConfig, PoolConfig
from alexnet.lrn.op import lrn, relu_lrn_pool
from alexnet.lrn.reference import local_response_norm

CONFIGS = {
    "printed": LRNConfig(),
    "net145": LRNConfig(alpha_of="mean"),
    "caffe": LRNConfig(alpha_of="mean", k=1.0, within_columns=False),
    "another power": LRNConfig(beta=0.5),
    "an even window": LRNConfig(size=4),
    "a window wider than a column": LRNConfig(size=9),
    "positions": LRNConfig(alpha=0.001, alpha_of="mean", k=1.0, window="positions"),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("shape", [(2, 12, 5, 7), (1, 2, 6, 6), (0, 8, 6, 6)])
def test_values_and_gradients_are_the_references(name, shape):
    config = CONFIGS[name]
    maps = 100 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = []
    for function in (lrn, local_response_norm):
        leaf = maps.clone().requires_grad_()
        values = function(leaf, config, columns=2)
        (values * weights).sum().backward()
        found.append((values.detach(), leaf.grad))
    for mine, reference in zip(*found, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-12)


def test_the_gradient_is_the_slope():
    maps = 60 * torch.randn(1, 6, 2, 2, dtype=torch.float64)
    maps.requires_grad_()
    assert torch.autograd.gradcheck(lambda m: lrn(m, LRNConfig(alpha=1e-3), columns=2), (maps,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_normalised_in_float32(dtype):
    maps = torch.full((1, 8, 3, 3), 400.0)  # 5 * 400^2 is more than float16 holds
    expected = local_response_norm(maps, LRNConfig(), columns=2)
    torch.testing.assert_close(
        lrn(maps.to(dtype), LRNConfig(), columns=2), expected.to(dtype), rtol=1e-2, atol=0
    )
    with torch.autocast("cpu", dtype):
        torch.testing.assert_close(lrn(maps, LRNConfig(), columns=2), expected)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_compiled_network_sees_the_whole_function(name):
    maps = 60 * torch.randn(2, 12, 5, 7)
    maps.requires_grad_()

    def stage(values):
        return lrn(values, CONFIGS[name], columns=2)

    compiled = torch.compile(stage, fullgraph=True, backend="aot_eager")
    results = []
    for function in (stage, compiled):
        values = function(maps)
        results.append((values, *torch.autograd.grad(values.square().sum(), maps)))
    for plain, traced in zip(*results, strict=True):
        torch.testing.assert_close(traced, plain)


def test_the_kernels_are_operators_that_a_compiler_can_pass_by():
    # With fake tensors nothing runs: a GPU is not needed.
    def stage(values):
        normalised = lrn(values, LRNConfig(), columns=2, implementation="triton")
        return relu_lrn_pool(
            normalised.detach(), LRNConfig(), PoolConfig(), implementation="triton"
        )

    with FakeTensorMode():
        maps = torch.empty(2, 12, 5, 7).to(memory_format=torch.channels_last).requires_grad_()
        pooled = torch.compile(stage, fullgraph=True, backend="eager")(maps)
        values = lrn(maps, LRNConfig(), implementation="triton")
        (gradient,) = torch.autograd.grad(values.sum(), maps)
    assert pooled.shape == (2, 12, 2, 3)
    assert gradient.shape == maps.shape
    for tensor in (pooled, gradient):
        assert tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("implementation", [None, "plain", "reference"])
def test_every_implementation_gives_the_references_values(implementation):
    maps = 60 * torch.randn(2, 12, 5, 7, dtype=torch.float64)
    found = lrn(maps, LRNConfig(), columns=2, implementation=implementation)
    torch.testing.assert_close(found, local_response_norm(maps, LRNConfig(), columns=2))


@pytest.mark.parametrize("implementation", [None, "plain", "reference"])
def test_relu_normalisation_and_pooling_follow_one_another(implementation):
    maps = 60 * torch.randn(2, 12, 7, 8, dtype=torch.float64)
    maps.requires_grad_()
    found = relu_lrn_pool(maps, LRNConfig(), PoolConfig(), columns=2, implementation=implementation)
    truth = local_response_norm(maps.relu(), LRNConfig(), columns=2).detach().numpy()
    for y, x in ((0, 0), (1, 2), (2, 3)):
        window = truth[:, :, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
        expected = torch.from_numpy(window.max(axis=(2, 3)))
        torch.testing.assert_close(found[:, :, y, x].detach(), expected)
    assert torch.autograd.grad(found.sum(), maps)[0].abs().sum() > 0


def test_the_plain_implementation_is_exact_for_doubles():
    maps = torch.tensor([100.0, 200.0, 300.0], dtype=torch.float64).view(1, 3, 1, 1)
    found = lrn(maps, LRNConfig(size=3, k=1.0, alpha=0.01, beta=0.75)).flatten().tolist()
    sums = (50_000, 140_000, 130_000)
    expected = [a / (1 + 0.01 * s) ** 0.75 for a, s in zip((100, 200, 300), sums, strict=True)]
    assert found == pytest.approx(expected, rel=1e-14)
