"""What only a GPU can show; `scripts/on_gpu.sh` runs these on a machine that has one."""

import os

import numpy as np
import pytest
import torch

from alexnet.backends import open_backend
from alexnet.checkpoint import save_checkpoint
from alexnet.config import preset
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


def test_an_epoch_in_float64_gives_the_weights_of_the_cpu(tmp_path):
    from PIL import Image

    from tests.train.runs import train_epoch
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
