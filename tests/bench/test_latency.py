"""`alexnet-bench latency`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import export.cli
from alexnet import __version__
from alexnet.checkpoint import load_checkpoint
from alexnet.geometry import totals
from alexnet.machine import precision_note
from bench.conditions import conditions, one_line
from bench.photos import read_photos
from bench.rows import note_in, note_on
from tests.bench.runs import QUICK, run_here
from tests.commands import on_terminal
from tests.photos import encode, pattern, with_orientation


@pytest.fixture(scope="module")
def measured(tmp_path_factory, model_path, exported):
    """One run over a checkpoint, named twice, and its graph, at two batch sizes."""
    target = tmp_path_factory.mktemp("bench") / "deep" / "latency.json"
    graph = exported / "ten.onnx"
    code, out, error = run_here(
        *("latency", model_path, model_path, graph, "--batch", "1,3"),
        *(*QUICK, "--count", "10", "--warmup", "1", "--threads", "1", "--json", target),
    )
    assert code == 0, error
    return out, target


def test_stdout_ends_with_one_line_of_json_and_the_file_has_every_time_too(measured):
    out, target = measured
    printed, kept = json.loads(out.splitlines()[-1]), json.loads(target.read_text())
    assert printed["benchmark"] == "latency"
    for row in kept["results"]:
        assert len(row.pop("samples_ms")) == 10
    assert printed == kept


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
    assert f"Machine: {machine['cpu']}, " in measured[0]
    assert [row["threads"] for row in result["results"]] == [1] * 6
    assert machine["date"] in one_line(machine)


def test_ten_rounds_are_too_few_to_be_valid(measured):
    result = json.loads(measured[1].read_text())
    assert result["verdict"] == "INVALID"
    assert result["reasons"][0].startswith(
        "Too few samples: a comparison needs 20 rounds, not 10: "
    )


def test_strict_makes_an_invalid_measurement_fail(model_path):
    code, out, error = run_here(
        *("latency", model_path, "--count", "1", "--warmup", "0", "--no-baseline", "--strict"),
        *("--views", "centre", "--backend", "torch", *QUICK),
    )
    assert code == 1
    assert error.startswith("alexnet-bench: The measurement is INVALID. Too few samples: ")
    row = json.loads(out.splitlines()[-1])["results"][0]
    assert (row["ratio"], row["views"], row["crops_per_photo"]) == (None, "centre", 1)


def test_the_model_that_ships_is_measured_where_none_is_named():
    code, out, error = run_here("latency", "--duration", "0.5", *QUICK)
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
        (["--scenario", "server"], "the scenario server is `alexnet-bench serve`."),
        (["--scenario", "offline"], "the scenario offline is `alexnet-bench throughput`."),
        (["--scenario", "single-stream", "--batch", "2"], "take multi-stream"),
        (["--fast"], "give a --scenario, too"),
    ],
)
def test_wrong_use_is_a_sentence_and_exit_code_2(arguments, sentence):
    code, out, error = run_here("latency", *arguments)
    assert (code, out) == (2, "")
    assert sentence in error


def test_a_model_or_photo_that_cannot_be_used_is_a_sentence(tmp_path, model_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
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
        code, out, error = run_here("latency", *arguments, *QUICK)
        assert (code, out) == (1, ""), error
        assert error.splitlines()[-1].startswith(f"alexnet-bench: {sentence}")
        assert "Traceback" not in error


def test_a_terminal_shows_the_rounds_before_the_measurement_too(model_path):
    shown = on_terminal(
        *("bench", "latency", model_path, "--count", "1", "--warmup", "2", "--views", "centre"),
        *QUICK,
    )
    assert "Warming up" in shown
    assert "Measuring" in shown


def test_the_version_is_told():
    assert run_here("--version") == (0, f"alexnet-bench, version {__version__}\n", "")


# Scenarios


def test_a_stream_of_single_photos_is_timed_from_their_bytes(model_path):
    code, out, error = run_here(
        *("latency", model_path, "--scenario", "single-stream", "--views", "centre"),
        *("--count", "3", "--warmup", "0", *QUICK),
    )
    assert code == 0, error
    result = json.loads(out.splitlines()[-1])
    (row,) = result["results"]
    assert (result["scenario"], row["infer_batch_size"]) == ("single-stream", 1)
    assert out.startswith("From the bytes of one photo to its answer, ms")
    # The network alone is timed, too.
    assert row["stages_ms_per_photo"]["run"] != row["latency_ms"]["p50"]


def test_a_query_of_many_streams_is_of_eight_photos(model_path):
    code, out, error = run_here(
        *("latency", model_path, "--scenario", "multi-stream", "--views", "centre"),
        *("--count", "2", "--warmup", "0", *QUICK),
    )
    assert code == 0, error
    (row,) = json.loads(out.splitlines()[-1])["results"]
    assert row["infer_batch_size"] == 8
    per_second = 8000 / row["latency_ms"]["mean"]
    assert row["infer_samples_per_sec"] == pytest.approx(per_second, rel=1e-4)


# Photos, machine


def test_eight_photos_of_a_folder_are_measured_on_at_most_and_bad_ones_are_left_out(
    tmp_path, capsys
):
    for number in range(12):
        (tmp_path / f"{number:02}.jpg").write_bytes(encode(pattern(seed=number), "JPEG"))
    (tmp_path / "03.jpg").write_bytes(b"no photo")
    files = read_photos(tmp_path)
    # Eight evenly among the twelve, and 02 in the place of 03.
    names = ["00", "01", "04", "06", "07", "09", "10", "02"]
    assert [Path(file.name).stem for file in files] == names
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


def test_a_row_is_marked_where_the_cpu_has_no_instructions_for_its_precision(
    tmp_path, monkeypatch, model_path
):
    words = ["onnx", model_path, "-o", tmp_path / "fp16.onnx", "--precision", "fp16"]
    done = CliRunner().invoke(export.cli.main, [*map(str, words)])
    assert done.exit_code == 0, done.output
    monkeypatch.setattr("alexnet.machine.cpu_features", lambda: frozenset({"avx2"}))
    target = tmp_path / "x.json"
    models = (model_path, tmp_path / "fp16.onnx")
    code, out, error = run_here(
        *("latency", *models, *QUICK, "--count", "2", "--warmup", "0", "--json", target)
    )
    assert code == 0, error
    plain, rounded = json.loads(target.read_text())["results"]
    assert plain["precision_note"] is None
    assert "does not multiply in fp16" in rounded["precision_note"]
    assert f"{rounded['name']}: {rounded['precision_note']}" in out.splitlines()


def test_what_another_process_says_of_its_precision_marks_the_row(monkeypatch):
    monkeypatch.setattr("alexnet.machine.cpu_features", lambda: frozenset({"avx2"}))
    note = precision_note("bf16")
    assert note_in(f"bf16.onnx runs in OpenVINO.\n{note}\n12 labelled") == note
    assert note_in("12 labelled") is None
    assert note_on("bf16", backend="openvino") == note
    assert note_on("bf16", backend="openvino", device="cuda") is None
    assert note_on("fp32", backend="openvino") is None
