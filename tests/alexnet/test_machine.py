import os
import platform
import subprocess
import sys

import pytest
import torch

from alexnet import __version__
from alexnet.machine import cores, cpu_quota, share_cores, versions


def test_versions_are_of_what_is_installed():
    assert versions("torch", "no-such-package") == {
        "alexnet": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def test_there_is_a_core_to_run_on():
    assert cores() >= 1


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/app/a\n", {"app/a/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/app/a\n", {"app/a/cpu.max": "max 100000\n", "app/cpu.max": "300000 100000"}, 3.0),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 0.5),  # a container that sees only itself
        ("0::/app\n", {"app/cpu.max": "max 100000\n"}, None),
        ("0::/app\n", {}, None),
        (
            "5:devices:/x\n1:cpu,cpuacct:/x\n0::/\n",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "400000", "cpu,cpuacct/x/cpu.cfs_period_us": "1e5"},
            None,  # no whole number
        ),
        (
            "1:cpu,cpuacct:/docker/1\n",  # whose files are not to be seen from inside
            {
                "cpu,cpuacct/cpu.cfs_quota_us": "400000\n",
                "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            4.0,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
    ],
)
def test_a_container_s_quota_of_processor_time_is_read(tmp_path, groups, files, quota):
    (tmp_path / "own").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert cpu_quota(tmp_path / "own", tmp_path / "root") == quota


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert cpu_quota(tmp_path / "none", tmp_path) is None


@pytest.mark.parametrize(("quota", "expected"), [(0.5, 1), (1.5, 2), (64.0, 8), (None, 8)])
def test_cores_are_no_more_than_the_quota_pays_for(monkeypatch, quota, expected):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr("alexnet.machine.cpu_quota", lambda: quota)
    assert cores() == expected


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
