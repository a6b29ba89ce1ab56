"""Output files: whole or not there, and never in the place of a device, a pipe or a link."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from alexnet.errors import AlexNetError

_MAX_LINKS = 40  # as many as Linux follows
_DESCRIPTORS = ("/dev/fd", "/proc/self/fd", "/proc/thread-self/fd")


class OutputPathError(AlexNetError):
    """Nothing can be written at a path, or not what is to be written."""


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say which file an error of the disk is about, where the system does not: a full disk, say."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or os.fspath(path)
        raise


def final_path(path: str | os.PathLike[str]) -> Path:
    """The file that writing to `path` writes: links are followed, also one to a missing file.

    Raises:
        OSError: the links go round in a circle.
    """
    return _follow(path)[0]


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether `path` can be written to, but not replaced by a file: a device, a FIFO, a socket.

    So is a descriptor of this process (`/dev/stdout`, `/dev/fd/63`), whatever it is open on: a file
    in its place would not be what the shell's redirection writes. Links are followed.
    """
    if _follow(path)[1] is not None:
        return True
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def open_stream(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open what `is_stream` is true of, for bytes. A FIFO is waited for until somebody reads it.

    What was printed before goes out before.

    Raises:
        OutputPathError: it is a disk, which a result would destroy, or its reader is gone.
        OSError: it can't be opened or written, because it is full, say.
    """
    place, descriptor = _follow(path)
    if descriptor is None:
        _check_kind(place, path)
    for printed in (sys.stdout, sys.stderr):
        with suppress(ValueError):  # it is closed
            printed.flush()
    with naming(path):
        if descriptor is None:
            handle = os.open(path, os.O_WRONLY | getattr(os, "O_NOCTTY", 0))
        else:
            handle = os.dup(descriptor)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
        except BrokenPipeError as error:
            if descriptor is not None:
                raise  # the reader of stdout has had enough: not an error worth a sentence
            raise OutputPathError(f"The reader of {path} went away before the end.") from error


def check_output_file(path: str | os.PathLike[str]) -> None:
    """Find out before the work, rather than after it, that no file can be written at `path`.

    Nothing is opened or made.

    Raises:
        OutputPathError: there is a folder or a disk, the file is write-protected, or its folder
            can't be written or made. A device, a pipe or a descriptor is right.
    """
    with _sentences(path):
        place, descriptor = _follow(path)
        if descriptor is not None:
            os.fstat(descriptor)
            return
        _check_kind(place, path)
        if not is_stream(path):
            _check_folder(place.parent, path)


def check_output_folder(path: str | os.PathLike[str]) -> None:
    """Find out before the work, rather than after it, that `path` can't become or be a folder.

    Raises:
        OutputPathError: there is a file, a device or a pipe, or it can't be written or made.
    """
    with _sentences(path):
        if is_stream(path):
            raise OutputPathError(f"{path} is a device or a pipe, where a folder is to be written.")
        place = final_path(path)
        if place.exists() and not place.is_dir():
            raise OutputPathError(f"{path} is a file, where a folder is to be written.")
        if not place.exists():  # one that is there may be complete, and nothing be written
            _check_folder(place.parent, path)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path whose file takes the place of `path` once the block ends well.

    Whoever reads `path` sees the old file or the whole new one. When the block raises (a full disk,
    an interrupt), the temporary file and folders that were made are removed and `path` is as it
    was. A symbolic link stays, and what it points at is written. The new file has the mode and the
    owner of the old one, or those that `open` would give it.

    Where `path` is a device, a FIFO or a descriptor (`is_stream`), the whole of the temporary file
    is written to it when the block ends well.

    Raises:
        OutputPathError: there is a folder or a disk, or the old file is write-protected.
        OSError: the folder can't be made or written, or what is written to is full.
    """
    target, descriptor = _follow(path)
    if descriptor is None:
        _check_kind(target, path)
    if is_stream(path):
        with _spooled(path) as temporary:
            yield temporary
        return
    with naming(path), _folder(target.parent):
        temporary, mode = _temporary(target)
        try:
            yield temporary
            _put_in_place(temporary, target, mode=mode)
        except OSError as error:
            if error.filename == os.fspath(temporary):
                error.filename, error.filename2 = os.fspath(path), None
            raise
        finally:
            temporary.unlink(missing_ok=True)


def replace_file(temporary: Path, path: str | os.PathLike[str]) -> None:
    """Put a whole file of the same file system in the place of `path`, as `atomic_path` does.

    Raises:
        OSError: it can't be done, and `path` is as it was.
    """
    with naming(path):
        _put_in_place(temporary, final_path(path), mode=stat.S_IMODE(temporary.stat().st_mode))


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON with a final newline, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    # A file name's byte that is not UTF-8 is a surrogate, whose escape is JSON's own, too.
    write_text(path, text.encode("utf-8", "backslashreplace").decode("utf-8"))


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _follow(path: str | os.PathLike[str]) -> tuple[Path, int | None]:
    """The end of a chain of links, and the descriptor of this process that it names, if it does."""
    descriptors = {os.path.realpath(folder) for folder in _DESCRIPTORS}
    place = Path(path)
    for _ in range(_MAX_LINKS):
        place = Path(os.path.realpath(place.parent), place.name)
        # What /proc/self/fd/1 points at is not followed: it may be a pipe, which has no name, or a
        # file that the shell writes from where its last write ended.
        if os.fspath(place.parent) in descriptors and place.name.isdecimal():
            return place, int(place.name)
        if not place.is_symlink():
            return place, None
        place = place.parent / place.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path))


