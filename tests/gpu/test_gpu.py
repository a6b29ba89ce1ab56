"""What only a GPU can show; `scripts/on_gpu.sh` runs these on a machine that has one."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet.backends import open_backend
from alexnet.checkpoint import save_checkpoint
from alexnet.config import preset
from tests.train.runs import train_epoch
from train.untrained import made_up_photos, untrained

DEVICE = os.environ.get("ALEXNET_GPU", "cuda")
pytestmark = pytest.mark.skipif(
    DEVICE != "cpu" and not torch.cuda.is_available(), reason="needs a GPU"
)


@pytest.fixture(scope="module", params=["net145", "mini"])
def checkpoint(request, tmp_path_factory):
    """A network whose probabilities are of a trained one's size, and photos for it."""
    made = untrained(preset(request.param), seed=0, scaled=True)
    path = tmp_path_factory.mktemp("gpu") / f"{request.param}.safetensors"
    save_checkpoint(made, path)
    return path, made_up_photos(3, made.config.input, seed=1)


@pytest.mark.parametrize("views", ["ten", "centre"])
def test_pytorch_gives_the_answers_of_the_cpu(checkpoint, views):
    path, photos = checkpoint
    expected = open_backend(path, views=views).run(photos)
    found = open_backend(path, views=views, device=DEVICE).run(photos)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_onnx_runtime_gives_the_answers_of_the_cpu(checkpoint, tmp_path):
    pytest.importorskip("onnx", reason="needs onnx")
    from alexnet.checkpoint import load_checkpoint
    from export.graph import write_onnx

    path, photos = checkpoint
    graph = tmp_path / "model.onnx"
    write_onnx(load_checkpoint(path), graph)
    expected = open_backend(path).run(photos)
    np.testing.assert_allclose(open_backend(graph, device=DEVICE).run(photos), expected, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("flavour", ["tensorrt", "rtx"])
@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 5e-3), ("bf16", 5e-2), ("int8", 0.2)]
)
def test_engines_give_the_answers_of_the_cpu(checkpoint, tmp_path, flavour, precision, tolerance):
    """Batches of every kind: recorded, filled up, in parts, and again."""
    module = {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx"}[flavour]
    pytest.importorskip(module, reason=f"needs {module} on a GPU")
    if flavour == "rtx" and torch.cuda.get_device_capability() in ((9, 0), (10, 0)):
        pytest.skip("TensorRT for RTX does not run on this GPU")
    pytest.importorskip("onnx", reason="needs onnx")
    from export.engine_file import write
    from export.source import open_source
    from export.tensorrt import EngineOptions

    path, photos = checkpoint
    engine = tmp_path / "model.engine"
    options = EngineOptions(flavour=flavour, batch=(2, 2, 4))
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, photo in enumerate(photos):
        Image.fromarray(photo).save(folder / f"{number}.png")
    write(open_source(path), engine, options, precision=precision, calibrate=folder)
    backend = open_backend(engine, device=DEVICE)
    expected = open_backend(path).run(photos)
    for rows in ([0], [0, 1], [0, 1, 2], [2, 1, 0, 1, 2, 0, 1], [1], [0, 1]):
        np.testing.assert_allclose(backend.run(photos[rows]), expected[rows], atol=tolerance)


def test_an_epoch_in_float64_gives_the_weights_of_the_cpu(tmp_path):
    from train.mesh import Mesh
    from train.prepare import prepare
    from train.recipes import recipe, run_config
    from train.trainer import Trainer

    random = np.random.default_rng(0)
    for name in ("grey", "green"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(0, 200, (64, 64, 3), dtype=np.uint8)
            pixels[..., 1] += 50 * (name == "green")
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    # Without dropout: a GPU draws other numbers than a CPU.
    settings = ["recipe.dtype=float64", "recipe.batch=8", "network.dropout.rate=0"]
    config = run_config("mini", recipe("net145"), classes=2, settings=settings)
    dataset = prepare(str(tmp_path / "photos"), tmp_path / "data", input=config.input)
    weights = []
    for device in ("cpu", DEVICE):
        trainer = Trainer(config, dataset, mesh=Mesh(device=torch.device(device)))
        train_epoch(trainer)
        weights.append(trainer.state().weights)
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name].cpu(), weight, rtol=0, atol=1e-9)
