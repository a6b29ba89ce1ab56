"""Figures that need no further words."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from alexnet.errors import AlexNetError
from bench.output import Output, finish
from tests.bench.results import MACHINE, result, row

pytest.importorskip("matplotlib", reason="CI installs the extra `plots`")
from bench.plot import draw


def times(around, seed):
    return (around + np.random.default_rng(seed).gamma(2, around / 20, size=120)).tolist()


def latency(batches=(1, 4)):
    rows = [
        row(model, times(size * batch, batch), batch=batch, backend=backend)
        for batch in batches
        for model, backend, size in (
            ("a.onnx", "onnxruntime", 10.0),
            ("a.safetensors", "torch", 30.0),
        )
    ]
    return result(*rows)


def throughput():
    rows = [row(f"model-{n}.onnx", times(400.0 / n, n), batch=4) for n in (1, 2, 3)]
    return result(*rows, benchmark="throughput", photos_per_pass=32, scenario="offline")


def serve():
    rows = [
        {key: made[key] for key in ("latency_ms", "samples_ms")}
        | {"name": f"{rate}/s", "rate": rate, "infer_samples_per_sec": rate}
        for rate in (5, 20, 40)
        for made in [row("", times(20.0 + rate, rate))]
    ]
    return result(*rows, benchmark="serve", scenario="server", bound_ms=50.0, knee_per_sec=20.0)


def train():
    rows = [{"name": f"run {n}", "train_samples_per_sec": 100.0 * n} for n in (1, 2)]
    return result(*rows, benchmark="train")


def floor():
    times = {"paper, ten, fp32": 25.33, "paper, centre, fp32": 2.533}
    rows = [{"name": name, "floor_ms": ms} for name, ms in times.items()]
    return result(*rows, benchmark="floor", isolated=False)


def words(path):
    """Every text of an SVG."""
    return [
        "".join(element.itertext()).strip()
        for element in ElementTree.parse(path).iter()
        if element.tag.endswith("}text")
    ]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (
            latency,
            [
                *("Latency of AlexNet", "How long calls took"),
                "ms of one call of the network, photos decoded already",
                *("What a photo costs by the size of the batch", "a.onnx, onnxruntime, batch 1"),
                *("photos given to the network at once", "photos a second"),
                "Throughput against latency (numbers: photos per call)",
            ],
        ),
        (
            throughput,
            [
                "Throughput of AlexNet, decoding included, offline",
                *("Photos a second (dots: passes; bars: medians)", "model-3.onnx, torch"),
                "photos a second, passes of 32 photos",
            ],
        ),
        (
            serve,
            [
                *("Latency of the service under load, server", "Throughput against latency"),
                *("answers a second", "median", "p99", "knee", "bound 50 ms", "20/s"),
            ],
        ),
        (train, ["Training speed", "Photos a second", "run 2", "photos a second"]),
        (
            floor,
            [
                *("What the machine can do", "ms of one photo, all cores", "paper, ten, fp32"),
                *("The floor: multiply-adds of all crops at the machine's peak", "25.3"),
            ],
        ),
    ],
)
def test_titles_axes_with_units_and_rows_are_named(tmp_path, made, expected):
    draw(made(), tmp_path / "plot.svg")
    found = words(tmp_path / "plot.svg")
    assert [one for one in expected if one not in found] == []
    assert any(one.startswith(f"{MACHINE['cpu']}, 2 cores, ") for one in found)


def test_one_batch_size_has_no_curve_over_batch_sizes(tmp_path):
    draw(latency(batches=(1,)), tmp_path / "plot.svg")
    found = words(tmp_path / "plot.svg")
    assert "How long calls took" in found
    assert "What a photo costs by the size of the batch" not in found


def test_an_invalid_measurement_says_so_above_and_why_below(tmp_path):
    draw(latency() | {"verdict": "INVALID", "reasons": ["It rained."]}, tmp_path / "plot.svg")
    found = words(tmp_path / "plot.svg")
    assert "Latency of AlexNet (INVALID: see below)" in found
    assert "INVALID. It rained." in found


@pytest.mark.parametrize("made", [latency, throughput, serve, train, floor])
def test_nothing_is_cut_off_at_the_edges(tmp_path, made):
    long = "a-model-with-a-name-that-is-longer-than-others.onnx"
    shown = made()
    for one in shown["results"]:
        one |= {key: f"{long} {one[key]}" for key in ("name", "model") if key in one}
    draw(shown, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("L"))
    frame = [pixels[:3], pixels[-3:], pixels[:, :3].T, pixels[:, -3:].T]
    assert all((edge == 255).all() for edge in frame)
    assert (pixels < 128).mean() > 0.002


def test_the_same_result_is_the_same_file(tmp_path):
    for name in ("one", "other"):
        draw(throughput(), tmp_path / f"{name}.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


def test_where_there_is_nothing_to_draw_the_command_fails_after_all_else(tmp_path, capsys):
    nothing = result({"name": "5/s", "infer_samples_per_sec": 0.0}, benchmark="serve")
    output = Output(json_file=tmp_path / "r.json", plot_files=(tmp_path / "plot.png",))
    with pytest.raises(AlexNetError, match="No plot: this result of serve has no times or rates"):
        finish(nothing, output, table=lambda _: None)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["benchmark"] == "serve"
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]
