import os
import platform

import torch

from alexnet import __version__
from alexnet.machine import cores, share_cores, versions


def test_versions_are_of_what_is_installed():
    assert versions("torch", "no-such-package") == {
        "alexnet": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def test_there_is_a_core_to_run_on():
    assert cores() >= 1


def test_pytorchs_threads_sleep_unless_somebody_decided_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    share_cores()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    share_cores()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
