"""Our programs run our code, whatever lies in the folder they are called in.

What starts services, clusters and trainings is in tests/slow/test_any_folder.py.
"""

import os
import subprocess

import pytest

from alexnet.child_process import (
    ROOT,
    environment,
    foreign_environment,
    protected_children,
    python_module,
)
from tests.decoys import decoy_folder, run_in


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return decoy_folder(tmp_path_factory.mktemp("any") / "folder")


@pytest.mark.parametrize("room", ["train", "export", "label", "serve", "bench"])
def test_every_program_starts_beside_files_of_its_packages_names(folder, room):
    assert run_in(folder, f"alexnet-{room}", "--help").stdout.startswith(f"Usage: alexnet-{room}")


@pytest.mark.parametrize("path", ["", os.pathsep, f"{os.pathsep}relative"])
def test_a_module_of_ours_is_found_where_the_path_names_the_current_folder(
    folder, path, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", path)  # an empty entry is the current folder
    done = subprocess.run(
        python_module("export", "--help"),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Write trained networks as graphs" in done.stdout


def test_the_path_of_a_person_stays_behind_ours(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"/mine{os.pathsep}/other")
    assert environment()["PYTHONPATH"].split(os.pathsep) == [str(ROOT), "/mine", "/other"]


def test_a_program_that_is_not_ours_gets_the_environment_that_we_were_given():
    # It may well be a module of the current folder: `--start 'python -m app'`.
    before = dict(os.environ)
    with protected_children():
        assert os.environ["PYTHONSAFEPATH"] == "1"
        assert foreign_environment() == before
    assert dict(os.environ) == before
