"""dataset.json: what a data set says of itself. It is written last: a folder with it is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from alexnet.errors import AlexNetError

FORMAT = "alexnet-dataset"
VERSION = 1
FACTS = "dataset.json"
UNFINISHED = ".prepare"
"""The folder in which `train/prepare.py` keeps what is not finished."""
SplitName = Literal["train", "val"]
SPLITS: tuple[SplitName, ...] = ("train", "val")


class DatasetError(AlexNetError):
    """A folder that is no data set of ours, or a damaged one."""


def read_facts(folder: Path) -> dict[str, Any]:
    """What the dataset.json of `folder` says.

    Raises:
        DatasetError: the folder is missing, foreign, unfinished or of a newer version.
    """
    path = folder / FACTS
    if not folder.is_dir():
        raise DatasetError(f"There is no data set {folder}: `alexnet-train prepare` makes one.")
    if not path.is_file():
        if (folder / UNFINISHED).exists():
            raise DatasetError(
                f"The preparation of {folder} is not finished: run the same `alexnet-train "
                "prepare` again, and it goes on where it stopped."
            )
        raise DatasetError(
            f"{folder} is no prepared data set (it has no {FACTS}): `alexnet-train prepare` makes "
            "one from folders of photos."
        )
    try:
        facts = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} can't be read: {error}.") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise DatasetError(f"{path} was not written by `alexnet-train prepare`.")
    version = facts.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise DatasetError(
            f"{folder} is a data set of version {version}, and this alexnet reads up to {VERSION}: "
            "install a newer alexnet."
        )
    return facts
