"""Fifty steps of every recipe are the committed ones; see curves.py for how they were made."""

import itertools

import pytest

from tests.train import curves
from train.recipes import RECIPES


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The losses of every recipe."""
    folder = tmp_path_factory.mktemp("curves")
    data = curves.make_data(folder)
    return {recipe: curves.losses(recipe, data, folder / recipe) for recipe in RECIPES}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_s_losses_are_the_committed_ones(recipe, found):
    expected = curves.committed(recipe)
    assert len(expected) == curves.STEPS
    assert found[recipe] == pytest.approx(expected, rel=1e-6)


def test_every_recipe_has_a_curve_of_its_own():
    assert {path.stem for path in curves.FOLDER.glob("*.json")} == set(RECIPES)
    for one, other in itertools.combinations(RECIPES, 2):
        assert curves.committed(one) != curves.committed(other)
