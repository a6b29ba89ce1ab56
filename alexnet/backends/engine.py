"""An engine that TensorRT built, and FILE.engine.json beside it, which says what it is.

An engine names neither its network nor the versions it needs in a way that others can read. The
JSON holds them, the metadata of the graph it was built from, and the engine's SHA-256: two files
that do not belong together are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from alexnet.backends.base import ArtifactInfo, BackendError
from alexnet.backends.metadata import info_from_metadata
from alexnet.files import OutputPathError, atomic_path, is_stream, sha256_of
from alexnet.json_text import to_json
from alexnet.settings import from_dict, to_dict

Flavour = Literal["tensorrt", "rtx"]
"""TensorRT, which builds for the GPU at hand, or TensorRT for RTX, which needs none to build."""

Hardware = Literal["this", "same", "ampere"]
"""GPUs that an engine runs on: the model it was built on, those of the same compute capability, or
every one from Ampere on."""

_FORMAT, _VERSION = "alexnet-engine", 1
# Texts of a graph's metadata that are JSON: in ours they are its values.
_JSON = ("config", "labels", "provenance", "features", "accuracy")


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """What an engine was built with and for."""

    flavour: Flavour
    tensorrt: str
    """Version of the library that built it."""
    batch: tuple[int, int, int]
    """Fewest photos of a call, those it is fastest with, and most."""
    lrn: Literal["plugin", "native"]
    targets: tuple[str, ...]
    """Compute capabilities (`8.6`); empty: whatever the library builds for without being told."""
    version_compatible: bool
    """Whether later versions of the library run it, too."""
    hardware: Hardware
    source: str
    """Name of the file it was built from."""
    source_sha256: str
    engine_sha256: str


def sidecar(engine: Path) -> Path:
    """FILE.engine.json of FILE.engine."""
    return engine.with_name(f"{engine.name}.json")


def write_engine(
    path: Path,
    plan: bytes | memoryview,
    *,
    facts: EngineFacts,
    metadata: Mapping[str, str],
    versions: Mapping[str, str],
) -> None:
    """Write an engine and its JSON: both whole, or neither of them changed.

    Args:
        path: of the engine.
        plan: its bytes.
        facts: of it.
        metadata: of the graph that it was built from.
        versions: of the packages that took part.
    """
    if is_stream(path):
        raise OutputPathError(f"{path} is a device or a pipe, and an engine is two files.")
    graph = {key: json.loads(text) if key in _JSON else text for key, text in metadata.items()}
    value = {
        "format": _FORMAT,
        "version": _VERSION,
        "engine": to_dict(facts),
        "versions": dict(versions),
        "graph": graph,
    }
    text = to_json(value, indent=2) + "\n"
    beside = sidecar(path)
    before = beside.read_bytes() if beside.is_file() else None
    try:
        with atomic_path(path) as engine_file, atomic_path(beside) as json_file:
            engine_file.write_bytes(plan)
            json_file.write_text(text, encoding="utf-8")
    except BaseException:  # the JSON may be in place already, beside an older engine or none
        with suppress(OSError):
            if before is None:
                beside.unlink()
            elif beside.read_bytes() != before:
                with atomic_path(beside) as json_file:
                    json_file.write_bytes(before)
        raise


def read_engine(path: Path) -> tuple[ArtifactInfo, EngineFacts]:
    """What FILE.engine.json says, once it is certain that it speaks of this engine.

    Raises:
        BackendError: a file of the two is missing, foreign, damaged or of a newer version, or they
            do not belong together.
    """
    beside = sidecar(path)
    if not path.is_file():
        raise BackendError(f"There is no model {path}.")
    if not beside.is_file():
        raise BackendError(
            f"{path} lacks {beside.name}, which says what it is: copy it from where the engine was "
            "built, or build both again with alexnet-export tensorrt."
        )
    value = _read(beside)
    try:
        facts = from_dict(EngineFacts, value["engine"])
        graph = {
            key: text if isinstance(text, str) else to_json(text)
            for key, text in value["graph"].items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BackendError(f"{beside} is damaged: {error}") from error
    sha256 = sha256_of(path)
    if sha256 != facts.engine_sha256:
        raise BackendError(
            f"{path} is not the engine that {beside.name} was written for: copy the two together, "
            "or build them again with alexnet-export tensorrt."
        )
    return info_from_metadata(graph, path, sha256=sha256), facts


def _read(beside: Path) -> dict[str, Any]:
    try:
        value = json.loads(beside.read_text("utf-8"))
    except ValueError as error:
        raise BackendError(f"{beside} is not whole JSON: {error}.") from error
    if not isinstance(value, dict) or value.get("format") != _FORMAT:
        raise BackendError(f"{beside} is not what alexnet-export writes beside an engine.")
    version = value.get("version")
    if not isinstance(version, int) or version > _VERSION:
        raise BackendError(
            f"{beside} is of engine version {version}, and this alexnet reads up to {_VERSION}: "
            "install a newer alexnet."
        )
    return value
