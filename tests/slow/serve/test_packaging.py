"""A service that owns nothing: no home, no folder, no rights."""

import os
import shutil

import httpx
import psutil
import pytest
from click.testing import CliRunner

from export.cli import main
from tests.photos import encode, pattern
from tests.serve.running import Service

NOBODY = 65534
UNKNOWN = 54_321  # a user whom the machine has no entry of


def powerless(user):
    """What is put before a command to run it as a user who may read all and write nothing."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return []
    kept = "-all,+dac_read_search"  # the interpreter may lie in a home that only root opens
    return [
        *("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"),
        *("--no-new-privs", f"--inh-caps={kept}", f"--ambient-caps={kept}"),
        f"--bounding-set={kept}",
    ]


@pytest.fixture
def places(tmp_path):
    """A folder that only root may write, and one for temporary files that anybody may."""
    folder, temporary = tmp_path / "folder", tmp_path / "tmp"
    folder.mkdir(mode=0o555)
    temporary.mkdir()
    temporary.chmod(0o1777)
    for parent in tmp_path.parents[:2]:  # pytest's own, closed to others
        parent.chmod(0o755)
    return folder, temporary


def works(service, user):
    """It answers as this user, ends well and has complained of nothing."""
    try:
        service.wait_until_ready()
        assert service.classify(encode(pattern())).status_code == 200
        assert httpx.get(service.url + "/metrics").status_code == 200
        if powerless(user):
            assert {process.uids().real for process in service.children()} == {user}
            assert psutil.Process(service.process.pid).uids().effective == user
    finally:
        assert service.stop() == 0
    assert "Traceback" not in service.log
    return service.log


def test_it_runs_as_nobody_without_a_home_in_a_folder_that_it_can_not_write(tmp_path, places):
    folder, temporary = places
    service = Service(
        tmp_path / "service",
        command=("serve.run",),
        by=powerless(NOBODY),
        cwd=folder,
        HOME="/nonexistent",
        BENTOML_HOME="",
        TMPDIR=temporary,
        PYTHONDONTWRITEBYTECODE="1",
    )
    works(service, NOBODY)
    assert list(folder.iterdir()) == []


def test_it_runs_as_a_user_without_an_entry_and_without_any_variable(
    tmp_path, model_path, places, monkeypatch
):
    pytest.importorskip("openvino", reason="OpenVINO is in the extra openvino")
    folder, temporary = places
    model = tmp_path / "model.onnx"
    exported = CliRunner().invoke(main, ["onnx", str(model_path), "-o", str(model)])
    assert exported.exit_code == 0, exported.output
    service = Service(
        tmp_path / "service",
        *("--model", str(model), "--backend", "openvino"),
        command=("serve.run",),
        by=(*powerless(UNKNOWN), "env", "-i", f"TMPDIR={temporary}"),
        cwd=folder,
    )
    log = works(service, UNKNOWN)
    assert list(folder.iterdir()) == []
    assert [line for line in log.splitlines() if "cache" in line.lower()]  # nothing is kept
