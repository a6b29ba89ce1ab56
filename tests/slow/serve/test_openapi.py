"""schemathesis sends what the OpenAPI document promises, and what it does not."""

import os
import re
import subprocess
import sys

import pytest

from tests.photos import ROOT
from tests.serve.doors import KEY


def test_schemathesis_finds_nothing(guarded_service, tmp_path):
    pytest.importorskip("schemathesis", reason="schemathesis is in the extra dev")
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", guarded_service.url + "/openapi.json"),
        *("--checks", "all", "--header", f"Authorization: Bearer {KEY}"),
        *("--seed", "6", "--max-examples", "15", "--no-color", "--continue-on-failure"),
    ]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.serve.schemathesis_photos"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Tested: 9$", done.stdout, re.MULTILINE), done.stdout
