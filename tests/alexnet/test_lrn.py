"""Local response normalisation against closed forms, worked in double precision."""

import math

import pytest
import torch
import torch.nn.functional as F

from alexnet.config import LRNConfig, caffe, net145, paper
from alexnet.lrn.reference import local_response_norm

PRINTED = LRNConfig(within_columns=False)
PRINTED_COLUMNS = paper().network.convs[0].lrn
NET145 = net145().network.convs[0].lrn
TORCH = LRNConfig(alpha_of="mean", within_columns=False)
CAFFE = caffe().network.convs[0].lrn

# One pixel with eight maps 100, 200 .. 800 in two columns of four.
# fmt: off
TABLE = {
    "printed formula": (
        PRINTED,
        (12.5, 14.865088938, 14.461558974, 13.465395716,
         12.486179643, 11.632560739, 14.486502282, 18.571940196),
    ),
    "printed formula, two columns": (
        PRINTED_COLUMNS,
        (12.5, 14.865088938, 22.297633406, 30.446594345,
         14.523005015, 12.417001956, 14.486502282, 18.571940196),
    ),
    "alpha over the window": (
        TORCH,
        (30.836783521, 42.044820763, 43.819128972, 42.294850538,
         40.010272191, 37.723002890, 46.850278406, 59.740609204),
    ),
    "net #145": (
        NET145,
        (30.836783521, 42.044820763, 63.067231144, 85.701621565,
         46.111746654, 40.157381491, 46.850278406, 59.740609204),
    ),
    "Caffe": (
        CAFFE,
        (36.741958520, 46.473616049, 46.530242955, 43.953634314,
         41.077261318, 38.446144607, 47.828390897, 61.189506364),
    ),
}
# fmt: on


def pixel(*values):
    return torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1)


@pytest.mark.parametrize("name", TABLE)
def test_each_convention_gives_its_row_of_the_table(name):
    config, expected = TABLE[name]
    maps = pixel(*range(100, 900, 100))
    found = local_response_norm(maps, config, columns=2).flatten().tolist()
    assert found == pytest.approx(list(expected), abs=5e-10)


def test_torch_s_own_normalisation_divides_alpha_by_the_window():
    maps = 50 * torch.randn(2, 8, 3, 3, dtype=torch.float64)
    expected = F.local_response_norm(maps, 5, alpha=1e-4, beta=0.75, k=2.0)
    torch.testing.assert_close(local_response_norm(maps, TORCH, columns=2), expected)


def test_normalising_before_the_relu_counts_the_negative_neighbours():
    maps = pixel(100, -200, 300, -400)
    lrn = NET145
    first = F.relu(local_response_norm(maps, lrn)).flatten().tolist()
    assert first == pytest.approx([30.836783521, 0, 63.067231144, 0], abs=5e-10)
    last = local_response_norm(F.relu(maps), lrn).flatten().tolist()
    assert last == pytest.approx([35.355339059, 0, 106.066017178, 0], abs=5e-10)
    assert last[0] == pytest.approx(100 / 2**1.5)


def test_the_same_map_norm_of_net145_clips_its_window_at_the_edges():
    config = net145().network.convs[1].same_map_lrn
    found = local_response_norm(torch.full((1, 1, 6, 6), 100.0, dtype=torch.float64), config)[0, 0]
    places = {(0, 0): 31.836962526, (0, 1): 26.756481628, (0, 2): 23.236808024,
              (1, 1): 22.288262304, (1, 2): 19.245008973, (2, 2): 16.556002608}  # fmt: skip
    for (y, x), expected in places.items():
        for place in ((y, x), (x, y), (5 - y, x), (y, 5 - x)):
            assert found[place].item() == pytest.approx(expected, abs=5e-10), place


def test_no_sum_reaches_over_a_column_s_edge():
    maps = pixel(0, 0, 0, 1000, 1, 0, 0, 0)
    alone = local_response_norm(pixel(1, 0, 0, 0), PRINTED_COLUMNS).flatten()[0]
    parted = local_response_norm(maps, PRINTED_COLUMNS, columns=2).flatten()[4]
    crossing = local_response_norm(maps, PRINTED, columns=2).flatten()[4]
    assert parted == alone
    assert crossing < alone / 10


def test_an_even_window_reaches_further_to_the_left():
    # Of four maps: two before, the map itself, one after.
    found = local_response_norm(pixel(0, 0, 0, 3, 0, 0), LRNConfig(size=4, k=1.0, alpha=1.0))
    assert found.flatten()[3].item() == pytest.approx(3 / 10**0.75)
    neighbours = pixel(1, 1, 1, 1, 1, 1)
    sums = 1 / local_response_norm(neighbours, LRNConfig(size=4, k=1.0, alpha=1.0, beta=1.0))
    assert sums.flatten().round().tolist() == [1 + n for n in (2, 3, 4, 4, 4, 3)]


def test_any_power_is_possible():
    found = local_response_norm(pixel(3.0), LRNConfig(k=1.0, alpha=1.0, beta=0.5, size=1))
    assert found.item() == pytest.approx(3 / math.sqrt(10))
