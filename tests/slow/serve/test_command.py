"""Both commands that start the service: whose code they run, and where it listens then."""

import shutil
import sys
from pathlib import Path

import httpx
import pytest

from tests.serve.doors import KEY, WITH_KEY
from tests.serve.running import Service, free_port
from tests.slow.serve.test_start import listening

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
