"""`--compare`: a result against one of before."""

import json
import re

import numpy as np
import pytest

from alexnet.errors import AlexNetError
from bench.compare import compare, print_comparison, read_result
from bench.output import Output, finish
from tests.bench.results import MACHINE, result, row


def steady(milliseconds):
    return [milliseconds] * 20


def test_a_row_that_takes_half_the_time_is_twice_as_fast():
    found = compare(result(row("a", steady(20.0))), result(row("a", steady(10.0))), threshold=10)
    (one,) = found.rows
    assert (one.ratio.value, one.ratio.low, one.ratio.high) == (2, 2, 2)
    assert (one.before_ms, one.now_ms) == (20, 10)
    assert found.notes == found.slower == []


def test_a_row_past_the_threshold_is_slower_and_says_by_how_much():
    before, now = result(row("a", steady(10.0))), result(row("a", steady(12.0)))
    assert compare(before, now, threshold=25).slower == []
    assert compare(before, now, threshold=15).slower == ["a, batch 1 takes 20.0% more time"]


def test_a_row_whose_interval_reaches_over_the_threshold_is_not():
    # A fifth slower by the median, but half of the times are as before.
    times = np.random.default_rng(0).permutation([10.0] * 10 + [14.0] * 10).tolist()
    before, now = result(row("a", steady(10.0))), result(row("a", times))
    (one,) = compare(before, now, threshold=10).rows
    assert one.ratio.value == pytest.approx(10 / 12)
    assert one.ratio.low < one.ratio.value < one.ratio.high
    assert compare(before, now, threshold=10).slower == []


def test_a_row_with_a_baseline_is_also_compared_by_its_ratio():
    # The machine is half as fast as before; against its baseline, the row gained a fifth.
    before = result(row("a", steady(10.0), ratio={"value": 2.0, "low": 1.9, "high": 2.1}))
    now = result(row("a", steady(20.0), ratio={"value": 2.4, "low": 2.3, "high": 2.5}))
    (one,) = compare(before, now, threshold=200).rows
    assert one.ratio.value == 0.5
    assert one.of_ratios == pytest.approx(1.2)


def test_rows_are_found_by_their_names_and_the_others_are_told():
    before = result(row("a", steady(10.0)), row("gone", steady(10.0)))
    now = result(row("new", steady(10.0)), row("a", steady(10.0)))
    found = compare(before, now, threshold=10)
    assert [one.name for one in found.rows] == ["a, batch 1"]
    assert found.notes == [
        "New, without a row of before: new, batch 1.",
        "Not measured now, but before: gone, batch 1.",
    ]


def test_nothing_in_common_is_told():
    found = compare(result(row("a", steady(1.0))), result(row("b", steady(1.0))), threshold=10)
    assert found.notes[-1] == "No row of before was measured again, so nothing is compared."


# Rows of which single times are not known


def rates(name, before, now, **more):
    key = f"{'train' if name == 'train' else 'infer'}_samples_per_sec"
    return tuple(result({"name": name, key: rate}, **more) for rate in (before, now))


def test_rates_without_single_times_are_judged_by_their_values_and_the_output_says_so(capsys):
    found = compare(*rates("train", 100.0, 50.0, benchmark="train"), threshold=10)
    assert found.rows[0].ratio.value == 0.5
    assert found.slower == ["train takes 100.0% more time, by its value alone"]
    print_comparison(found)
    out = capsys.readouterr().out
    assert re.search(r"train .* 0\.500 .* - .* \+100\.0%", out)
    assert "are judged by their values alone: train." in out


def test_a_rate_within_the_threshold_is_not_slower():
    assert compare(*rates("train", 100.0, 92.0), threshold=10).slower == []  # 8.7 % more time
    assert compare(*rates("train", 100.0, 90.0), threshold=10).slower != []  # 11.1 %


def ramp(knee):
    rows = [] if knee is None else [{"name": "knee", "infer_samples_per_sec": knee}]
    return result(*rows, benchmark="serve", bound_ms=200.0, knee_per_sec=knee)


def test_a_knee_that_falls_is_slower():
    assert compare(ramp(100.0), ramp(30.0), threshold=10).slower == [
        "knee takes 233.3% more time, by its value alone"
    ]
    assert compare(ramp(30.0), ramp(100.0), threshold=10).slower == []


