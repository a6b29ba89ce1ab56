"""The folder of a run: made, found again, and held against other processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from serve.formats import OutputError
from serve.parts import Run, is_ours
from serve.target import Target


@contextmanager
def open_run(target: Target, *, resume: bool) -> Iterator[Run]:
    """The run that writes `target`: a new one, or with `resume` an unfinished one, if there is any.

    A run that ends by an error and has no whole part leaves nothing behind.

    Raises:
        OutputError: there is an unfinished run and `resume` is false, another process is at it, or
            the folder holds something else.
    """
    run = Run(target)
    if run.folder.exists() and not run.folder.is_dir():
        raise OutputError(f"{run.folder} is in the way: remove it, or name another output.")
    _check_target(target)
    with _made(run.folder) as made, _alone(run.folder):
        _check_folder(run)
        run.load()
        if run.is_finished and not resume:
            raise OutputError(f"{run.folder} holds a finished run: name another folder.")
        if run.progress.parts and not resume:
            raise OutputError(
                f"{run.folder} holds an unfinished run with {run.progress.photos:,} photos: "
                "continue it with --resume, or remove the folder to begin anew."
            )
        if not resume:
            run.state = {}
        begun_before = run.is_begun
        try:
            yield run
        except BaseException:
            if not run.progress.parts and not begun_before:
                run.remove(folder=made)
            raise


@contextmanager
def _made(folder: Path) -> Iterator[bool]:
    """Make a folder, and those above it; after an error, remove those that are empty again.

    Yields whether it was made.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield bool(missing)
    except BaseException:
        for one in missing:
            with suppress(OSError):  # a run that can be resumed, or something else, is in it
                one.rmdir()
        raise


def _check_target(target: Target) -> None:
    path = target.path
    if target.keeps_parts or not path.exists():
        return
    if target.format == "fiftyone":
        if not path.is_dir() or any(path.iterdir()):
            raise OutputError(f"{path} is there already: name a new folder.")
    elif not path.is_file():
        kind = "a folder" if path.is_dir() else "no ordinary file"
        raise OutputError(f"{path} is {kind}: name a file, or write to '-'.")


def _check_folder(run: Run) -> None:
    # Many programs call their files part-00000: without a run.json they are not ours.
    begun = run.is_on_disk or not run.target.keeps_parts
    others = [
        path.name
        for path in run.folder.iterdir()
        if not is_ours(path.name) or (path.name.startswith("part-") and not begun)
    ]
    if others:
        raise OutputError(
            f"{run.folder} is a folder with other files in it ({others[0]}): "
            "name a file, or a new folder."
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder against other processes; not where the system or the disk can't."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"Another process is writing to {folder}: let it finish.") from error
        except OSError:
            pass  # some network disks have no locks
        if not _is_at(handle, folder):  # who held it was done, and has removed it
            raise OutputError(f"Another process has just finished with {folder}: try again.")
        yield
    finally:
        os.close(handle)


def _is_at(handle: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except FileNotFoundError:
        return False
