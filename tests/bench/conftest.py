"""What several tests of alexnet-bench measure."""

import pytest
import torch

from alexnet.checkpoint import load_checkpoint
from export.choices import GraphChoices
from export.graph import write_onnx


@pytest.fixture(scope="session")
def exported(tmp_path_factory, model_path):
    """The small model as ONNX graphs of both kinds of views."""
    folder = tmp_path_factory.mktemp("exported")
    for views in ("ten", "centre"):
        write_onnx(
            load_checkpoint(model_path),
            folder / f"{views}.onnx",
            views=views,
            choices=GraphChoices(target="onnxruntime"),
        )
    return folder


@pytest.fixture(scope="module", autouse=True)
def same_threads():
    """Models that are opened with a number of threads set it for the whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
