"""Processes of this project's own programs: none runs what lies in the folder it is started in.

Python looks for modules in the current folder first (`python -m`, `python -c`, which starts the
workers of multiprocessing): there a person's own train.py or serve.py would be run in the place of
ours, and a random.py in that of Python's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SAFE_PATH = "PYTHONSAFEPATH"  # keeps Python, and all that it starts, from looking there
_given = os.environ.get(_SAFE_PATH)
ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds the packages of this project."""
_INSTALLED = ("site-packages", "dist-packages")


@contextmanager
def protected_children() -> Iterator[None]:
    """Let every Python that this process starts meanwhile ignore the current folder.

    Each command of ours runs inside: multiprocessing starts its workers by `python -c`.
    """
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = before


def python_module(module: str, *arguments: str | os.PathLike[str]) -> list[str]:
    """The command that runs a module of ours, to be started with `environment()`."""
    return [sys.executable, "-P", "-m", module, *(os.fspath(word) for word in arguments)]


def environment() -> dict[str, str]:
    """This process's environment for one that runs our modules, which it finds in any folder."""
    # An empty entry is the current folder, too.
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if ROOT.name not in _INSTALLED:  # where a clone is not installed, only its path leads to it
        paths.insert(0, os.fspath(ROOT))
    return _changed(PYTHONPATH=os.pathsep.join(paths) or None, **{_SAFE_PATH: "1"})


def foreign_environment() -> dict[str, str]:
    """The environment that this process was given, for a program that is not ours."""
    return _changed(**{_SAFE_PATH: _given})


def _changed(**changes: str | None) -> dict[str, str]:
    found = {**os.environ, **changes}
    return {name: value for name, value in found.items() if value is not None}
