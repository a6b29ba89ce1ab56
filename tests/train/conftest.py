"""Prepared data sets that several tests train on."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image


def run(*arguments, check=True):
    """The real command, `alexnet-train ...`, as its own process."""
    done = subprocess.run(
        [sys.executable, "-m", "train", *map(str, arguments)], capture_output=True, text=True
    )
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="session")
def colors(tmp_path_factory):
    """Three classes that differ in colour: 48 training and 12 validation photos of 64 pixels."""
    folder = tmp_path_factory.mktemp("colors")
    random = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 4)):
        for channel, name in enumerate(("red", "green", "blue")):
            place = folder / "source" / split / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 120, (64, 64, 3), dtype=np.uint8)
                pixels[..., channel] += 110
                Image.fromarray(pixels).save(place / f"{number}.png")
    run("prepare", folder / "source", folder / "data", "--size", 64)
    return folder / "data"


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """scikit-learn's 1,797 handwritten digits, as photos of 64 pixels."""
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    folder = tmp_path_factory.mktemp("digits") / "data"
    run("prepare", "digits", folder, "--size", 64)
    return folder
