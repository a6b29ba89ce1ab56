"""What makes two prepared data sets the same, and whether a folder may be prepared into."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alexnet.config import InputConfig
from alexnet.errors import AlexNetError
from train.catalogue import Catalogue
from train.dataset import Dataset
from train.facts import FACTS, FORMAT, UNFINISHED, VERSION
from train.shards import QUALITY, SUBSAMPLING

PLAN = "plan.json"


class PrepareError(AlexNetError):
    """The folder for the data set holds something else."""


def make_plan(
    catalogue: Catalogue, input: InputConfig, *, shard_photos: int, max_pixels: int
) -> dict[str, Any]:
    """The facts of a data set that are known before any photo is decoded, as in dataset.json."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "source": catalogue.source,
        "photos_sha256": catalogue.digest(),
        "val_fraction": catalogue.val_fraction,
        "shard_photos": shard_photos,
        "size": input.size,
        "max_pixels": max_pixels,
        "resize": {
            "fit": input.fit,
            "filter": input.filter,
            "jpeg_quality": QUALITY,
            "jpeg_subsampling": SUBSAMPLING,
        },
        "classes": [{"wnid": label.wnid, "name": label.name} for label in catalogue.labels],
    }


def check_folder(folder: Path, plan: Mapping[str, Any]) -> bool:
    """Whether `folder` is finished; False when it is new, empty, or an unfinished one of `plan`.

    Raises:
        PrepareError: it holds something else.
        DatasetError: it holds a damaged data set.
    """
    begun = folder / UNFINISHED / PLAN
    if folder.exists() and not folder.is_dir():
        raise PrepareError(f"{folder} is a file: name a new folder for the data set.")
    if (folder / FACTS).exists():
        _check_same(folder, plan, Dataset(folder).facts)
        return True
    if begun.exists():
        _check_same(folder, plan, json.loads(begun.read_text("utf-8")))
    elif folder.exists() and {path.name for path in folder.iterdir()} - {UNFINISHED}:
        raise PrepareError(f"{folder} holds other files: name a new folder for the data set.")
    return False


def _check_same(folder: Path, plan: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Name the first difference that matters; the name of the source does not."""
    if found["version"] != plan["version"]:
        reason = f"is of version {found['version']}, and this alexnet writes {plan['version']}"
    elif found["size"] != plan["size"]:
        reason = f"has photos of {found['size']} pixels, not of {plan['size']}"
    elif found["resize"] != plan["resize"]:
        both = zip(found["resize"].items(), plan["resize"].values(), strict=True)
        name, old, new = next((name, old, new) for (name, old), new in both if old != new)
        reason = f"was resized with the {name} {old}, not {new}"
    elif found.get("max_pixels", plan["max_pixels"]) != plan["max_pixels"]:
        limits = found["max_pixels"] / 1e6, plan["max_pixels"] / 1e6
        reason = "has photos of up to {:g} megapixels, not of {:g}".format(*limits)
    elif found["photos_sha256"] != plan["photos_sha256"]:
        reason = f"was made of other photos or split differently (source: {found['source']})"
    elif found["shard_photos"] != plan["shard_photos"]:
        reason = f"has shards of {found['shard_photos']} photos, not of {plan['shard_photos']}"
    elif _names(found) != _names(plan):
        reason = "has other names for its classes"
    else:
        return
    raise PrepareError(f"{folder} {reason}: name another folder, or delete this one first.")


def _names(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(row["wnid"], row["name"]) for row in facts["classes"]]
