"""A run's figures for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alexnet.errors import optional_import


class Board:
    """Writes event files into a run's folder `tensorboard`.

    Args:
        folder: the run's.
        step: steps that are done; what an earlier start wrote of later ones is hidden.

    Raises:
        MissingPackageError: tensorboard is not installed.
    """

    @staticmethod
    def check() -> None:
        """Look whether there can be one.

        Raises:
            MissingPackageError: tensorboard is not installed.
        """
        optional_import("tensorboard", extra="tensorboard")

    def __init__(self, folder: Path, *, step: int):
        self.check()
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def add(self, figures: Mapping[str, Any], *, step: int) -> None:
        """The numbers among `figures`, at a step of the run."""
        for name, value in figures.items():
            if isinstance(value, int | float) and name not in ("epoch", "step"):
                group = "validation" if name.startswith("val_") else "training"
                self._writer.add_scalar(f"{group}/{name}", value, step)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
