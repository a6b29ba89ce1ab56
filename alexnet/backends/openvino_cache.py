"""What OpenVINO compiled, kept in the user's cache folder so that the next start is quicker.

OpenVINO can keep such files itself (CACHE_DIR), with two flaws here: turned bits among the weights
give other answers without an error (tried), and a graph whose batch size was set is read and hashed
all the same. So a file of ours is what OpenVINO exports, with a checksum at its end.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import logging
import os
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet.files import atomic_path
from alexnet.machine import keep_signal_stack

VARIABLE = "ALEXNET_CACHE"
"""Environment variable: a folder in place of the user's cache folder, or `off`."""
_KEPT = 8  # compiled models; those that were not used for longest go
_SUM = 4  # bytes of the checksum


def cache_folder() -> Path | None:
    """Where compiled models are kept; None where they are not to be, or the user has no folder."""
    wanted = os.environ.get(VARIABLE, "").strip()
    if wanted == "off":
        return None
    try:
        return (Path(wanted) if wanted else _platform_folder() / "alexnet") / "openvino"
    except RuntimeError:  # no HOME, and a user id that no user has, as containers are run with
        _say_no_home()
        return None


@functools.cache
def _say_no_home() -> None:
    logging.getLogger(__name__).warning(
        "Compiled models are not kept: this user has no home folder; %s names a folder, or `off`.",
        VARIABLE,
    )


class Compiled(NamedTuple):
    """A compiled model, and the file in memory that its weights may lie in."""

    model: Any
    memory: NDArray[np.uint8] | None = None

    @property
    def was_kept(self) -> bool:
        """Whether it comes from the cache."""
        return self.memory is not None


@keep_signal_stack()
def compile_cached(
    openvino: ModuleType, path: Path, config: dict[str, Any], *, batch: int
) -> Compiled:
    """The graph for so many photos a call, compiled for the CPU, from the cache where it is there.

    A cache that can't be read or written changes nothing but the time it takes.

    Raises:
        RuntimeError: OpenVINO can't run the file.
    """
    core, folder = openvino.Core(), cache_folder()
    if folder is None:
        return Compiled(_compile(core, path, config, batch))
    file = folder / f"{_key(openvino, core, path, config, batch)}.blob"
    try:
        if _is_whole(file):
            with suppress(OSError):  # a cache that others wrote may be read all the same
                os.utime(file)
            # Copied where it is written to: OpenVINO takes no memory that it may not write.
            memory = np.memmap(file, dtype=np.uint8, mode="c")[:-_SUM]
            tensor = openvino.Tensor(memory, shared_memory=True)
            return Compiled(core.import_model(tensor, "CPU", config), memory)
    except (OSError, RuntimeError):
        pass  # compiled again, as if it were not there
    model = _compile(core, path, config, batch)
    with suppress(OSError, RuntimeError):
        _keep(model, file)
    return Compiled(model)


def _compile(core: Any, path: Path, config: dict[str, Any], batch: int) -> Any:
    graph = core.read_model(path)
    _check_lrn(graph)
    # The sides of dense answers' photos stay open.
    sides = (side.get_length() if side.is_static else -1 for side in graph.input().partial_shape)
    graph.reshape({"photos": [batch, *list(sides)[1:]]})
    return core.compile_model(graph, "CPU", config)


def _check_lrn(graph: Any) -> None:
    """Refuse what OpenVINO 2026.4 computes wrongly: on CPUs its LRN drops the fraction of k."""
    found = [n.get_attributes()["bias"] for n in graph.get_ops() if n.get_type_name() == "LRN"]
    for k in found:
        if not float(k).is_integer():
            raise RuntimeError(f"it drops the fraction of LRN's k = {k:g}: export with --lrn fast")


def _keep(model: Any, file: Path) -> None:
    exported = io.BytesIO()
    model.export_model(exported)
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        blob = exported.getbuffer()
        stream.write(blob)
        stream.write(zlib.crc32(blob).to_bytes(_SUM, "big"))
    kept = sorted(file.parent.glob("*.blob"), key=lambda one: one.stat().st_mtime)
    for old in kept[:-_KEPT]:
        old.unlink()


def _is_whole(file: Path) -> bool:
    """By a checksum that takes a sixth of SHA-256's time; nobody forges files in his own cache."""
    if not file.is_file():
        return False
    left, total = file.stat().st_size - _SUM, 0
    with file.open("rb") as stream:
        while left > 0 and (block := stream.read(min(left, 1 << 20))):
            total, left = zlib.crc32(block, total), left - len(block)
        return stream.read() == total.to_bytes(_SUM, "big")


def _key(openvino: ModuleType, core: Any, path: Path, config: dict[str, Any], batch: int) -> str:
    """A name that changes with the model file, OpenVINO, the processor and the settings."""
    facts = path.stat()
    processor = core.get_property("CPU", "FULL_DEVICE_NAME")
    abilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    parts = (
        str(path.resolve()),
        facts.st_size,
        facts.st_mtime_ns,
        openvino.get_version(),
        processor,
        sorted(abilities),
        config,
        batch,
    )
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:24]


def _platform_folder() -> Path:
    """The folder for caches of the user's system."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
