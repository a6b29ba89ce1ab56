import pytest
import torch

from alexnet.config import LRNConfig
from alexnet.lrn.op import lrn
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
