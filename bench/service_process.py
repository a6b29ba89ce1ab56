"""A service in a process of its own: started, awaited, watched, and told to end."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from alexnet.console import progress
from bench.load import LoadError
from bench.process_tree import Watch

_LONGEST_START = 180.0  # seconds
_LONGEST_END = 30.0


class Service:
    """A running service."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        command: Sequence[str],
        *,
        log: Path,
        ready_path: str,
        url: str,
    ):
        self.command = list(command)
        self._process, self._log = process, log
        self.watch = Watch(process.pid)
        began = time.perf_counter()
        try:
            self._wait(url + ready_path, url)
        except BaseException:
            self.stop()
            raise
        self.start_seconds = time.perf_counter() - began
        """From the start of the process until it said that it is ready."""

    def _wait(self, ready: str, url: str) -> None:
        end = time.perf_counter() + _LONGEST_START
        with progress("Starting the service", total=None, unit=""):
            while time.perf_counter() < end:
                self.check()
                if _answers(ready):
                    return
                time.sleep(0.05)
        raise LoadError(
            f"The service at {url} was not ready after {_LONGEST_START:g} s.{self._last_words()}"
        )

    def check(self) -> None:
        """Find out whether it is there still.

        Raises:
            LoadError: it has ended; the sentence has the end of its log.
        """
        code = self._process.poll()
        if code is not None:
            how = f"with exit code {code}" if code >= 0 else f"by signal {-code}"
            raise LoadError(f"The service has ended {how}.{self._last_words()}")

    def stop(self) -> int | None:
        """SIGTERM, and the exit code; what does not end is killed, and has None."""
        self.watch.stop()
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_LONGEST_END)
        except subprocess.TimeoutExpired:
            return None
        finally:
            # Workers that outlive their parent are in its group.
            _kill_group(self._process.pid)
            self._process.wait()

    def said(self) -> str:
        """All that it has printed."""
        return self._log.read_text("utf-8", "replace")

    def _last_words(self) -> str:
        lines = self.said().strip().splitlines()
        return " Its last lines:\n" + "\n".join(lines[-5:]) if lines else ""


@contextmanager
def running(
    command: Sequence[str], *, url: str, ready_path: str, environment: Mapping[str, str]
) -> Iterator[Service]:
    """Start a service and wait until GET `ready_path` says that it is ready; end it in the end.

    Args:
        command: the program and its arguments.
        url: scheme, host and port.
        ready_path: any answer below 500 means ready: a service without such a path gives 404.
        environment: variables besides those of this process.

    Raises:
        LoadError: it can't be started, ends, or does not get ready.
    """
    with tempfile.TemporaryDirectory(prefix="alexnet-bench-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as file:
            try:
                process = subprocess.Popen(
                    command,
                    env={**os.environ, **environment},
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for us, who then end it
                )
            except OSError as error:
                raise LoadError(f"{command[0]} can't be started: {error.strerror}.") from error
        service = Service(process, command, log=log, ready_path=ready_path, url=url)
        try:
            yield service
        except LoadError:
            service.check()  # it has gone because its process has: that says more
            raise
        finally:
            service.stop()


def our_service(port: int) -> list[str]:
    """The command that serves this project's model on a port."""
    return [
        *(sys.executable, "-m", "bentoml", "serve", "serve.service:AlexNet"),
        "--port",
        str(port),
    ]


def their_command(text: str, port: int) -> list[str]:
    """A command line as a person wrote it, with `{port}` filled in."""
    return [part.replace("{port}", str(port)) for part in shlex.split(text)]


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _answers(address: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(address, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except (OSError, ValueError):
        return False


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
