"""Labelling photos without a service: read, decoded, run and written in parts at the same time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

from alexnet.console import log, progress
from serve.folders import LeftOut
from serve.formats import OutputError, open_rows
from serve.inputs import entries
from serve.labeller import Labeller, open_labeller
from serve.parquet import check_parquet
from serve.parts import Run
from serve.pipeline import Extent, Note
from serve.reading import START, Place
from serve.records import RowMaker
from serve.run_folder import open_run
from serve.shards import is_shard
from serve.task import Labelling


@dataclass(frozen=True)
class Outcome:
    """What became of the photos."""

    labelled: int
    failed: int
    seconds: float
    """From the first photo to the last row; loading the model is not in it."""
    before: int = 0
    """Photos of these that an interrupted run had done."""
    folders_left_out: int = 0
    """Folders that were not searched: hidden ones, and those of thumbnails or trash."""


def label(task: Labelling) -> Outcome:
    """Label every photo of `task` and write the rows in the order of the inputs.

    Memory does not grow with their number. A photo that can't be read gets a row that says why, and
    changes no other photo's row.

    Raises:
        InputError: an input; nothing is written then.
        AlexNetError: the model or the output; whole parts are kept, for a run that resumes.
    """
    if task.output is None:
        return _label_to_stream(task)
    if task.output.format == "parquet":
        check_parquet()
    with open_run(task.output, resume=task.resume) as run, _explained(run):
        if run.is_begun:
            run.check_place()
            run.agree(task.facts())
            if task.batch is None:  # an earlier version may have chosen another
                task = replace(task, batch=run.state.get("batch"))
        else:
            left_out = LeftOut()
            with progress("Listing photos", total=None, unit="photos") as bar:
                found = entries(task.inputs, left_out)
                run.begin(task.facts(), found, left_out=left_out, each=bar.advance)
            _tell_left_out(left_out)
        with open_labeller(task) as labeller:
            part_rows = _part_rows(task, labeller.batch)
            facts = {"batch": labeller.batch, "part_photos": part_rows}
            run.agree(_model_facts(labeller.rows) | facts)
            done = run.progress
            if run.is_finished:
                passed = run.state.get("folders_left_out", 0)
                return Outcome(done.photos - done.failed, done.failed, 0.0, done.photos, passed)
            run.start_session(labeller.session)
            start = time.perf_counter()
            _write_parts(run, labeller, part_rows=part_rows)
            run.finish()
        seconds, before, done = time.perf_counter() - start, done.photos, run.progress
        passed = run.state["folders_left_out"]
        return Outcome(done.photos - done.failed, done.failed, seconds, before, passed)


def _part_rows(task: Labelling, batch: int) -> int:
    """Rows of a part: whole batches, so that no batch lies in two parts.

    Scores differ in the last digits with the photos beside them in a batch. As each part begins
    with a batch, a resumed run forms the batches of an uninterrupted one.
    """
    return -(-task.part_photos // batch) * batch


def _write_parts(run: Run, labeller: Labeller, *, part_rows: int) -> None:
    done, files = run.progress, run.state["entries"]
    extent = _extent(run, done.next) if run.state["shards"] else None
    total = files - done.photos if extent is None else None
    with (
        progress("Labelling", total=total, unit="photos") as bar,
        closing(labeller.label(run.entries(), done.next)) as labelled,
    ):
        note = Note(bar, failed=done.failed, files=files, extent=extent)
        while True:
            part = islice(labelled, part_rows)
            first = next(part, None)
            if first is None and run.progress.parts:
                return
            photos, failed, place, folders = 0, note.failed, done.next, 0
            with run.part(labeller.rows.schema) as write:
                for photo in chain([first] if first else [], part):
                    write(photo.row)
                    note.add(photo)
                    photos, place = photos + 1, photo.next
                    folders += photo.folders
            run.count(photos=photos, failed=note.failed - failed, next=place, folders=folders)


def _extent(run: Run, start: Place) -> Extent:
    """What is left of the run's listing."""
    shards = run.state["shards"] - sum(map(is_shard, islice(run.entries(), start[0])))
    photos = run.state["entries"] - start[0] - shards
    return Extent(photos=photos, shards=shards, start=start)


def _label_to_stream(task: Labelling) -> Outcome:
    files = shards = 0
    if task.inputs.are_countable:
        with progress("Listing photos", total=None, unit="photos") as bar:
            for entry in entries(task.inputs):
                files, shards = files + 1, shards + is_shard(entry)
                bar.advance()
    # Nobody knows how many photos a shard holds.
    extent = Extent(photos=files - shards, shards=shards) if shards else None
    total = None if shards else files or None
    photos, left_out = 0, LeftOut()
    with open_labeller(task) as labeller:
        start = time.perf_counter()
        with (
            open_rows(labeller.rows.schema, format=task.format, stream=task.stream) as write,
            progress("Labelling", total=total, unit="photos") as bar,
            closing(labeller.label(entries(task.inputs, left_out), START)) as labelled,
        ):
            note = Note(bar, files=files, extent=extent)
            for photo in labelled:
                write(photo.row)
                photos += 1
                left_out.folders += photo.folders
                note.add(photo)
    _tell_left_out(left_out)
    seconds, passed = time.perf_counter() - start, left_out.folders
    return Outcome(photos - note.failed, note.failed, seconds, folders_left_out=passed)


def _tell_left_out(left_out: LeftOut) -> None:
    for name in left_out.inputs:
        log(f"There are no photos in {name}.")
    if left_out.tars:
        log(
            f"Tars in folders are not read ({left_out.tars:,} here): name them by themselves, as "
            "in 'shards/*.tar'."
        )


@contextmanager
def _explained(run: Run) -> Iterator[None]:
    """Say after an error what is kept, and how to go on."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{run.target.path} could not be written: {error.strerror}. "
            + (_kept(run) or "Nothing was changed there.")
        ) from error
    except OutputError:
        raise
    except BaseException:
        if kept := _kept(run):
            log(kept)
        raise


def _kept(run: Run) -> str:
    """What is on the disk; a part that was written and not counted there is not among it."""
    with suppress(OSError, OutputError):
        run.load()
    if not (run.progress.parts and run.is_on_disk):
        return ""
    return (
        f"{run.progress.photos:,} photos are kept in {run.folder}: "
        "give the same command with --resume to go on."
    )


def _model_facts(rows: RowMaker) -> dict[str, Any]:
    facts = {name: getattr(rows, name) for name in ("model", "model_sha256", "backend", "views")}
    return {**facts, "columns": list(rows.schema)}
