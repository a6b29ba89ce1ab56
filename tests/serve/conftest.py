"""Running services that the tests share, and the model they run."""

import pytest

from alexnet.backends import open_backend
from alexnet.checkpoint import shipped_model
from alexnet.predictor import Predictor
from tests.serve.running import Service, make_model


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    """The model that ships; as long as there is none, one with random weights."""
    if shipped_model().is_file():
        return shipped_model()
    return make_model(tmp_path_factory.mktemp("model") / "random.safetensors")


@pytest.fixture(scope="session")
def predictor(model_file):
    """The same model in this process."""
    backend = open_backend(model_file, threads=1)
    yield Predictor(backend)
    backend.close()


@pytest.fixture(scope="session")
def service(tmp_path_factory, model_file):
    """A service with the default settings. Its folder for temporary files is taken away."""
    service = Service(tmp_path_factory.mktemp("service"), ALEXNET_MODEL=model_file)
    try:
        service.wait_until_ready()
        # Whatever would write an upload to disk fails from now on.
        service.temporary.rename(service.temporary.with_name("gone"))
        yield service
    finally:
        code = service.stop()
    assert code == 0
    assert "Traceback" not in service.log
    assert "(status=5" not in service.log


@pytest.fixture(scope="session")
def strict_service(tmp_path_factory, model_file):
    """A service with every setting changed, to low limits."""
    service = Service(
        tmp_path_factory.mktemp("strict"),
        ALEXNET_MODEL=model_file,
        ALEXNET_BACKEND="torch",
        ALEXNET_DEVICE="cpu",
        ALEXNET_VIEWS="centre",
        ALEXNET_THREADS="1",
        ALEXNET_MAX_BODY="100kB",
        ALEXNET_MAX_PIXELS="10k",
        ALEXNET_MAX_PHOTOS="2",
        ALEXNET_MAX_REQUESTS="1",
        ALEXNET_TIMEOUT="4",
    )
    try:
        yield service.wait_until_ready()
    finally:
        service.stop()
