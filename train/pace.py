"""How fast this machine trains a network and prepares photos, measured on made photos."""

from __future__ import annotations

import io
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alexnet.config import InputConfig
from train.cost import Pace
from train.mesh import Mesh
from train.prepare import prepare
from train.recipe import RunConfig
from train.shards import store_photo
from train.speed import measure

_SIZE = (500, 375)
"""Of a made photo: an ordinary one of ImageNet."""
_PREPARED = 100


def measured_pace(
    run: RunConfig, *, mesh: Mesh, workers: int, seconds: float, batch: int | None = None
) -> tuple[Pace, dict[str, Any]]:
    """The pace of this process alone, and what `train/speed.py` said of it.

    Args:
        run: the network and its recipe.
        mesh: one process.
        workers: processes that decode for it; 0: a thread does.
        seconds: how long to measure steps.
        batch: photos of a measured step; None: the recipe's. Other minibatches are taken to run at
            as many photos a second.

    Raises:
        AlexNetError: the network can't be trained here.
    """
    batch = run.recipe.batch if batch is None else min(batch, run.recipe.batch)
    smaller = replace(run, recipe=replace(run.recipe, batch=batch))
    with tempfile.TemporaryDirectory(prefix="alexnet-made-") as folder:
        place = Path(folder)
        made = _made_photo()
        # A class's folder for each output, and at least a minibatch of photos.
        classes = run.network.classes
        each = max(1, -(-batch // classes))
        stored = store_photo(made, run.input).jpeg
        for number in range(classes):
            (place / "source" / f"{number:05}").mkdir(parents=True)
            for photo in range(each):
                (place / "source" / f"{number:05}" / f"{photo:04}.jpg").write_bytes(stored)
        dataset = prepare(
            str(place / "source"), place / "data", input=_stored(run.input), val_fraction=0.0
        )
        found = measure(smaller, dataset, mesh=mesh, workers=workers, seconds=seconds)
    found["data"] = f"{classes * each} made photos"
    photos = found["photos_per_second"]["both"]["median"]
    pace = Pace(
        steps_per_second=photos / run.recipe.batch,
        prepared_per_second=_prepared_per_second(made, run.input),
    )
    return pace, found


def _stored(input: InputConfig) -> InputConfig:
    """As the command `prepare` describes photos."""
    return InputConfig(size=input.size, crop=input.size, fit=input.fit, filter=input.filter)


def _made_photo() -> bytes:
    """A JPEG of smooth random colours, of about as many bytes as a photo of its size."""
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (_SIZE[1] // 3, _SIZE[0] // 3, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(small).resize(_SIZE, Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def _prepared_per_second(photo: bytes, input: InputConfig) -> float:
    """Photos that a core reads, resizes and writes in a second of its own time."""
    store_photo(photo, input)
    began = time.thread_time()
    for _ in range(_PREPARED):
        store_photo(photo, input)
    return _PREPARED / (time.thread_time() - began)