@contextmanager
def _sentences(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputPathError(f"{path}: {error.strerror}.") from error


def _check_kind(place: Path, path: str | os.PathLike[str]) -> None:
    if place.is_dir():
        raise OutputPathError(f"{path} is a folder: name a file.")
    if place.is_block_device():
        raise OutputPathError(f"{path} is a disk: name a file.")
    if place.exists() and not _allowed(place, os.W_OK):
        raise OutputPathError(f"{path} is write-protected.")


def _allowed(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _check_folder(folder: Path, path: str | os.PathLike[str]) -> None:
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise OutputPathError(f"{path}: {folder} is no folder.")
    if not _allowed(folder, os.W_OK | os.X_OK):
        raise OutputPathError(f"{path}: the folder {folder} can't be written.")


@contextmanager
def _spooled(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file that is copied to a stream once the block ends well."""
    handle, name = tempfile.mkstemp(suffix=".part")
    temporary = Path(name)
    try:
        os.close(handle)
        with naming(temporary):
            yield temporary
        with temporary.open("rb") as source, open_stream(path) as file:
            shutil.copyfileobj(source, file)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Make a folder, and those above it; when the block raises, remove again what was made."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for one in missing:
            with suppress(OSError):  # it was not made, or others have put something into it
                one.rmdir()
        raise


def _temporary(target: Path) -> tuple[Path, int]:
    """A new, empty file beside `target`, and the mode that `open` gives a file there.

    Not by `tempfile`: its files are their owner's alone. Asking for the umask would change that of
    other threads for a moment, and would not tell what an access list gives.
    """
    # A name may have 255 bytes, and `target` may have such a name.
    stem = os.fsdecode(os.fsencode(target.name)[:200])
    while True:
        temporary = target.with_name(f".{stem}.{os.urandom(6).hex()}.part")
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        except OSError as error:
            error.filename = os.fspath(target)
            raise
        try:
            mode = stat.S_IMODE(os.fstat(handle).st_mode)
        finally:
            os.close(handle)
        if mode | 0o600 != mode:  # whatever the umask: it is to be written and read back
            temporary.chmod(mode | 0o600)
        return temporary, mode


def _put_in_place(temporary: Path, target: Path, *, mode: int) -> None:
    handle = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(handle)  # the bytes are on the disk before the name is
    finally:
        os.close(handle)
    new = temporary.stat()
    with suppress(FileNotFoundError):
        old = target.stat()
        mode = old.st_mode & 0o777
        if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
            with suppress(OSError):  # only root gives files away
                os.chown(temporary, old.st_uid, old.st_gid)
    if stat.S_IMODE(new.st_mode) != mode:  # some disks have no modes to change
        temporary.chmod(mode)
    temporary.replace(target)
