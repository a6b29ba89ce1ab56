"""The data sets that tests/train makes."""

from tests.train.conftest import colors, digits

__all__ = ["colors", "digits"]