def test_a_knee_that_is_gone_is_slower_still():
    assert compare(ramp(100.0), ramp(None), threshold=10).slower == [
        "knee: no load holds any more, and 100/s did"
    ]
    assert compare(ramp(None), ramp(None), threshold=10).slower == []
    # Without --ramp no knee was looked for.
    offered = ramp(None) | {"bound_ms": None}
    assert compare(ramp(100.0), offered, threshold=10).slower == []


def test_a_service_that_answers_nothing_any_more_is_slower(capsys):
    good = row("20/s", steady(10.0))
    bad = {"name": good["name"], "infer_samples_per_sec": 0.0, "samples_ms": [], "latency_ms": None}
    found = compare(result(good), result(bad), threshold=1000)
    assert found.slower == ["20/s, batch 1 answers nothing any more"]
    print_comparison(found)
    assert "0.000" in capsys.readouterr().out


def test_a_floor_is_its_own_time():
    before, now = (
        result({"name": "paper, ten, fp32", "floor_ms": ms}, benchmark="floor") for ms in (20, 30)
    )
    found = compare(before, now, threshold=10)
    assert (found.rows[0].before_ms, found.rows[0].now_ms) == (20, 30)
    assert found.slower == ["paper, ten, fp32 takes 50.0% more time, by its value alone"]
    assert compare(now, before, threshold=10).slower == []


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"machine": MACHINE | {"cpu": "Another"}}, "Another machine (processor): "),
        (
            {"machine": MACHINE | {"versions": {"alexnet": "0.1.0", "torch": "2.8.0"}}},
            "Another version of torch: 2.8.0 before, 2.9.0 now.",
        ),
        ({"isolated": False}, "Measured with another --isolate before."),
        ({"bound_ms": 100.0}, "Measured with another --bound before."),
        ({"verdict": "INVALID"}, "The measurement of before was INVALID."),
    ],
)
def test_what_makes_results_hard_to_compare_is_told(change, note):
    one = row("a", steady(10.0))
    (found,) = compare(result(one) | change, result(one), threshold=10).notes
    assert found.startswith(note)


def test_results_of_different_benchmarks_are_not_compared():
    with pytest.raises(AlexNetError, match="of `serve`, and this is `latency`"):
        compare(result(benchmark="serve"), result(), threshold=10)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "There is no .*before.json to compare with: "),
        ("{", "before.json is not JSON"),
        ("[1]", "before.json is not a result of alexnet-bench"),
        ('{"results": [{"name": "a"}]}', "before.json is not a result of alexnet-bench"),
        (
            '{"benchmark": "latency", "machine": {}, "results": [{"model": "of before"}]}',
            "before.json is not a result of alexnet-bench",
        ),
    ],
)
def test_a_foreign_file_is_a_sentence_before_anything_is_measured(tmp_path, text, sentence):
    path = tmp_path / "before.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(AlexNetError, match=sentence):
        Output(compare=path).check()


def test_a_result_that_was_written_is_read_again(tmp_path, capsys):
    path = tmp_path / "now.json"
    finish(result(row("a", [10.0, 11.0])), Output(json_file=path), table=lambda _: None)
    assert read_result(path) == json.loads(path.read_text())
    capsys.readouterr()


def test_a_result_of_an_earlier_version_with_no_numbers_in_it_is_read(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps(result(row("a", [1.0], cost=float("nan")))))
    assert "NaN" in (tmp_path / "x.json").read_text()
    assert read_result(tmp_path / "x.json")["results"][0]["cost"] is None


def test_past_the_threshold_the_command_fails_after_all_was_written(tmp_path, capsys):
    before, now = tmp_path / "before.json", tmp_path / "now.json"
    before.write_text(json.dumps(result(row("a", steady(10.0)))))
    output = Output(compare=before, json_file=now, threshold=5)
    slow = result(row("a", steady(11.0)))
    with pytest.raises(AlexNetError, match=r"more than 5%: a, batch 1 takes 10\.0% more time\."):
        finish(slow, output, table=lambda _: None)
    out = capsys.readouterr().out
    assert "| a, batch 1 |" in out
    assert json.loads(out.splitlines()[-1])["benchmark"] == "latency"
    assert now.exists()
