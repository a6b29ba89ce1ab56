"""`--floor`: rows as multiples of what the machine can do."""

import pytest

from bench import floor as floor_module
from bench.floor_command import print_multiples
from bench.multiples import better, floor_columns, with_floor
from bench.throughput_report import print_throughput
from tests.bench.machines import a_peak, made
from tests.bench.results import result, row
from tests.bench.runs import QUICK, run_here

ROW = {"name": "a", "gmacs": 0.286, "crops_per_photo": 1, "infer_batch_size": 1}
ROW |= {"latency_ms": {"p50": 2.0}}


def test_a_row_gets_its_multiple_of_the_floor():
    row = {
        "gmacs": 0.5,
        "crops_per_photo": 10,
        "infer_batch_size": 4,
        "precision": "bf16",
        "threads": 1,
        "latency_ms": {"p50": 219.0},
    }
    (added,) = floor_columns([row], made())
    assert added["floor_ms"] == pytest.approx(1000 * 0.5e9 * 10 * 4 / 274e9)  # 73 ms
    assert added["times_floor"] == pytest.approx(3.0, rel=1e-3)
    assert "floor_ms" not in row


def test_a_pass_is_of_all_its_photos_whatever_the_batch():
    row = ROW | {"infer_batch_size": 4, "latency_ms": {"p50": 128.0}, "threads": 2}
    (added,) = floor_columns([row], made(), photos=32)
    assert added["floor_ms"] == pytest.approx(32.0)  # 0.286 G each, at 286 G/s with both cores
    assert added["times_floor"] == pytest.approx(4.0)


def test_a_row_without_instructions_for_its_precision_says_so(capsys):
    machine = made(one={"fp32": a_peak(143e9)}, all={"fp32": a_peak(286e9)})
    bf16, int8 = floor_columns([ROW | {"precision": kind} for kind in ("bf16", "int8")], machine)
    assert bf16["times_floor"] == pytest.approx(2.0)
    assert (int8["floor_ms"], int8["times_floor"]) == (None, None)
    print_multiples({"results": [bf16, int8], "floor": {"exact": True}})
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| a ")]
    cells = [[cell.strip() for cell in line.split("|")][2:-1] for line in lines]
    assert cells == [
        ["no bf16 instructions: the floor of float32", "2.00", "1.00", "2.00"],
        ["int8 was not measured", "2.00", "-", "-"],
    ]


# Around a benchmark


def measured_in_turn(monkeypatch, *machines):
    """What happened, in order, where the peaks are these."""
    happened, left = [], list(machines)

    def measure(device, seconds):
        happened.append((device, seconds))
        return left.pop(0)

    monkeypatch.setattr(floor_module, "measure", measure)
    return happened


def plain(**more):
    return {"reasons": [], "verdict": "VALID", "results": [ROW]} | more


def test_peaks_are_measured_before_and_after_for_half_a_second_each(monkeypatch):
    happened = measured_in_turn(monkeypatch, made(), made())

    def run():
        happened.append("run")
        return plain()

    added = with_floor(run, device="cuda:1")
    assert happened == [("cuda:1", 0.5), "run", ("cuda:1", 0.5)]
    assert (added["verdict"], added["results"][0]["times_floor"]) == ("VALID", pytest.approx(2.0))
    assert {peak["cores"] for peak in added["floor"]["peaks"]} == {1, 2}


@pytest.mark.parametrize("slow_first", [True, False])
def test_the_better_peak_counts_whenever_it_was_reached(monkeypatch, slow_first):
    slow = made(all={"fp32": a_peak(143e9), "bf16": a_peak(600e9)})
    machines = (slow, made()) if slow_first else (made(), slow)
    measured_in_turn(monkeypatch, *machines)
    (added,) = with_floor(plain)["results"]
    # 0.286 G at 286 G/s is 1 ms; by the slow peak alone 2 ms would be the floor itself.
    assert added["times_floor"] == pytest.approx(2.0)
    both = better(*machines)
    assert (both.all["fp32"].best, both.all["bf16"].best) == (286e9, 600e9)
    assert both.read_all == made().read_all


def test_doubts_about_the_peaks_are_doubts_about_the_result(monkeypatch):
    doubtful = made(read_all=a_peak(60e9, near=1))
    measured_in_turn(monkeypatch, made(), doubtful)
    added = with_floor(lambda: plain(reasons=["It rained."]))
    assert added["verdict"] == "INVALID"
    assert added["reasons"][0] == "It rained."
    assert added["reasons"][1].startswith("memory, 2 cores: only 1 of 10 runs")


# Throughput


def test_photos_a_second_stand_beside_those_at_the_floor(monkeypatch, capsys):
    measured_in_turn(monkeypatch, made(), made())
    # Ten crops of 0.286 G take 10 ms a photo at the peak: 100 a second. A pass of 32 takes 640 ms.
    one = row("a.onnx", [640.0] * 3, batch=4, gmacs=0.286, crops_per_photo=10, startup_ms=1.0)
    one |= {"infer_samples_per_sec": 50.0, "peak_mib": 100.0}
    passes = result(one, benchmark="throughput", photos_per_pass=32, photos=["a.jpg"])
    found = with_floor(lambda: passes)
    assert found["results"][0]["times_floor"] == pytest.approx(2.0)
    print_throughput(found)
    line = next(line for line in capsys.readouterr().out.splitlines() if "a.onnx, batch 4" in line)
    assert [cell.strip() for cell in line.split("|")][2:-1] == ["fp32", "50.0", "100.0", "2.00"]


def test_the_command_throughput_prints_them(monkeypatch, model_path):
    measured_in_turn(monkeypatch, made(), made())
    code, out, error = run_here(
        *("throughput", model_path, "--views", "centre", "--files", "2", "--count", "1"),
        *("--warmup", "0", "--floor", *QUICK),
    )
    assert code == 0, error
    assert "As multiples of the floor" in out
    assert "at the floor: photos a second" in out
