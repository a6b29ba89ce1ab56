"""Make a data set of photos: the folder that `train/dataset.py` reads.

The work in progress lies in the hidden folder .prepare of the data set: unpacked archives, the
shard that is being written, and the statistics of each finished shard. A run that was killed goes
on after the last finished shard. dataset.json is written last, and .prepare is removed.
"""

from __future__ import annotations

import fcntl
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from alexnet.color import color_pca_from_moments, color_pca_to_dict
from alexnet.config import InputConfig
from alexnet.console import Progress, log, progress
from alexnet.files import atomic_path, write_json, write_text
from alexnet.photo import MAX_PIXELS
from train.catalogue import Catalogue, Item, make_catalogue
from train.dataset import COLOR_PCA, INDEX, MEAN, REJECTED, Dataset
from train.facts import FACTS, SPLITS, UNFINISHED, SplitName
from train.ilsvrc import read_devkit
from train.index import write_index
from train.listing import Rejection, SourceError
from train.plan import PLAN, PrepareError, check_folder, make_plan
from train.shards import Shard, batch_size, write_shard
from train.sources import open_source
from train.workers import Result, store_all

SHARD_PHOTOS = 10_000
SHARD_BYTES = 512 << 20


def prepare(
    place: str,
    folder: Path,
    *,
    input: InputConfig,
    val: str | None = None,
    val_fraction: float | None = None,
    names: Path | None = None,
    devkit: Path | None = None,
    as_classes: bool = False,
    shard_photos: int | None = None,
    max_pixels: int = MAX_PIXELS,
    workers: int = 1,
) -> Dataset:
    """Prepare the photos of `place` as a data set in `folder`: `find_photos`, then `store_photos`.

    Args:
        place, val, val_fraction, names, devkit, as_classes: see `find_photos`.
        folder, input, shard_photos, max_pixels, workers: see `store_photos`.

    Raises:
        AlexNetError: the source gives no data set, or `folder` holds something else.
        OSError: a file can't be read or written; the next run goes on from there.
    """
    catalogue = find_photos(
        place,
        folder,
        val=val,
        val_fraction=val_fraction,
        names=names,
        devkit=devkit,
        as_classes=as_classes,
    )
    return store_photos(
        catalogue,
        folder,
        input=input,
        shard_photos=shard_photos,
        max_pixels=max_pixels,
        workers=workers,
    )


def find_photos(
    place: str,
    folder: Path,
    *,
    val: str | None = None,
    val_fraction: float | None = None,
    names: Path | None = None,
    devkit: Path | None = None,
    as_classes: bool = False,
) -> Catalogue:
    """List the photos of `place` for a data set in `folder`, which is not written to.

    Args:
        place: where the photos are, see `open_source`.
        folder: of the data set; packed archives are to be unpacked below it.
        val: where the validation photos are; None: in `place`.
        val_fraction, names, as_classes: see `make_catalogue`.
        devkit: ImageNet's development kit, packed or unpacked; None: one in `place`, if any.

    Raises:
        AlexNetError: the source gives no data set.
        OSError: a file can't be read.
    """
    work = folder / UNFINISHED
    kit = None if devkit is None else read_devkit(devkit)
    source = open_source(place, spool=work, devkit=kit)
    val_source = None if val is None else open_source(val, spool=work, devkit=source.devkit)
    return make_catalogue(
        source,
        val_source=val_source,
        val_fraction=val_fraction,
        names=names,
        as_classes=as_classes,
    )


