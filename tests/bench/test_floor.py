"""`alexnet-bench floor`: the probe counts what it times, and the arithmetic of floors."""

import json
import platform
import subprocess

import pytest
from click.testing import CliRunner

from alexnet.config import paper
from alexnet.errors import AlexNetError
from alexnet.machine import cpu_features
from bench import floor as floor_module
from bench import probe as probe_module
from bench import probe_torch
from bench.cli import main
from bench.floor import measure, network_row, why_invalid
from bench.probe import NoCompilerError, Probe, compiled, peak_of
from tests.bench.machines import a_peak, made

# Multiply-adds of paper's convolutions and fully connected layers for one crop, by hand.
CONV = 105_415_200 + 223_948_800 + 149_520_384 + 112_140_288 + 74_760_192
FULL = 9216 * 4096 + 4096 * 4096 + 4096 * 1000


@pytest.fixture(scope="module")
def probe():
    with compiled() as program:
        yield program


# The probe


def test_sums_count_every_multiply_add(probe):
    # Factors are 1, so a sum grows by 1 with each: 250,000 instructions into each of 12 or 16 sums,
    # of one float32 in each 32 bits of a vector.
    lanes = probe.instructions["bits"] // 32
    for threads in (1, 2):
        for run in probe.runs("fp32", threads=threads, seconds=0.001):
            assert run.checksum == run.amount
            assert run.amount in [threads * sums * lanes * 250_000 for sums in (12, 16)]
            assert run.seconds > 0


# Instruction sets by the compiler's names: what the processor must have, the bits of a vector, and
# by what int8 is multiplied.
SETS = {
    "-march=x86-64-v2": ("ssse3", 128, "pmaddubsw, pmaddwd and paddd"),
    "-march=sandybridge": ("avx", 128, "pmaddubsw, pmaddwd and paddd"),
    "-march=x86-64-v3": ("avx2", 256, "vpmaddubsw, vpmaddwd and vpaddd"),
    "-march=skylake-avx512": ("avx512bw", 512, "vpmaddubsw, vpmaddwd and vpaddd"),
    "-march=x86-64-v3 -mavxvnni": ("avx_vnni", 256, "vpdpbusd"),
    "-march=icelake-server": ("avx512_vnni", 512, "vpdpbusd"),
}
x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="another CPU than x86")


@x86
@pytest.mark.parametrize("flags", SETS)
def test_int8_is_multiplied_on_every_x86(flags):
    needs, bits, instructions = SETS[flags]
    with compiled(*flags.split()) as program:
        if needs not in (cpu_features() or ()):
            return  # it compiles; no program with these instructions runs here
        assert program.instructions["int8"] == instructions
        (run, *_) = program.runs("int8", threads=1, seconds=0.001)
    # Four products and their sum in each 32 bits, 250,000 times into each of 12 or 16 sums.
    assert run.checksum == run.amount == (16 if bits == 512 else 12) * bits // 8 * 250_000


@x86
def test_no_product_of_int8_stands_for_others(tmp_path):
    # The factors never change: a compiler that knew it would multiply once, and time the sums.
    cc = [*probe_module._compiler(), "-std=gnu11", "-O3", "-march=x86-64-v3", "-S"]
    subprocess.run([*cc, "-o", tmp_path / "probe.s", probe_module.SOURCE], check=True)
    assert (tmp_path / "probe.s").read_text().count("vpmaddubsw") >= 12


@pytest.mark.parametrize(("kind", "each"), [("bf16", 2), ("int8", 4)])
def test_narrow_factors_are_multiplied_several_at_once(probe, kind, each):
    if kind not in probe.instructions:
        with pytest.raises(AlexNetError, match="exit code 2"):
            probe.runs(kind, threads=1, seconds=0.001)
        return
    (plain, *_), (run, *_) = (probe.runs(name, threads=1, seconds=0.001) for name in ("fp32", kind))
    assert run.checksum == run.amount == each * plain.amount


def test_reading_reads_every_byte(probe):
    for threads in (1, 2):
        for run in probe.runs("read", threads=threads, seconds=0.001, megabytes=8):
            assert run.checksum == run.amount == 8 * 2**20


def test_a_probe_that_leaves_work_out_is_not_believed(tmp_path):
    program = tmp_path / "probe"
    program.write_text('#!/bin/sh\n[ $1 = describe ] && echo "{}" || echo 0.001 1000 999\n')
    program.chmod(0o755)
    with pytest.raises(AlexNetError, match="left fp32 operations out"):
        Probe(program).runs("fp32", threads=1, seconds=0.001)


def test_the_peak_is_the_best_run_and_says_how_many_came_near():
    found = peak_of([50.0, 100.0, 98.0, 96.0, 10.0])
    assert (found.best, found.median, found.runs, found.near) == (100.0, 96.0, 5, 2)
    assert not found.confirmed
    assert peak_of([100.0, 98.0, 97.0]).confirmed


def test_a_compiler_that_fails_is_named(monkeypatch):
    monkeypatch.setenv("CC", "false")
    with pytest.raises(NoCompilerError, match="false does not compile"), compiled():
        pass


# Without a compiler, and on other devices


def test_without_a_compiler_pytorch_gives_lower_bounds(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setitem(probe_torch._SIDE, "cpu", 64)
    monkeypatch.setitem(probe_torch._MEGABYTES, "cpu", 1)
    found = measure(seconds=0.001)
    assert "no C compiler" in capsys.readouterr().err
    assert not found.exact
    assert {"fp32", "bf16"} <= set(found.all) == set(found.one)
    assert found.rate("fp32") > 0
    assert found.read_all.best > 0


def test_a_gpu_that_is_not_there_gets_a_sentence():
    import torch

    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    done = CliRunner().invoke(main, ["floor", "--device", "cuda"])
    assert done.exit_code == 1
    assert "PyTorch finds no 'cuda' here" in done.output


# Floors


def test_the_floor_is_the_multiply_adds_at_the_peak():
    ten = network_row(made(), "paper", paper(), views="ten", precision="fp32")
    assert ten["floor_ms"] == pytest.approx(10 * (CONV + FULL) / 286e9 * 1000)
    assert ten["floor_ms"] == pytest.approx(25.33, abs=0.01)  # ../shared/design/performance.md
    one = network_row(made(), "paper", paper(), views="centre", precision="bf16")
    assert one["floor_ms"] == pytest.approx((CONV + FULL) / 566e9 * 1000)


def test_weights_from_memory_slow_the_fully_connected_layers_alone():
    # All three are slower to read (4 bytes a weight at 52 GB/s) than ten crops take to multiply.
    ten = network_row(made(), "paper", paper(), views="ten", precision="fp32")
    assert ten["with_weights_ms"] == pytest.approx(
        1000 * (10 * CONV / 286e9 + 4 * FULL / 52e9), rel=1e-9
    )
    one = network_row(made(), "paper", paper(), views="centre", precision="bf16")
    assert one["with_weights_ms"] == pytest.approx(1000 * (CONV / 566e9 + 2 * FULL / 52e9))
    fast = made(read_all=a_peak(1e15))
    ten = network_row(fast, "paper", paper(), views="ten", precision="fp32")
    assert ten["with_weights_ms"] == pytest.approx(ten["floor_ms"])


def test_threads_take_their_share_of_the_machine():
    machine = made(cores=4, all={"fp32": a_peak(400e9), "bf16": a_peak(900e9)})
    assert machine.rate("fp32", threads=1) == 143e9
    assert machine.rate("fp32", threads=2) == 286e9
    assert machine.rate("fp32", threads=3) == 400e9  # never more than all together
    assert machine.rate("fp32", threads=8) == machine.rate("fp32") == 400e9
    disturbed = made(all={"fp32": a_peak(100e9)})
    assert disturbed.rate("fp32") == 143e9  # what one core can do, all can


def test_bf16_and_float16_without_instructions_have_float32s_floor_and_say_so():
    machine = made(one={"fp32": a_peak(143e9)}, all={"fp32": a_peak(286e9)})
    row = network_row(machine, "paper", paper(), views="ten", precision="bf16")
    assert row["floor_ms"] == pytest.approx(10 * (CONV + FULL) / 286e9 * 1000)
    assert row["floor_note"] == "no bf16 instructions: the floor of float32"
    assert machine.milliseconds(143e9, "fp16", threads=1) == 1000
    assert made().note("bf16") is None


def test_int8_that_was_not_measured_has_no_floor():
    # By float32's a row would be faster than its floor.
    row = network_row(made(), "paper", paper(), views="ten", precision="int8")
    assert (row["floor_ms"], row["with_weights_ms"]) == (None, None)
    assert row["floor_note"] == "int8 was not measured"


def test_a_precision_that_is_slower_than_float32_has_float32s_floor():
    # PyTorch's bf16 without instructions for it: float32 holds the same values.
    slow = made(all={"fp32": a_peak(286e9), "bf16": a_peak(20e9)}, one=made().one)
    assert slow.milliseconds(286e9, "bf16") == pytest.approx(1000)


def test_a_disturbed_peak_says_so():
    assert why_invalid(made()) == []
    once = made(read_all=a_peak(52e9, near=1, runs=7))
    assert why_invalid(once) == [
        "memory, 2 cores: only 1 of 7 runs came within 3% of the best, so that the peak may be "
        "higher: measure on a quieter machine."
    ]
    busy = made(all={"fp32": a_peak(100e9), "bf16": a_peak(566e9)})
    (reason,) = why_invalid(busy)
    assert reason.startswith("fp32: 2 cores reached less than one core did")


# The command


def test_the_command_measures_and_gives_floors(monkeypatch, model_path):
    monkeypatch.setattr(floor_module, "SECONDS", 0.01)
    monkeypatch.setattr(probe_module, "_PATIENCE", 1)
    done = CliRunner().invoke(main, ["floor", "--preset", "paper", str(model_path)])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["benchmark"] == "floor"
    peak = max(row["best"] for row in result["peaks"] if row["name"] == "fp32")
    rows = {row["name"]: row for row in result["results"]}
    assert rows["paper, ten, fp32"]["floor_ms"] == pytest.approx(
        1000 * 10 * (CONV + FULL) / peak, rel=1e-4
    )
    # int8 by its own instructions: never against float32's floor.
    int8 = max((row["best"] for row in result["peaks"] if row["name"] == "int8"), default=None)
    floor = rows["paper, ten, int8"]["floor_ms"]
    if int8 is None:
        assert floor is None
    else:
        assert floor == pytest.approx(1000 * 10 * (CONV + FULL) / max(int8, peak), rel=1e-4)
    bf16 = [row for row in result["peaks"] if row["name"] == "bf16"]
    assert ("no bf16 instructions" in done.stdout) == (not bf16)
    shipped = rows[f"{model_path.name}, centre, fp32"]
    assert shipped["floor_ms"] == pytest.approx(1000 * 43_927_176 / peak, rel=1e-4)
    assert shipped["gmacs"] * 1e9 == pytest.approx(43_927_176, rel=1e-4)
