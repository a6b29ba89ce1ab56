"""What all tests share: a model to run, and in CI no test that skips without a good reason."""

import os
import signal

import pytest

from alexnet.checkpoint import shipped_model

# A background job starts with interrupts ignored, and so would the programs that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Test processes share the cores: threads of one would wait for those of another. Set before torch
# is imported, and for the programs that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test fills the user's cache folder; those of the cache name one of their own.
os.environ["ALEXNET_CACHE"] = "off"


@pytest.fixture(scope="session")
def model_path():
    """The small model that ships."""
    return shipped_model()


SLOW = "tests/slow/"


def pytest_collection_modifyitems(config, items):
    """Leave out what is slow unless it is asked for, by `-m slow` or by its folder.

    What takes longest comes first, so that no process is left alone with it at the end.
    """
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker("slow")
    if not config.option.markexpr:
        left_out = [
            item
            for item in items
            if item.get_closest_marker("slow") and not item.nodeid.startswith(SLOW)
        ]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
    items.sort(key=lambda item: not item.nodeid.startswith(("tests/train/", "tests/slow/train/")))


# What CI's machine can't have: a GPU, and another user than root. Any other skip means that
# `make venv` did not install what a test needs, or that there is no browser, or no ../shared.
EXCUSES = ("GPU", "root reads every", "root may read every")


def pytest_terminal_summary(terminalreporter):
    """In CI (.ci/run), name the tests that were skipped for want of something."""
    for nodeid, reason in _unexcused(terminalreporter):
        terminalreporter.write_line(f"SKIPPED IN CI {nodeid}: {reason}", red=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    """In CI, a test that was skipped for want of something has failed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if exitstatus == 0 and _unexcused(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _unexcused(reporter):
    if not os.environ.get("ALEXNET_CI"):
        return []
    skips = [(report.nodeid, str(report.longrepr)) for report in reporter.stats.get("skipped", [])]
    return [skip for skip in skips if not any(excuse in skip[1] for excuse in EXCUSES)]
