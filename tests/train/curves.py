"""Fifty steps of a recipe, to be compared with the losses that are committed in curves/.

`python -m tests.train.curves` writes them anew, after a change that is meant to move them.

In float64, since rounding in float32 is enough to move a loss by some percent within fifty steps.
Photos are made of flat blocks of 8x8 pixels, which every JPEG library decodes alike.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.train.conftest import run
from train.recipes import RECIPES

FOLDER = Path(__file__).parent / "curves"
STEPS = 50
# The rate of `modern` belongs to minibatches of 256 photos. In thirteen epochs the patience of
# `paper` would be of one, and its run over after six.
OWN = {
    "modern": ("--set=recipe.lr=0.001", "--set=recipe.bias_lr=0.001"),
    "paper": ("--set=recipe.schedule.patience=3",),
}


def make_data(folder):
    """48 training and 6 validation photos of three colours, prepared."""
    random = np.random.default_rng(2012)
    for split, count in (("train", 16), ("val", 2)):
        for channel, name in enumerate(("red", "green", "blue")):
            place = folder / "source" / split / name
            place.mkdir(parents=True)
            for number in range(count):
                blocks = random.integers(0, 180, (8, 8, 3), dtype=np.uint8)
                blocks[..., channel] += 50
                pixels = blocks.repeat(8, axis=0).repeat(8, axis=1)
                Image.fromarray(pixels).save(place / f"{number}.png")
    run("prepare", folder / "source", folder / "data", "--size", 64)
    return folder / "data"


def losses(recipe, data, out):
    """The losses of a recipe's whole course in twelve and a half epochs of four steps."""
    run(
        *("fit", "--preset=mini", "--recipe", recipe, "--stretch=13", "--max-steps", STEPS),
        *("--data", data, "--out", out, "--log-every=1", "--dtype=float64", "--seed=2012"),
        *("--set=recipe.batch=12", "--set=recipe.compiled=false"),
        *OWN.get(recipe, ()),
    )
    lines = (out / "steps.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def committed(recipe):
    return json.loads((FOLDER / f"{recipe}.json").read_text())


def main():
    with tempfile.TemporaryDirectory() as folder:
        data = make_data(Path(folder))
        for recipe in RECIPES:
            found = [float(f"{loss:.9g}") for loss in losses(recipe, data, Path(folder, recipe))]
            (FOLDER / f"{recipe}.json").write_text(json.dumps(found, indent=1) + "\n")
            print(recipe, found[0], found[-1], file=sys.stderr)


if __name__ == "__main__":
    main()
