"""Processes that decode photos for a training process, and what ends when one of them does.

Photos come back in files that have no name but memory (memfd), which Linux gives out without
/dev/shm: Docker makes that 64 MB small by default. Where there is no such call they come through
the pipe, at the price of two copies.
"""

from __future__ import annotations

import mmap
import multiprocessing
import multiprocessing.util
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import recv_handle, send_handle
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import AlexNetError
from train.dataset import Split

AHEAD = 2
"""Batches that a process has been asked for and not delivered."""

Rows = NDArray[np.int64]
Photos = NDArray[np.uint8]

_POLL = 0.5
PATIENCE = 10.0
"""Seconds for which photos may still come once the training is to stop."""


class LoaderError(AlexNetError):
    """Photos that no longer come."""


class StoppedWaiting(Exception):  # noqa: N818
    """The training is to stop, and no photos come: a disk hangs, or a process was stopped."""


class PhotoWorkers:
    """Processes that decode batches of a split's photos, each in turn, in the order asked for.

    Args:
        split: the photos.
        count: processes.
        threads: threads that decode in each.
        stop_asked: whether the training is to stop; then a batch is waited for 10 seconds at most.
        memory_files: whether photos come in memory that is shared; None: where the system can.
    """

    def __init__(
        self,
        split: Split,
        *,
        count: int,
        threads: int,
        stop_asked: Callable[[], bool] = lambda: False,
        memory_files: bool | None = None,
    ):
        self._stop_asked = stop_asked
        context = multiprocessing.get_context("spawn")  # a fork would copy other threads' locks
        shared = has_memory_files() if memory_files is None else memory_files
        self._workers: list[tuple[BaseProcess, Connection]] = []
        # Also before this process waits for its children at its end.
        multiprocessing.util.Finalize(self, _end, args=(self._workers,), exitpriority=0)
        for _ in range(count):
            ours, theirs = multiprocessing.Pipe()
            work = (split, max(1, threads), theirs, shared)
            process = context.Process(target=_decode, args=work, daemon=True)
            with _signals_held():
                process.start()
            theirs.close()
            self._workers.append((process, ours))
        self._next = 0
        self._asked: deque[int] = deque()
        """Which process was asked for each batch that has not come."""

    def batches(self, rows: Sequence[Rows]) -> Iterator[Photos]:
        """The photos (N, S, S, 3) of each of `rows`; what an earlier call has left is dropped.

        Raises:
            AlexNetError, OSError: as decoding raised it in the process.
                Or there are too many open files, or there is no memory, for taking them over.
        LoaderError: a process has ended.
            StoppedWaiting: the training is to stop, and nothing comes.
        """
        self.rest()
        waiting = deque(rows)
        for _ in range(AHEAD * len(self._workers)):
            self._ask(waiting)
        for _ in rows:
            photos = self._receive()
            self._ask(waiting)
            if isinstance(photos, Exception):
                raise photos
            yield photos

    def ready(self) -> bool:
        """Whether the next batch is here."""
        return bool(self._asked) and self._workers[self._asked[0]][1].poll()

    def rest(self) -> None:
        """Wait until all that was asked for has come, and drop it."""
        while self._asked:
            self._receive()

    def _ask(self, waiting: deque[Rows]) -> None:
        if not waiting:
            return
        process, connection = self._workers[self._next]
        try:
            connection.send(waiting.popleft())
        except OSError as error:
            raise _lost(process) from error
        self._asked.append(self._next)
        self._next = (self._next + 1) % len(self._workers)

    def _receive(self) -> Photos | Exception:
        process, connection = self._workers[self._asked[0]]
        asked = None
        while not wait([connection, process.sentinel], _POLL):
            if not self._stop_asked():
                continue
            asked = asked or time.monotonic()
            if time.monotonic() - asked >= PATIENCE:
                raise StoppedWaiting
        try:
            answer = _take(connection)
        except (EOFError, OSError) as error:
            if not _is_end(error):
                raise
            raise _lost(process) from error
        self._asked.popleft()
        return answer


def has_memory_files() -> bool:
    """Whether the system gives out files that are only memory, also to this process."""
    try:
        os.close(os.memfd_create("photos"))
    except (AttributeError, OSError):
        return False
    return True


@contextmanager
def _signals_held() -> Iterator[None]:
    """Start processes that leave SIGINT and SIGTERM to this one from their first moment on."""
    resource_tracker.ensure_running()  # else its own start lets them through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _take(connection: Connection) -> Photos | Exception:
    """What a process has sent."""
    answer = connection.recv()
    if isinstance(answer, Exception):
        return answer
    shape, shared = answer
    size = int(np.prod(shape))
    if not shared:
        return np.frombuffer(bytearray(connection.recv_bytes()), np.uint8).reshape(shape)
    file = recv_handle(connection)
    try:
        return np.frombuffer(mmap.mmap(file, size), np.uint8).reshape(shape)
    finally:
        os.close(file)


def _is_end(error: EOFError | OSError) -> bool:
    """Whether a process is gone; other errors are this one's own, too many open files say."""
    if isinstance(error, EOFError | ConnectionError):
        return True
    return error.errno is None  # amid a message, it has no number


def _lost(process: BaseProcess) -> LoaderError:
    """What is said of a process that has ended."""
    process.join(_POLL)
    code = process.exitcode
    if code is None or code == -signal.SIGKILL:
        end = "was ended" if code is None else "was ended by SIGKILL"
        how = f"{end} from outside, often because memory ran out"
    elif code < 0:  # most often by a defect in native code
        names = {number.value: number.name for number in signal.Signals}
        how = f"was ended by {names.get(-code, f'signal {-code}')}"
    else:
        how = f"ended with exit code {code}, by what is shown above"
    return LoaderError(
        f"A process that decodes photos {how}: go on with --resume and fewer --workers, or with "
        "--workers 0."
    )


def _end(workers: list[tuple[BaseProcess, Connection]]) -> None:
    """End the processes: they hold nothing that must be written."""
    for process, connection in workers:
        connection.close()
        process.kill()
    for process, _ in workers:
        process.join(PATIENCE)


# In a process


def _decode(split: Split, threads: int, connection: Connection, shared: bool) -> None:
    """Decode the photos of all rows that come, and send them."""
    split.dataset.threads = threads
    asked: SimpleQueue[Rows] = SimpleQueue()
    threading.Thread(target=_hear, args=(connection, asked), daemon=True).start()
    try:
        while True:
            _answer(split, asked.get(), connection, shared)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)  # Python's own way to end stops threads amid C++, which aborts the process


def _hear(connection: Connection, asked: SimpleQueue[Rows]) -> None:
    """Take in rows until the training process has closed its end, or was killed."""
    with suppress(EOFError, OSError):
        while True:
            asked.put(connection.recv())
    os._exit(0)


def _answer(split: Split, rows: Rows, connection: Connection, shared: bool) -> None:
    """Send the photos, or what is wrong with them: a sentence is the training process's to say."""
    try:
        photos = split.photos(rows)
        if not (shared and photos.size):
            connection.send((photos.shape, False))
            connection.send_bytes(photos.data.cast("B") if photos.size else b"")
            return
        file = os.memfd_create("photos")
    except MemoryError:
        connection.send(LoaderError("Memory ran out while photos were decoded: use --workers 0."))
        return
    except (AlexNetError, OSError) as error:
        connection.send(error)
        return
    try:
        with open(file, "wb", closefd=False) as memory:
            memory.write(photos.data.cast("B"))
        connection.send((photos.shape, True))
        parent = multiprocessing.parent_process()
        send_handle(connection, file, parent.pid if parent else None)
    finally:
        os.close(file)
