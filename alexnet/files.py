"""Files that are either whole or not there."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alexnet.json_text import to_json


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say which file an error of the disk is about, where the system does not: a full disk, say."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or os.fspath(path)
        raise


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place once the block ends well.

    Whoever reads `path` sees the old file or the whole new one. When the block raises (a full disk,
    an interrupt), the temporary file is removed and `path` is as it was.

    Raises:
        OSError: the folder can't be made or written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    temporary = Path(name)
    try:
        os.close(handle)
        umask = os.umask(0)
        os.umask(umask)
        with naming(target):
            yield temporary
        # mkstemp, and libraries that write files of their own, make files that only their owner
        # reads: results are for whoever may read the folder.
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # the bytes are on the disk before the name is
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON with a final newline, atomically; see `to_json`."""
    write_text(path, to_json(value, indent=2) + "\n")


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
