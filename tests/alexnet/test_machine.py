import os
import platform
import subprocess
import sys

import pytest
import torch

from alexnet import __version__
from alexnet.machine import (
    cores,
    cpu_features,
    cpu_instructions,
    cpu_quota,
    precision_note,
    share_cores,
    versions,
)


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


# Flags as Linux lists them, shortened to what matters and some that do not.
CPUS = {
    "haswell": "fpu sse2 fma f16c avx avx2 bmi2",
    "zen4": "fpu sse2 avx2 fma avx512f avx512bw avx512_bf16 avx512_vnni",
    "cascade lake": "fpu sse2 avx2 avx512f avx512_vnni",
    "sapphire rapids": "sse2 avx2 avx512f avx512_vnni avx_vnni avx512_bf16 avx512_fp16 amx_tile "
    "amx_int8 amx_bf16",
    "alder lake": "sse2 avx2 fma avx_vnni",
    "cortex-a72": "fp asimd evtstrm aes crc32 cpuid",
    "graviton 2": "fp asimd atomics fphp asimdhp asimddp",
    "graviton 3": "fp asimd fphp asimdhp asimddp sve bf16 i8mm svebf16 svei8mm",
}


@pytest.mark.parametrize(
    ("cpu", "fp32", "bf16", "int8"),
    [
        ("haswell", "AVX2", None, None),
        ("zen4", "AVX-512", "AVX-512 BF16", "AVX-512 VNNI"),
        ("cascade lake", "AVX-512", None, "AVX-512 VNNI"),
        ("sapphire rapids", "AVX-512", "AMX bf16", "AMX int8"),
        ("alder lake", "AVX2", None, "AVX-VNNI"),
        ("cortex-a72", "NEON", None, None),
        ("graviton 2", "NEON", None, "NEON's dot products"),
        ("graviton 3", "NEON", "NEON's bf16", "NEON's i8mm"),
    ],
)
def test_instructions_for_a_precision_are_read_from_what_linux_lists(
    tmp_path, monkeypatch, cpu, fp32, bf16, int8
):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    key = "Features" if "asimd" in CPUS[cpu] else "flags"
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\nmodel name\t: {cpu}\n{key}\t\t: {CPUS[cpu]}\n\nbugs\t: x\n")
    features = cpu_features(file)
    assert features == set(CPUS[cpu].split())
    found = [cpu_instructions(precision, features) for precision in ("fp32", "bf16", "int8")]
    assert found == [fp32, bf16, int8]


@pytest.mark.parametrize(
    ("limit", "bf16", "int8"),
    [
        ("avx2", None, None),
        ("AVX2_VNNI", None, "AVX-VNNI"),
        ("AVX512_CORE", None, None),
        ("AVX512_CORE_VNNI", None, "AVX-512 VNNI"),
        ("ALL", "AMX bf16", "AMX int8"),
    ],
)
def test_instructions_that_onednn_is_forbidden_do_not_count(
    tmp_path, monkeypatch, limit, bf16, int8
):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    (tmp_path / "cpuinfo").write_text(f"flags : {CPUS['sapphire rapids']}\n")
    features = cpu_features(tmp_path / "cpuinfo")
    assert [cpu_instructions(precision, features) for precision in ("bf16", "int8")] == [bf16, int8]


def test_macos_tells_the_same_by_other_names(tmp_path):
    m2 = "hw.optional.neon: 1\nhw.optional.arm.FEAT_DotProd: 1\nhw.optional.arm.FEAT_BF16: 0\n"
    features = cpu_features(tmp_path / "none", sysctl=m2 + "hw.optional.arm.FEAT_SME: 1\n")
    assert features == {"asimd", "asimddp"}
    intel = cpu_features(tmp_path / "none", sysctl="hw.optional.avx2_0: 1\n")
    assert cpu_instructions("int8", intel) is None
    assert cpu_instructions("fp32", intel) == "AVX2"


def test_a_precision_without_instructions_is_told_in_a_sentence_and_any_other_is_not():
    haswell, graviton = (set(CPUS[name].split()) for name in ("haswell", "graviton 3"))
    assert "slower here than a float32 graph" in precision_note("bf16", haswell)
    assert "hardly faster here" in precision_note("int8", haswell)
    assert "in float32" in precision_note("fp16", set(CPUS["sapphire rapids"].split()))
    assert precision_note("fp32", haswell) is None
    assert {precision_note(name, graviton) for name in ("bf16", "fp16", "int8", "fp32")} == {None}


def test_a_system_that_tells_no_instructions_gets_no_sentence(tmp_path, monkeypatch):
    assert cpu_features(tmp_path / "none", sysctl="") is None
    monkeypatch.setattr("alexnet.machine.cpu_features", lambda: None)
    assert precision_note("bf16") is None
    assert cpu_instructions("bf16") is None


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
