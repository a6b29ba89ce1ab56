"""Where BentoML keeps its files: in ~/bentoml, or where nothing can be written there, elsewhere."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

VARIABLE = "BENTOML_HOME"


def choose_home() -> None:
    """Name a new temporary folder to BentoML if it could not make its own; one named is kept.

    A system user has no home, and a container's may be read-only; BentoML ends with a traceback
    there, though a running service keeps next to nothing in it.
    """
    if os.environ.get(VARIABLE):
        return
    try:
        folder = Path.home() / "bentoml"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return
    except (OSError, RuntimeError):  # the second: nobody knows what this user's home is
        pass
    os.environ[VARIABLE] = tempfile.mkdtemp(prefix="alexnet-bentoml-")
