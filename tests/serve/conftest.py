"""The running service that the tests share, and its model in this process."""

import pytest

from alexnet.backends import open_backend
from alexnet.predictor import Predictor
from tests.serve.doors import KEY, ORIGIN
from tests.serve.running import Service


@pytest.fixture(scope="session")
def predictor(model_path):
    """The same model in this process."""
    backend = open_backend(model_path, threads=1)
    yield Predictor(backend)
    backend.close()


@pytest.fixture(scope="session")
def service(tmp_path_factory, model_path):
    """A service with the default settings. Its folder for temporary files is taken away."""
    service = Service(tmp_path_factory.mktemp("service"), ALEXNET_MODEL=model_path)
    try:
        service.wait_until_ready()
        # Whatever would write an upload to disk fails from now on.
        service.temporary.rename(service.temporary.with_name("gone"))
        yield service
    finally:
        code = service.stop()
    assert code == 0
    assert "Traceback" not in service.log
    assert '"status": 5' not in service.log


@pytest.fixture(scope="session")
def guarded_service(tmp_path_factory, model_path):
    """A service with every door closed: keys, origins, hosts, metrics."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "keys").write_text(f"# The tests' own.\ntests:{KEY}\n")
    (folder / "keys").chmod(0o600)
    service = Service(
        folder,
        ALEXNET_MODEL=model_path,
        ALEXNET_KEYS=folder / "keys",
        ALEXNET_METRICS="key",
        ALEXNET_CORS_ORIGINS=ORIGIN,
        ALEXNET_HOSTS="127.0.0.1",
    )
    try:
        yield service.wait_until_ready()
    finally:
        code = service.stop()
    assert code == 0
    assert "Traceback" not in service.log
    assert KEY not in service.log
