import platform

import torch

from alexnet import __version__
from alexnet.machine import cores, versions


def test_versions_are_of_what_is_installed():
    assert versions("torch", "no-such-package") == {
        "alexnet": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def test_there_is_a_core_to_run_on():
    assert cores() >= 1
