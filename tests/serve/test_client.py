"""The README's client talks to a running service."""

import shutil
import subprocess
import sys

import pytest

from tests.test_readme import block, environment


def test_the_python_client_of_the_readme_runs_as_printed(service, tmp_path):
    datasets = pytest.importorskip("sklearn.datasets", reason="its photographs are the user's")
    for name in datasets.load_sample_images().filenames:
        shutil.copy(name, tmp_path)
    program = block("python", "client").replace("http://127.0.0.1:3000", service.url)
    done = subprocess.run(
        [sys.executable, "-c", program, "china.jpg", "flower.jpg"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    china, flower = done.stdout.splitlines()
    assert china.startswith("china.jpg [('")
    assert flower.startswith("flower.jpg [('")
