"""ImageNet's preparation is killed and goes on."""

import os
import signal
import subprocess
import sys

import pytest

from alexnet.errors import AlexNetError
from tests.train.conftest import run
from tests.train.folders import contents, make
from tests.train.test_ilsvrc import published, train_photos
from train.dataset import Dataset


def test_a_killed_run_goes_on_and_gives_the_same_bytes(tmp_path):
    folder = published(tmp_path / "imagenet", train=train_photos(200, size=(400, 300)))
    make(folder, tmp_path / "whole", shard_photos=40)
    options = ("--size=16", "--shard-photos=40", "--workers=1")
    command = ["prepare", folder, tmp_path / "data", *options]
    process = subprocess.Popen([sys.executable, "-m", "train", *map(str, command)])
    while not (tmp_path / "data" / "train-000001.tar").exists():
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(AlexNetError, match="not finished"):
        Dataset(tmp_path / "data")
    kept = (tmp_path / "data" / "train-000000.tar").stat().st_mtime_ns
    assert {path.name for path in (tmp_path / "data" / ".prepare").iterdir()} >= {"plan.json"}
    assert not list((tmp_path / "data" / ".prepare").glob("*ILSVRC*")), "unpacked"
    assert "are there from an earlier run" in run(*command).stderr
    assert (tmp_path / "data" / "train-000000.tar").stat().st_mtime_ns == kept
    assert contents(tmp_path / "data") == contents(tmp_path / "whole")
