"""Whole data sets are read as they are."""

import pytest

from tests.photos import shared_data
from tests.train.test_sources import catalogue


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "train", "val", "first"),
    [
        ("tiny-imagenet-50", 25_000, 2_500, ("n01443537", "goldfish, Carassius auratus")),
        ("cifar10", 50_000, 10_000, ("airplane", "airplane")),
    ],
)
def test_the_shared_data_sets_are_read_as_they_are(name, train, val, first):
    found = catalogue(shared_data(name))
    assert (len(found.splits["train"]), len(found.splits["val"])) == (train, val)
    assert (found.labels[0].wnid, found.labels[0].name) == first
    assert found.rejected == ()
