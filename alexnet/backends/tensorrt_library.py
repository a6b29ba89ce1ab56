"""TensorRT and TensorRT for RTX: two packages with one interface, and what they have to say."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from alexnet.backends.base import BackendError
from alexnet.backends.engine import Flavour
from alexnet.errors import MissingPackageError, optional_import

NAMES: dict[Flavour, str] = {"tensorrt": "TensorRT", "rtx": "TensorRT for RTX"}
_MODULES: dict[Flavour, tuple[str, str]] = {
    "tensorrt": ("tensorrt", "tensorrt"),
    "rtx": ("tensorrt_rtx", "tensorrt-rtx"),
}
_LONGEST = 300  # of a reason, in characters: what the library adds after that is where it was found


def load_library(flavour: Flavour) -> ModuleType:
    """The package of a flavour.

    Raises:
        MissingPackageError: it is not installed.
        BackendError: it is, and can't be loaded.
    """
    module, extra = _MODULES[flavour]
    try:
        return optional_import(module, extra=extra)
    except MissingPackageError:
        raise
    except (ImportError, OSError, RuntimeError) as error:
        raise BackendError(
            f"The package {module} is installed and can't be loaded: {one_line(str(error))}"
        ) from error


def logger_of(library: ModuleType) -> Any:
    """A logger that prints nothing and keeps the errors, in `errors`."""

    class Logger(library.ILogger):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity <= library.ILogger.ERROR:
                self.errors.append(msg)

    return Logger()


def reason(logger: Any) -> str:
    """The first error that the library told, in one line: later ones follow from it."""
    return one_line(logger.errors[0]) if logger.errors else "it does not say why"


def one_line(text: str) -> str:
    """`text` without line breaks, cut where it grows long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST].rstrip()} ..."
