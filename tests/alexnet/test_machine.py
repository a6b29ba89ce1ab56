import os
import platform
import subprocess
import sys

import pytest
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_that_is_freed_is_kept_for_the_next_step():
    # As a step does: several large blocks are taken, and all are freed, again and again.
    code = (
        "import resource, sys, numpy; from alexnet.machine import keep_memory\n"
        "if sys.argv[1] == 'keep': keep_memory()\n"
        "for _ in range(10): [numpy.ones(30 * 2**20, dtype=numpy.uint8) for _ in range(8)]\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)"
    )
    faults = {
        mode: int(subprocess.run([sys.executable, "-c", code, mode], stdout=subprocess.PIPE).stdout)
        for mode in ("keep", "free")
    }
    assert faults["keep"] < faults["free"] / 2
