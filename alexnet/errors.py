"""Errors that a person can mend, and the packages that are not always there."""

from __future__ import annotations

import importlib
from types import ModuleType


class AlexNetError(ValueError):
    """Something a person can mend; the message is a sentence with what is wrong and what to do.

    Every error meant for people derives from this class. The commands print the sentence and exit
    with 1; any other exception is a defect of ours and keeps its traceback.
    """


class MissingPackageError(AlexNetError):
    """An optional package is not installed; the sentence names the extra that brings it."""


def install_command(extra: str | None = None) -> str:
    """Return the command that installs an extra (None: the plain install).

    It is run in the root of the repository: the project is on no package index.
    """
    return "pip install -e ." if extra is None else f"pip install -e '.[{extra}]'"


def optional_import(module: str, *, extra: str | None = None) -> ModuleType:
    """Import `module`, or say which extra of this project installs it (None: the plain install).

    Raises:
        MissingPackageError: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.split(".")[0] != module.split(".")[0]:
            raise  # the package is there, but something of its own is broken
        raise MissingPackageError(
            f"This needs the package {module.split('.')[0]}, which is not installed: "
            f"run `{install_command(extra)}` in the root of alexnet's repository."
        ) from error
