"""Commands as a person at a terminal runs them."""

import os
import pty
import subprocess
import sys
import threading


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
