"""Shared with the quick tests of alexnet-bench."""

from tests.bench.conftest import exported, same_threads

__all__ = ["exported", "same_threads"]
