"""Both commands that start the service: whose code they run, and where it listens then."""

import importlib
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from serve.control import ControlError, take_control
from serve.settings import Settings
from tests.serve.doors import KEY, WITH_KEY
from tests.serve.running import Service, free_port
from tests.serve.test_start import listening

BIN = Path(sys.executable).parent
DECOYS = ("serve/service.py", "serve/__init__.py", "alexnet/__init__.py", "bentoml.py", "torch.py")
DECOYS += ("train.py", "bench.py", "export.py")


def script(name, *arguments):
    """What makes `Service` run an installed command; without arguments it takes the service's."""
    run = f'exec "$0" {" ".join(arguments)}' if arguments else 'shift 3; exec "$0" "$@"'
    return {"by": ("sh", "-c", run, str(BIN / name)), "command": ("serve.run",)}


def test_alexnet_serve_runs_no_code_of_the_folder_it_is_called_in(tmp_path, model_path):
    folder = tmp_path / "folder"
    for decoy in DECOYS:
        (folder / decoy).parent.mkdir(parents=True, exist_ok=True)
        told = f"import os; os.mkdir({str(tmp_path / 'told')!r})\n"
        (folder / decoy).write_text(told + "raise SystemExit('a decoy')\n")
    # BentoML takes a folder for what it is asked to serve, if one goes by that name.
    shutil.copytree(folder / "serve", folder / "serve.service:AlexNet")
    (folder / "serve.service:AlexNet" / "bentofile.yaml").write_text("service: service:AlexNet\n")
    # Files of one's own are found there all the same.
    shutil.copy(model_path, folder / "mine.safetensors")
    (folder / "keys").write_text(f"{KEY}\n")
    (folder / "keys").chmod(0o600)
    service = Service(
        tmp_path / "run",
        *("--host", "127.0.0.1"),
        **script("alexnet-serve"),
        cwd=folder,
        ALEXNET_MODEL="mine.safetensors",
        ALEXNET_KEYS="keys",
        ALEXNET_HOST="0.0.0.0",
        ALEXNET_PORT="1",
    )
    try:
        service.wait_until_ready()
        assert listening(service) == {"127.0.0.1"}  # the option, not the variable
        assert httpx.get(service.url + "/v1/model", timeout=60).status_code == 401
        shown = httpx.get(service.url + "/v1/model", headers=WITH_KEY, timeout=60).json()
    finally:
        assert service.stop() == 0
    assert not (tmp_path / "told").exists()
    assert (shown["name"], shown["settings"]["port"]) == ("mine", service.port)


@pytest.mark.parametrize("command", [("bentoml", "serve"), ("alexnet-serve", "--batch", "3")])
def test_it_listens_where_the_environment_says(tmp_path, model_path, command):
    port = free_port()
    service = Service(
        tmp_path / "run",
        **script(*command),
        ALEXNET_MODEL=model_path,
        ALEXNET_HOST="0.0.0.0",
        ALEXNET_PORT=port,
    )
    service.url = f"http://127.0.0.1:{port}"
    try:
        service.wait_until_ready()
        assert listening(service) == {"0.0.0.0"}
        shown = httpx.get(service.url + "/v1/model", timeout=60).json()["settings"]
    finally:
        assert service.stop() == 0
    assert (shown["host"], shown["port"]) == ("0.0.0.0", port)


def test_options_of_bentoml_serve_are_shown_too(service):
    shown = httpx.get(service.url + "/v1/model", timeout=60).json()["settings"]
    assert (shown["host"], shown["port"]) == ("127.0.0.1", service.port)


def arbiter(*_, **__):
    """Another way to make a supervisor than BentoML's own: with a class of another name."""
    return Supervisor()


class Supervisor:
    pass


@pytest.mark.parametrize(
    "moved",
    [
        SimpleNamespace(),
        SimpleNamespace(Arbiter=Supervisor),
        SimpleNamespace(Arbiter=Supervisor, create_standalone_arbiter=arbiter),
        None,
    ],
)
def test_a_bentoml_whose_supervisor_listens_who_knows_where_is_refused(monkeypatch, moved):
    def found(name):
        if moved is None:
            raise ModuleNotFoundError(name)
        return moved

    monkeypatch.setattr(importlib, "import_module", found)
    with pytest.raises(ControlError, match="may take orders of every user of this machine"):
        take_control(Settings())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # BentoML's own
def test_and_the_service_does_not_start_with_it(monkeypatch):
    from bentoml.exceptions import BentoMLException

    from serve.service import AlexNet

    def refuse(settings):
        raise ControlError("It is open.")

    monkeypatch.setattr("serve.service.take_control", refuse)
    with pytest.raises(BentoMLException, match="It is open"):
        AlexNet.inner.check_settings()
