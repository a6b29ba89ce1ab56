"""Dense answers as a graph: photos of any shape in one file, in every runtime as in PyTorch."""

from contextlib import closing

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from alexnet.backends import BackendError, open_backend
from alexnet.checkpoint import save_checkpoint
from export.choices import choices_for
from export.cli import main
from export.graph import onnx_model, write_onnx
from export.precision import half_precision
from tests.export.geometries import random_config
from tests.models import small, tiny
from tests.photos import encode, pattern
from train.untrained import untrained


def photos(*shape, seed=0):
    """Patterns of one shape (N, H, W), uint8 (N, H, W, 3)."""
    count, height, width = shape
    return np.stack([np.asarray(pattern(width, height, seed=seed + n)) for n in range(count)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """tiny as a checkpoint and as a dense graph with features."""
    folder = tmp_path_factory.mktemp("dense")
    checkpoint = untrained(tiny(), seed=0, scaled=True)
    save_checkpoint(checkpoint, folder / "model.safetensors")
    write_onnx(checkpoint, folder / "dense.onnx", views="dense", features=True)
    return folder


def agree(checkpoint, folder, *, shapes, backend="onnxruntime", target="portable"):
    """Assert that a graph's answers are PyTorch's for photos of these shapes."""
    save_checkpoint(checkpoint, folder / "model.safetensors")
    choices = choices_for(target, checkpoint.config)
    write_onnx(checkpoint, folder / "m.onnx", views="dense", features=True, choices=choices)
    with (
        closing(open_backend(folder / "model.safetensors", views="dense", threads=1)) as torch,
        closing(open_backend(folder / "m.onnx", backend=backend, threads=1)) as graph,
    ):
        for number, shape in enumerate(shapes):
            batch = photos(*shape, seed=number)
            expected, units = torch.run_features(batch)
            found, features = graph.run_features(batch)
            np.testing.assert_allclose(found, expected, atol=1e-5)
            np.testing.assert_allclose(features, units, atol=1e-4 * np.abs(units).max())
            np.testing.assert_array_equal(graph.run(batch), found)


# Every preset, form and runtime. Of the fast normalisations, one_gpu's has another form for photos
# of any shape.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "target", "backend"),
    [
        ("paper", "onnxruntime", "onnxruntime"),
        ("net145", "portable", "onnxruntime"),
        ("net145", "openvino", "openvino"),
        ("one_gpu", "onnxruntime", "onnxruntime"),
        ("six_conv", "portable", "openvino"),
        ("caffe", "portable", "onnxruntime"),
        ("torchvision", "openvino", "openvino"),
        ("torchvision", "portable", "onnxruntime"),
        ("mini", "portable", "openvino"),
    ],
)
def test_one_graph_takes_photos_of_several_sizes_and_agrees_with_pytorch(
    name, target, backend, tmp_path
):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    config = tiny() if name == "mini" else small(name)
    side = config.input.size
    shapes = [(1, side, side), (5, side, side + 37), (1, side + 90, side), (1, side + 5, side + 4)]
    checkpoint = untrained(config, seed=2, scaled=True)
    agree(checkpoint, tmp_path, shapes=shapes, backend=backend, target=target)


@pytest.mark.parametrize("seed", range(8))
def test_networks_of_any_geometry_agree(seed, tmp_path):
    config = random_config(seed, mean="centred" if seed % 2 else "aligned")
    crop = config.input.crop
    shapes = [(1, crop + n, crop + (5 * n) % 7) for n in range(9)]
    agree(untrained(config, seed=seed), tmp_path, shapes=shapes)


def test_the_graph_says_what_it_takes(folder):
    model = onnx.load(folder / "dense.onnx")
    (photos,) = model.graph.input
    sides = [side.dim_param or side.dim_value for side in photos.type.tensor_type.shape.dim]
    assert sides == ["batch", "height", "width", 3]
    assert {node.domain for node in model.graph.node} == {""}
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    assert metadata["views"] == "dense"
    with closing(open_backend(folder / "dense.onnx")) as backend:
        assert backend.info.views == "dense"
        with pytest.raises(BackendError, match="sides of at least 40"):
            backend.run(np.zeros((1, 39, 60, 3), np.uint8))
    with pytest.raises(BackendError, match="exported with the views 'dense' and can't take 'ten'"):
        open_backend(folder / "dense.onnx", views="ten")


def test_half_precision_rounds_the_layers_alone(folder, tmp_path):
    exact = onnx_model(untrained(tiny(), seed=0, scaled=True), views="dense")
    # ONNX Runtime has no bf16 convolutions on CPUs.
    onnx.checker.check_model(half_precision(exact, "bf16"), full_check=True)
    (tmp_path / "half.onnx").write_bytes(half_precision(exact, "fp16").SerializeToString())
    batch = photos(2, 50, 77)
    with (
        closing(open_backend(tmp_path / "half.onnx")) as half,
        closing(open_backend(folder / "dense.onnx")) as whole,
    ):
        difference = np.abs(half.run(batch) - whole.run(batch)).max()
    assert 0 < difference < 5e-3


# The commands


def run(command, *arguments):
    return CliRunner().invoke(command, list(map(str, arguments)))


def test_export_and_verify_on_photos_that_are_no_squares(folder, tmp_path):
    out = tmp_path / "m.onnx"
    arguments = ("--views", "dense", "--for", "onnxruntime")
    done = run(main, "onnx", folder / "model.safetensors", "-o", out, *arguments)
    assert done.exit_code == 0, done.output
    assert "views 'dense'" in done.stderr
    assert "share" not in done.stderr
    (tmp_path / "photos").mkdir()
    for number, sides in enumerate([(90, 60), (60, 90), (300, 20), (64, 64)]):
        photo = encode(pattern(*sides, seed=number), "PNG")
        (tmp_path / "photos" / f"{number}.png").write_bytes(photo)
    for place in (("--photos", tmp_path / "photos"), ("--count", 3)):
        done = run(main, "verify", folder / "model.safetensors", out, *place)
        assert done.exit_code == 0, done.output
        assert '"views": "dense"' in done.stdout


@pytest.mark.parametrize(
    ("command", "arguments", "sentence"),
    [
        ("onnx", ("-o", "m.onnx", "--views=dense", "--share"), "one view"),
        (
            "onnx",
            ("-o", "m.onnx", "--views=dense", "--precision=int8", "--unvalidated"),
            "take fp32, fp16 or bf16",
        ),
        ("tensorrt", ("-o", "m.engine", "--views=dense"), "photos of one shape"),
    ],
)
def test_what_a_dense_graph_can_t_be_is_refused(command, arguments, sentence, folder, tmp_path):
    given = [value.replace("m.", f"{tmp_path}/m.", 1) for value in arguments]
    done = run(main, command, folder / "model.safetensors", *given)
    assert done.exit_code == 1
    assert sentence in done.stderr
    assert not list(tmp_path.iterdir())


def test_layers_are_compared_on_crops_alone(folder):
    pair = folder / "model.safetensors", folder / "dense.onnx"
    done = run(main, "verify", *pair, "--layers", "--count", 1)
    assert done.exit_code == 1
    assert "Layers are compared on crops" in done.stderr
