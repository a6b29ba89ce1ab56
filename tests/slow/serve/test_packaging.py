"""A service that owns nothing: no home, no folder, no rights."""

import os
import shutil

import httpx
import psutil

from tests.photos import encode, pattern
from tests.serve.running import Service

NOBODY = 65534


def powerless():
    """What is put before a command to run it as nobody, who may read all and write nothing."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return []
    kept = "-all,+dac_read_search"  # the interpreter may lie in a home that only root opens
    return [
        *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
        *("--no-new-privs", f"--inh-caps={kept}", f"--ambient-caps={kept}"),
        f"--bounding-set={kept}",
    ]


def test_it_runs_as_nobody_without_a_home_in_a_folder_that_it_can_not_write(tmp_path):
    folder, temporary = tmp_path / "folder", tmp_path / "tmp"
    folder.mkdir(mode=0o555)
    temporary.mkdir()
    if powerless():
        os.chown(temporary, NOBODY, NOBODY)
    service = Service(
        tmp_path / "service",
        command=("serve.run",),
        by=powerless(),
        cwd=folder,
        HOME="/nonexistent",
        BENTOML_HOME="",
        TMPDIR=temporary,
        PYTHONDONTWRITEBYTECODE="1",
    )
    try:
        service.wait_until_ready()
        assert service.classify(encode(pattern())).status_code == 200
        assert httpx.get(service.url + "/metrics").status_code == 200
        if powerless():
            assert {process.uids().real for process in service.children()} == {NOBODY}
            assert psutil.Process(service.process.pid).uids().effective == NOBODY
    finally:
        assert service.stop() == 0
    assert list(folder.iterdir()) == []
    assert "Traceback" not in service.log
