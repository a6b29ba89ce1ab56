"""Both commands that start the service: whose code they run, and where it listens then."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from serve.control import ControlError, take_control
from serve.settings import Settings

BIN = Path(sys.executable).parent
DECOYS = ("serve/service.py", "serve/__init__.py", "alexnet/__init__.py", "bentoml.py", "torch.py")
DECOYS += ("train.py", "bench.py", "export.py")


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
