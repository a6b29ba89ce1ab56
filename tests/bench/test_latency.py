"""`alexnet-bench latency` as a process of its own, and the rules behind its numbers."""

import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alexnet import __version__
from alexnet.checkpoint import load_checkpoint
from alexnet.geometry import totals
from bench.conditions import conditions, one_line
from bench.interleave import interleave
from bench.latency import why_invalid
from bench.photos import read_photos
from bench.statistics import summarise
from bench.variants import open_variants
from export.graph import write_onnx
from tests.commands import on_terminal
from tests.photos import encode, pattern, with_orientation

ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


def run(*arguments, **options):
    done = subprocess.run(
        [sys.executable, "-m", "bench", *map(os.fspath, arguments)],
        capture_output=True,
        text=True,
        env=ENV,
        timeout=300,
        **options,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def exported(tmp_path_factory, model_path):
    """The small model as ONNX graphs of both kinds of views."""
    folder = tmp_path_factory.mktemp("exported")
    for views in ("ten", "centre"):
        write_onnx(load_checkpoint(model_path), folder / f"{views}.onnx", views=views)
    return folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory, model_path, exported):
    """One run over a checkpoint, named twice, and its graph, at two batch sizes."""
    target = tmp_path_factory.mktemp("bench") / "deep" / "latency.json"
    graph = exported / "ten.onnx"
    code, out, error = run(
        *("latency", model_path, model_path, graph, "--batch", "1,3"),
        *("--count", "10", "--warmup", "1", "--threads", "1", "--json", target),
    )
    assert code == 0, error
    return out, target


# The order of calls


def test_every_round_makes_every_call_once():
    made = []
    calls = [lambda n=n: made.append(n) for n in range(4)]
    times = interleave(calls, count=25, warmup=2)
    assert [len(call) for call in times] == [25] * 4
    rounds = [made[at : at + 4] for at in range(0, len(made), 4)]
    assert len(rounds) == 25 + 2
    assert all(sorted(one) == [0, 1, 2, 3] for one in rounds)


def test_no_call_always_follows_the_same_neighbour():
    made = []
    interleave([lambda n=n: made.append(n) for n in range(3)], count=50, warmup=0)
    followers = {made[at + 1] for at in range(len(made) - 1) if made[at] == 0}
    assert {1, 2} <= followers


def test_the_order_is_the_same_in_every_run():
    def order():
        made = []
        interleave([lambda n=n: made.append(n) for n in range(5)], count=20, warmup=0)
        return made

    assert order() == order()


def test_each_time_belongs_to_its_call():
    slow, quick = interleave([lambda: time.sleep(0.02), lambda: None], count=5)
    assert min(slow) >= 0.02
    assert min(quick) < 0.02


def test_a_duration_ends_the_rounds_and_one_is_always_made():
    assert len(interleave([lambda: time.sleep(0.01)], duration=0.2)[0]) <= 20
    assert len(interleave([lambda: None], duration=1e-9, warmup=0)[0]) == 1


def test_garbage_is_collected_between_measurements_and_not_in_them():
    during = []
    interleave([lambda: during.append(gc.isenabled())], count=2, warmup=0)
    assert during == [False, False]
    assert gc.isenabled()


# What is compared with what


def described(variants):
    return [(v.model, v.backend.name, v.batch, v.baseline) for v in variants]


def test_a_checkpoint_is_its_own_baseline(model_path):
    with open_variants([model_path], ["auto"], [1, 2]) as variants:
        assert described(variants) == [
            ("mini.safetensors", "torch", 1, 0),
            ("mini.safetensors", "torch", 2, 1),
        ]


def test_a_model_named_twice_is_compared_with_itself(model_path):
    with open_variants([model_path, model_path], ["auto"], [1]) as variants:
        assert [variant.baseline for variant in variants] == [0, 0]
        assert variants[0].backend is not variants[1].backend


def test_a_graph_is_compared_with_the_checkpoint_beside_it(model_path, exported):
    with open_variants([exported / "ten.onnx", model_path], ["auto"], [4]) as variants:
        assert described(variants) == [
            ("ten.onnx", "onnxruntime", 4, 1),
            ("mini.safetensors", "torch", 4, 1),
        ]


def test_a_graph_of_other_views_gets_a_baseline_of_those_views(model_path, exported):
    with open_variants([exported / "centre.onnx", model_path], ["auto"], [1]) as variants:
        first, graph, checkpoint = variants
        assert (first.backend.name, first.backend.info.views) == ("torch", "centre")
        assert (graph.baseline, checkpoint.baseline) == (0, 2)
        assert checkpoint.backend.info.views == "ten"


