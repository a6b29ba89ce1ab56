"""The running services that the slow tests share."""

import shutil

import pytest

from tests.serve.conftest import guarded_service, service
from tests.serve.running import Service

__all__ = ["guarded_service", "service"]


@pytest.fixture(scope="session")
def strict_service(tmp_path_factory, model_path):
    """A service with every setting changed, to low limits; its model may be taken away."""
    folder = tmp_path_factory.mktemp("strict")
    service = Service(
        folder,
        ALEXNET_MODEL=shutil.copy(model_path, folder / "model.safetensors"),
        ALEXNET_BACKEND="torch",
        ALEXNET_DEVICE="cpu",
        ALEXNET_VIEWS="centre",
        ALEXNET_THREADS="1",
        ALEXNET_MAX_BODY="100kB",
        ALEXNET_MAX_PIXELS="10k",
        ALEXNET_MAX_PHOTOS="2",
        ALEXNET_MAX_REQUESTS="400",
        ALEXNET_MAX_UPLOADS="30MB",
        ALEXNET_MODE="latency",
        ALEXNET_BATCH="2",
        ALEXNET_WAIT="1",
        ALEXNET_QUEUE="20",
        ALEXNET_UPLOAD_TIMEOUT="5",
        ALEXNET_TIMEOUT="20",
        ALEXNET_START_TIMEOUT="300",
    )
    try:
        yield service.wait_until_ready()
    finally:
        service.stop()
