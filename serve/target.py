"""Where the rows go: a file or a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from serve.formats import Format


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where the rows go."""

    path: Path
    """A file; or the folder that keeps the parts, or that FiftyOne reads."""
    format: Format
    keeps_parts: bool
    """Whether the parts themselves are the result."""

    @property
    def folder(self) -> Path:
        """Where the parts are written."""
        if self.keeps_parts:
            return self.path
        return self.path.with_name(f"{self.path.name}.parts")
