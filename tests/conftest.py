"""What all tests share: a model to run, and in CI no test that skips without a good reason."""

import os

import numpy as np
import pytest
import torch

from alexnet.checkpoint import Checkpoint, save_checkpoint, shipped_model
from alexnet.config import mini
from alexnet.labels import ilsvrc2012
from alexnet.network import AlexNet


@pytest.fixture(scope="session")
def model_path(tmp_path_factory):
    """A small model of the preset `mini`: the one that ships, or an untrained one without it."""
    if shipped_model().exists():
        return shipped_model()
    config = mini()
    network = AlexNet(config).initialise(torch.Generator().manual_seed(0))
    # Untrained probabilities are all alike; larger weights let photos differ.
    network.fc8.weight.data *= 8
    checkpoint = Checkpoint(
        config=config,
        weights=network.state_dict(),
        labels=ilsvrc2012()[: config.network.classes],
        mean=np.full((config.input.size, config.input.size, 3), 120, np.float32),
    )
    path = tmp_path_factory.mktemp("model") / "mini.safetensors"
    save_checkpoint(checkpoint, path)
    return path


# What CI's machine can't have. Any other skip means that something was not installed there.
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
