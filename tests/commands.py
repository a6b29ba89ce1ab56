"""Commands as a person runs them, in this process or at a terminal."""

import contextlib
import importlib
import io
import os
import pty
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path


def on_terminal(module, *arguments, **options):
    """What `python -m module` draws on a terminal, which is its stderr; it must end with 0."""
    leader, follower = pty.openpty()
    drawn = []

    def read():
        try:
            while data := os.read(leader, 4096):
                drawn.append(data)
        except OSError:  # Linux's way to say that the other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        subprocess.run(
            [sys.executable, "-m", module, *map(os.fspath, arguments)],
            **{
                "env": {**os.environ, "TERM": "xterm", "OMP_NUM_THREADS": "1"},
                "stdout": subprocess.DEVNULL,
                "stderr": follower,
                "check": True,
                "timeout": 300,
                **options,
            },
        )
    finally:
        os.close(follower)
        reader.join()
        os.close(leader)
    return b"".join(drawn).decode()


def here(module, *arguments, stdin=b""):
    """`module`'s command `main` run in this process, as `subprocess.run` would return it.

    A process of its own costs three seconds of imports. What the command changes of this one is
    put back: signals, words of the command line, where it is.
    """
    name = "label" if module == "serve.label" else module.split(".")[0]
    words = [os.fspath(word) if isinstance(word, os.PathLike) else str(word) for word in arguments]
    handlers = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    argv, given, folder = sys.argv, sys.stdin, Path.cwd()
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    code = 0
    try:
        sys.argv = [module, *words]
        with (
            tempfile.TemporaryFile() as typed,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            typed.write(stdin)
            typed.seek(0)
            sys.stdin = io.TextIOWrapper(typed, "utf-8")
            main = importlib.import_module(module).main
            main(words, prog_name=f"alexnet-{name}")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv, sys.stdin = argv, given
        os.chdir(folder)
        for one, handler in handlers.items():
            signal.signal(one, handler)
    said = [stream.buffer.getvalue().decode("utf-8", "surrogateescape") for stream in (out, err)]
    return subprocess.CompletedProcess([module, *words], code, *said)