def test_a_graph_alone_is_compared_with_its_network_in_fresh_weights(exported):
    with open_variants([exported / "ten.onnx"], ["auto"], [1]) as variants:
        fresh, graph = variants
        assert (fresh.backend.name, fresh.model) == ("torch", "mini-fresh.safetensors")
        assert fresh.backend.info.config == graph.backend.info.config
        assert graph.baseline == 0
        folder = fresh.backend.info.path.parent
    assert not folder.exists()


def test_without_a_baseline_nothing_is_added(exported):
    with open_variants([exported / "ten.onnx"], ["auto"], [1], baseline=False) as variants:
        assert described(variants) == [("ten.onnx", "onnxruntime", 1, None)]


def test_each_of_several_backends_runs_the_files_of_its_kind(model_path, exported, capsys):
    both = ["torch", "onnxruntime"]
    with open_variants([model_path, exported / "ten.onnx"], both, [1]) as variants:
        assert [variant.backend.name for variant in variants] == both
    assert "Left out: mini.safetensors on onnxruntime" in capsys.readouterr().err


def test_files_of_one_name_are_told_apart_by_their_paths(tmp_path, model_path):
    copy = tmp_path / model_path.name
    copy.write_bytes(model_path.read_bytes())
    with open_variants([model_path, copy], ["auto"], [1]) as variants:
        assert [variant.model for variant in variants] == [str(model_path), str(copy)]


# The command


def test_stdout_ends_with_one_line_of_json_that_the_file_holds_too(measured):
    out, target = measured
    assert target.read_text() == out.splitlines()[-1] + "\n"
    assert json.loads(target.read_text())["benchmark"] == "latency"


def test_every_model_is_measured_at_every_batch_size(measured):
    result = json.loads(measured[1].read_text())
    rows = [(r["model"], r["backend"], r["infer_batch_size"]) for r in result["results"]]
    assert rows == [
        (model, backend, batch)
        for batch in (1, 3)
        for model, backend in (
            *(("mini.safetensors", "torch"), ("mini.safetensors", "torch")),
            ("ten.onnx", "onnxruntime"),
        )
    ]


def test_the_row_has_timms_names_and_the_networks_counts(measured, model_path):
    config = load_checkpoint(model_path).config
    counts = totals(config)
    for row in json.loads(measured[1].read_text())["results"]:
        assert row["infer_img_size"] == config.input.crop
        assert row["param_count"] == round(counts.parameters / 1e6, 2)
        assert row["gmacs"] == pytest.approx(counts.macs / 1e9, rel=1e-5)
        assert row["crops_per_photo"] == 10
        assert row["infer_step_time"] == row["latency_ms"]["mean"]
        per_second = 1000 * row["infer_batch_size"] / row["latency_ms"]["mean"]
        assert row["infer_samples_per_sec"] == pytest.approx(per_second, rel=1e-4)


def test_ratios_are_of_medians_at_the_same_batch_size(measured):
    rows = json.loads(measured[1].read_text())["results"]
    for first in (0, 3):
        baseline = rows[first]
        assert baseline["baseline"]
        assert baseline["ratio"] == {"value": 1, "low": 1, "high": 1}
        for row in rows[first + 1 : first + 3]:
            medians = baseline["latency_ms"]["p50"] / row["latency_ms"]["p50"]
            assert not row["baseline"]
            assert row["ratio"]["value"] == pytest.approx(medians, rel=1e-4)
            assert 0 < row["ratio"]["low"] <= row["ratio"]["high"]


def test_ten_rounds_support_p90_and_no_more(measured):
    result = json.loads(measured[1].read_text())
    assert result["rounds"] == 10
    for row in result["results"]:
        times = row["latency_ms"]
        assert times["count"] == 10
        assert (times["p95"], times["p99"], times["p99_9"]) == (None, None, None)
        order = [times[name] for name in ("min", "p25", "p50", "p75", "p90", "max")]
        assert order == sorted(order)
    assert "p95" not in measured[0].splitlines()[2]


def test_a_real_photos_stages_stand_apart(measured):
    result = json.loads(measured[1].read_text())
    assert result["photos"] == ["china.jpg", "flower.jpg"]
    for row in result["results"]:
        stages = row["stages_ms_per_photo"]
        assert set(stages) == {"decode", "resize", "run"}
        assert all(value > 0 for value in stages.values())
        run_time = row["latency_ms"]["p50"] / row["infer_batch_size"]
        assert stages["run"] == pytest.approx(run_time, rel=1e-4)


def test_the_machine_and_the_versions_are_named(measured):
    result = json.loads(measured[1].read_text())
    machine = result["machine"]
    assert machine["cores"] >= 1
    assert {"alexnet", "python", "torch", "numpy", "pillow"} <= set(machine["versions"])
    assert result["threads"] == 1
    assert f"Machine: {machine['cpu']}, " in measured[0]
    assert machine["date"] in one_line(machine)


