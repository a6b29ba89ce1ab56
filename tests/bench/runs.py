"""alexnet-bench without the seconds that a new process takes."""

import os

from click.testing import CliRunner

from bench.cli import main

# All models in one process, one call right after the other: for tests of anything but times.
QUICK = ("--together", "--pause", "0")


def run_here(*arguments):
    """Exit code, stdout and stderr of a command line."""
    done = CliRunner().invoke(main, [*map(os.fspath, arguments)], prog_name="alexnet-bench")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr
