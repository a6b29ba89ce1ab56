"""Every variant of a recipe is the steps of its formula."""

import pytest

from tests.train.test_trainer import VARIANTS, check_three_epochs


@pytest.mark.parametrize("fields", VARIANTS, ids=lambda fields: ",".join(fields))
def test_three_epochs_are_the_steps_of_the_formula(colors, fields):
    check_three_epochs(colors, fields)