def test_ten_rounds_are_too_few_to_be_valid(measured):
    result = json.loads(measured[1].read_text())
    assert result["verdict"] == "INVALID"
    assert result["reasons"][0].startswith("A comparison needs 20 rounds, not 10: ")


def test_strict_makes_an_invalid_measurement_fail(model_path):
    code, out, error = run(
        *("latency", model_path, "--count", "1", "--warmup", "0", "--no-baseline", "--strict"),
        *("--views", "centre", "--backend", "torch"),
    )
    assert code == 1
    assert error.startswith(
        "alexnet-bench: The measurement is INVALID. A comparison needs 20 rounds"
    )
    row = json.loads(out.splitlines()[-1])["results"][0]
    assert (row["ratio"], row["views"], row["crops_per_photo"]) == (None, "centre", 1)


def test_the_model_that_ships_is_measured_where_none_is_named():
    code, out, error = run("latency", "--duration", "0.5")
    assert code == 0, error
    (row,) = json.loads(out.splitlines()[-1])["results"]
    assert (row["model"], row["ratio"]["value"]) == ("mini.safetensors", 1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--batch", "1,x"], "'x' is not a valid integer"),
        (["--batch", "0"], "0 is not in the range x>=1"),
        (["--backend", "torch,caffe"], "'caffe' is not one of"),
        (["--count", "5", "--duration", "2"], "Give --count or --duration, not both."),
        (["--duration", "0"], "0.0 is not in the range x>0"),
    ],
)
def test_wrong_use_is_a_sentence_and_exit_code_2(arguments, sentence):
    code, out, error = run("latency", *arguments)
    assert (code, out) == (2, "")
    assert sentence in error


def test_a_model_or_photo_that_cannot_be_used_is_a_sentence(tmp_path, model_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cut.jpg").write_bytes(encode(pattern(), "JPEG")[:500])
    (tmp_path / "empty").mkdir()
    for arguments, sentence in (
        (["gone.safetensors"], "There is no checkpoint gone.safetensors."),
        ([model_path, "--photos", "photos"], "No photo in photos can be read (1 tried)."),
        ([model_path, "--photos", "photos/cut.jpg"], "photos/cut.jpg: This JPEG file breaks off"),
        ([model_path, "--photos", "empty"], "There are no photos in empty: "),
        ([model_path, "--photos", "nowhere"], "There is no nowhere: "),
    ):
        code, out, error = run("latency", *arguments, cwd=tmp_path)
        assert (code, out) == (1, ""), error
        assert error.splitlines()[-1].startswith(f"alexnet-bench: {sentence}")
        assert "Traceback" not in error


def test_a_terminal_shows_the_rounds_before_the_measurement_too(model_path):
    shown = on_terminal(
        *("bench", "latency", model_path, "--count", "1", "--warmup", "2", "--views", "centre"),
    )
    assert "Warming up" in shown
    assert "Measuring" in shown


def test_the_version_is_told():
    assert run("--version") == (0, f"alexnet-bench, version {__version__}\n", "")


# Verdict, photos, machine


def test_enough_even_calls_are_valid():
    assert why_invalid(["a"], [summarise([10.0, 10.5] * 10)]) == []


def test_uneven_calls_are_invalid_and_named():
    # Quartiles 10 and 14 around a median of 12: a third of it.
    reasons = why_invalid(["a", "b"], [summarise([10.0] * 20), summarise([10.0, 14.0] * 10)])
    (reason,) = reasons
    assert reason.startswith("b: calls spread by 33% of their median")


def test_eight_photos_of_a_folder_are_measured_on_at_most_and_bad_ones_are_left_out(
    tmp_path, capsys
):
    for number in range(12):
        (tmp_path / f"{number:02}.jpg").write_bytes(encode(pattern(seed=number), "JPEG"))
    (tmp_path / "03.jpg").write_bytes(b"no photo")
    files = read_photos(tmp_path)
    assert [Path(file.name).stem for file in files] == ["00", "01", "04", "06", "07", "09", "10"]
    assert all(file.data == Path(file.name).read_bytes() for file in files)
    assert f"Left out {tmp_path / '03.jpg'}" in capsys.readouterr().err


def test_the_photos_are_decoded_as_the_product_does(tmp_path):
    (tmp_path / "turned.jpg").write_bytes(with_orientation(pattern(80, 64), 6))
    (file,) = read_photos(tmp_path)
    assert file.decoded.image.size == (64, 80)


def test_without_scikit_learn_a_photo_is_made():
    hide = "import sys; sys.modules['sklearn'] = None; "
    code = hide + "from bench.photos import read_photos; (f,) = read_photos(None); print(f.name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "made.jpg\n"), done.stderr


def test_the_machine_is_described_in_json_values():
    machine = conditions()
    assert json.loads(json.dumps(machine)) == machine
    assert machine["cpu"]
    assert machine["gpu"] is None
