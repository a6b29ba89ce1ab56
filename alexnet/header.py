"""The header of our files: what kind they are, and the config, classes and origin they carry.

A text map, which a checkpoint and an exported graph keep each in its own format's way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet.config import Config
from alexnet.errors import AlexNetError
from alexnet.json_text import to_json
from alexnet.labels import Label, labels_from_json, labels_to_json
from alexnet.settings import from_dict, to_dict


@dataclass(frozen=True, kw_only=True)
class Header:
    """What every model file says of itself."""

    config: Config
    labels: tuple[Label, ...]
    provenance: Mapping[str, Any]
    """Where the weights came from, as JSON values."""


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """A kind of file with a header."""

    name: str
    """For people: `checkpoint`."""
    version: int
    """Of the format; files of higher ones are refused."""
    foreign: str
    """What a file without our header is; the sentence begins with its path."""
    error: type[AlexNetError]

    def metadata(self, header: Header) -> dict[str, str]:
        """The map that `read` takes."""
        return {
            "format": f"alexnet-{self.name}",
            "version": str(self.version),
            "config": to_json(to_dict(header.config)),
            "labels": labels_to_json(header.labels),
            "provenance": to_json(dict(header.provenance)),
        }

    def read(self, metadata: Mapping[str, str], path: Path) -> Header:
        """The header of the file `path`.

        Raises:
            AlexNetError: of the kind's class: the map is of another program, of a newer version, or
                damaged.
        """
        if metadata.get("format") != f"alexnet-{self.name}":
            raise self.error(f"{path} {self.foreign}")
        version = metadata.get("version", "")
        if not version.isdecimal() or int(version) > self.version:
            raise self.error(
                f"{path} is of {self.name} version {version}, and this alexnet reads up to "
                f"{self.version}: install a newer alexnet."
            )
        with self.reading(path):
            header = Header(
                config=from_dict(Config, json.loads(metadata["config"])),
                labels=labels_from_json(metadata["labels"]),
                provenance=json.loads(metadata["provenance"]),
            )
            if not isinstance(header.provenance, dict):
                raise ValueError("its provenance is not a JSON object.")
        classes = header.config.network.classes
        if len(header.labels) != classes:
            raise self.error(f"{path} names {len(header.labels)} classes for {classes} outputs.")
        return header

    @contextmanager
    def reading(self, path: Path) -> Iterator[None]:
        """Make a sentence of what is missing in the metadata of `path`, or can't be read."""
        try:
            yield
        except KeyError as error:
            raise self.error(f"{path} has damaged metadata: {error} is missing.") from error
        except ValueError as error:
            raise self.error(f"{path} has damaged metadata: {error}") from error