def store_photos(
    catalogue: Catalogue,
    folder: Path,
    *,
    input: InputConfig,
    shard_photos: int | None = None,
    max_pixels: int = MAX_PIXELS,
    workers: int = 1,
) -> Dataset:
    """Store the photos of a catalogue as a data set in `folder`.

    The same photos give the same bytes, whatever their order on disk and the number of workers. A
    folder that was finished with the same photos and options is left as it is.

    Args:
        catalogue: the photos.
        folder: new, empty, or left by a run of the same photos and options.
        input: side, fit and filter of the stored photos.
        shard_photos: photos in a shard; None: 10,000, or as many as give about 512 MB.
        max_pixels: width times height of the largest photo that is decoded.
        workers: processes that decode photos.

    Raises:
        AlexNetError: no training photo can be read, or `folder` holds something else.
        OSError: a file can't be read or written; the next run goes on from there.
    """
    work = folder / UNFINISHED
    if shard_photos is None:  # at quality 95 a photo takes about a byte a pixel
        shard_photos = min(SHARD_PHOTOS, max(1, SHARD_BYTES // input.size**2))
    plan = make_plan(catalogue, input, shard_photos=shard_photos, max_pixels=max_pixels)
    if check_folder(folder, plan):
        log(f"{folder} is complete: nothing is left to do.")
        if not work.exists():
            return Dataset(folder)
    with _locked(work):
        if not check_folder(folder, plan):
            write_json(work / PLAN, plan)
            for spool in catalogue.spools:
                spool.fill()
            shards = _plan_shards(catalogue, shard_photos)
            _write_shards(shards, folder, input=input, max_pixels=max_pixels, workers=workers)
            _finish(shards, folder, plan=plan, rejected=catalogue.rejected)
        shutil.rmtree(work)
    return Dataset(folder)


@contextmanager
def _locked(work: Path) -> Iterator[None]:
    """Keep another run out of the folder for as long as this one lives."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PrepareError(f"Another run is preparing {work.parent}: wait for it.") from error
        yield


@dataclass(frozen=True)
class _ShardPlan:
    """A shard to be written."""

    name: str
    split: SplitName
    first: int
    """Position of its first photo in the split."""
    items: Sequence[Item]

    def statistics(self, folder: Path) -> Path:
        return folder / UNFINISHED / f"{self.name}.npz"

    def finished(self, folder: Path) -> bool:
        return self.statistics(folder).exists() and (folder / self.name).exists()


def _plan_shards(catalogue: Catalogue, photos: int) -> list[_ShardPlan]:
    return [
        _ShardPlan(f"{split}-{number:06}.tar", split, first, items[first : first + photos])
        for split, items in catalogue.splits.items()
        for number, first in enumerate(range(0, len(items), photos))
    ]


def _write_shards(
    shards: Sequence[_ShardPlan],
    folder: Path,
    *,
    input: InputConfig,
    max_pixels: int,
    workers: int,
) -> None:
    """Write the shards that are not finished yet."""
    missing = [shard for shard in shards if not shard.finished(folder)]
    if len(missing) < len(shards):
        log(f"{len(shards) - len(missing)} of {len(shards)} shards are there from an earlier run.")
    size = batch_size(input.size)
    batches = [
        shard.items[start : start + size]
        for shard in missing
        for start in range(0, len(shard.items), size)
    ]
    unfinished = folder / UNFINISHED / "shard.tar"
    with (
        progress("Preparing", total=sum(map(len, batches)), unit="photos") as bar,
        closing(store_all(batches, input, max_pixels=max_pixels, workers=workers)) as results,
    ):
        counted = _counted(results, bar)
        for shard in missing:
            part = islice(counted, math.ceil(len(shard.items) / size))
            facts = write_shard(unfinished, part, first=shard.first, size=input.size)
            facts.save(shard.statistics(folder))
            unfinished.replace(folder / shard.name)


def _counted(results: Iterator[Result], bar: Progress) -> Iterator[Result]:
    for items, batch in results:
        bar.advance(len(items))
        yield items, batch


def _finish(
    shards: Sequence[_ShardPlan],
    folder: Path,
    *,
    plan: Mapping[str, Any],
    rejected: Sequence[Rejection],
) -> None:
    """Write all that is known once every shard is there; dataset.json comes last."""
    done = [Shard.load(shard.statistics(folder)) for shard in shards]
    lost = sorted([*rejected, *(row for shard in done for row in shard.rejected)])
    train = [facts for shard, facts in zip(shards, done, strict=True) if shard.split == "train"]
    count = sum(len(shard.label) for shard in train)
    if not count:
        raise SourceError(f"No training photo can be read. {lost[0].name}: {lost[0].sentence}")
    sums = np.sum([shard.sums for shard in train], axis=0)
    products = np.sum([shard.products for shard in train], axis=0)
    pca = color_pca_from_moments(count * plan["size"] ** 2, sums.sum(axis=(0, 1)), products)
    photos = [len(shard.label) for shard in done]
    index = {
        "split": np.repeat([SPLITS.index(shard.split) for shard in shards], photos),
        "shard": np.repeat(np.arange(len(shards)), photos),
        **{
            name: np.concatenate([getattr(shard, name) for shard in done])
            for name in ("offset", "length", "label")
        },
    }
    with atomic_path(folder / INDEX) as path:
        write_index(path, index)
    with atomic_path(folder / MEAN) as path, path.open("wb") as file:
        np.save(file, (sums / count).astype(np.float32))
    write_json(folder / COLOR_PCA, color_pca_to_dict(pca))
    write_text(folder / REJECTED, _rejected_tsv(lost))
    write_json(folder / FACTS, {**plan, **_facts(shards, done, index, plan), "left_out": len(lost)})


def _facts(
    shards: Sequence[_ShardPlan],
    done: Sequence[Shard],
    index: Mapping[str, Any],
    plan: Mapping[str, Any],
) -> dict[str, Any]:
    """What dataset.json says beyond the plan."""
    counts = {
        split: np.bincount(
            index["label"][index["split"] == number], minlength=len(plan["classes"])
        ).tolist()
        for number, split in enumerate(SPLITS)
    }
    for row, train in zip(plan["classes"], counts["train"], strict=True):
        if not train:
            log(f"Warning: no training photo of the class {row['wnid']} can be read.")
    return {
        "classes": [
            {**row, "train": train, "val": val}
            for row, train, val in zip(plan["classes"], *counts.values(), strict=True)
        ],
        "counts": {split: sum(counts[split]) for split in SPLITS},
        "stored_as_they_were": sum(facts.verbatim for facts in done),
        "shards": [
            {
                "name": shard.name,
                "photos": len(facts.label),
                "bytes": facts.bytes,
                "sha256": facts.sha256,
            }
            for shard, facts in zip(shards, done, strict=True)
        ],
        "made_with": {"pillow": PIL.__version__},
    }


def _rejected_tsv(rows: Sequence[Rejection]) -> str:
    escapes = str.maketrans({"\t": r"\t", "\n": r"\n", "\r": r"\r"})
    lines = ["\t".join(cell.translate(escapes) for cell in row) for row in rows]
    text = "\n".join(["path\tcode\tsentence", *lines]) + "\n"
    return text.encode("utf-8", "backslashreplace").decode()
