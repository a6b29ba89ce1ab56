"""A run that can be resumed: the parts that are done, and run.json, which counts them.

A part exists for the run once run.json counts it, so that a run may be killed at any moment: what
was begun and not counted is done again. Every part but the last has the same number of photos.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alexnet.files import atomic_path, naming, replace_file, write_json
from alexnet.machine import cores, cpu_model, versions
from serve.folders import LeftOut
from serve.formats import PART_ENDINGS, OutputError, Write, join, open_part
from serve.listing import read_listing, write_listing
from serve.reading import START, Place
from serve.records import Schema
from serve.shards import is_shard
from serve.target import Target

_RUN, _LISTING, _JOINED = "run.json", "inputs.list", "joined"
# Grows when other photos are found in a tar than before, and a place within it means another one.
_TARS = 2
_OURS = ("part-", f"{_RUN}.", f"{_LISTING}.")
_RUNTIMES = ("torch", "onnxruntime", "onnxruntime-gpu", "openvino")
_PACKAGES = (*_RUNTIMES, "numpy", "pillow", "pyarrow", "ray")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What is done."""

    parts: int = 0
    photos: int = 0
    failed: int = 0
    next: Place = START
    """Where in the listing the next part begins."""


class Run:
    """One run and its folder. `serve.run_folder.open_run` makes it and keeps others away."""

    def __init__(self, target: Target) -> None:
        self.target, self.folder = target, target.folder
        self.state: dict[str, Any] = {}
        """What run.json says; empty before `begin`."""
        self.progress = Progress()

    @property
    def is_on_disk(self) -> bool:
        """Whether the folder has a run.json."""
        return (self.folder / _RUN).is_file()

    @property
    def is_begun(self) -> bool:
        """Whether there is a listing, and a run.json that says what is labelled with what."""
        return bool(self.state)

    @property
    def is_finished(self) -> bool:
        """Whether all parts are there and nothing is to be done."""
        return self.state.get("state") == "finished"

    def begin(
        self,
        facts: Mapping[str, Any],
        entries: Iterable[str],
        *,
        left_out: LeftOut,
        each: Callable[[], object],
    ) -> None:
        """Write down what is to be labelled, `each` called for every entry, and `facts`.

        `left_out` is what the search for `entries` counts.

        Raises:
            InputError: as `serve.inputs.entries`.
        """
        count = shards = 0

        def counted() -> Iterator[str]:
            nonlocal count, shards
            for entry in entries:
                count, shards = count + 1, shards + is_shard(entry)
                each()
                yield entry

        digest = write_listing(self.folder / _LISTING, counted())
        listed: dict[str, Any] = {"entries": count, "shards": shards, "entries_sha256": digest}
        listed |= {"tars": _TARS, "folders_left_out": left_out.folders}
        self.state = {"state": "running", **facts, **listed, "sessions": []}
        self._save()

    def agree(self, facts: Mapping[str, Any]) -> None:
        """Add `facts` to run.json, or check them against what it says.

        Raises:
            OutputError: the run was begun with others.
        """
        others = [k for k, v in facts.items() if k in self.state and self.state[k] != v]
        if others:
            said = ", ".join(text for k in others for text in _changes(k, self.state[k], facts[k]))
            raise OutputError(
                f"The run in {self.folder} was begun with other settings: {said}. "
                "Resume it with its own, or write elsewhere."
            )
        self.state |= facts

    def check_place(self) -> None:
        """Refuse to go on within a tar in which an earlier version found other photos.

        Raises:
            OutputError: the next photo lies in one.
        """
        if self.progress.next[1] and self.state.get("tars") != _TARS:
            raise OutputError(
                f"The run in {self.folder} was begun by another version of alexnet, which found "
                "other photos in tars, and stands within one: remove the folder and label anew."
            )

    def start_session(self, facts: Mapping[str, Any]) -> None:
        """Note in run.json which machine and versions do the parts from here on, and `facts`."""
        session = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "from_part": self.progress.parts,
            "cpu": cpu_model(),
            "cores": cores(),
            "versions": versions(*_PACKAGES),
            **facts,
        }
        self.state["sessions"] = [*self.state["sessions"], session]
        self._save()

    def entries(self) -> Iterator[str]:
        """The listing."""
        return read_listing(self.folder / _LISTING)

    @contextmanager
    def part(self, schema: Schema) -> Iterator[Write]:
        """Yield a function that writes a row of the next part. `count` makes the part valid."""
        with (
            atomic_path(self._part(self.progress.parts)) as temporary,
            open_part(temporary, schema, format=self.target.format) as write,
        ):
            yield write

    def count(self, *, photos: int, failed: int, next: Place, folders: int = 0) -> None:
        """The next part is written and holds so many photos; `folders` of tars were left out."""
        done = self.progress
        self.progress = replace(
            done,
            parts=done.parts + 1,
            photos=done.photos + photos,
            failed=done.failed + failed,
            next=next,
        )
        self.state["folders_left_out"] = self.state.get("folders_left_out", 0) + folders
        self._save()

    def finish(self) -> None:
        """Put the result in its place: the joined file, or a run.json that says "finished"."""
        target, parts = self.target, [self._part(n) for n in range(self.progress.parts)]
        missing = next((part for part in parts if not part.is_file()), None)
        if missing is not None:
            raise OutputError(f"{missing} is gone: remove {self.folder} and label anew.")
        if target.keeps_parts:
            self.state["state"] = "finished"
            self._save()
            (self.folder / _LISTING).unlink(missing_ok=True)
            return
        joined = self.folder / _JOINED
        with naming(target.path):
            _remove(joined)
            join(parts, joined, format=target.format)
            if joined.is_file():
                replace_file(joined, target.path)
            else:
                if target.path.is_dir():
                    target.path.rmdir()  # it is empty, as it was at the beginning
                joined.replace(target.path)
        with suppress(OSError):  # the rows are in their place: what is left over does no harm
            self.remove()

    def remove(self, *, folder: bool = True) -> None:
        """Remove the run's files, and the folder; run.json first: the rest means nothing then."""
        (self.folder / _RUN).unlink(missing_ok=True)
        for path in self.folder.iterdir():
            if is_ours(path.name):
                _remove(path)
        if folder:
            with suppress(OSError):  # it holds something else by now
                self.folder.rmdir()

    def load(self) -> None:
        """Read run.json, and remove what a killed process was writing."""
        for left in self.folder.glob(".*.part"):
            if is_ours(left.name):
                left.unlink()
        try:
            state = json.loads((self.folder / _RUN).read_text("utf-8"))
            done = state.pop("done")
            at, members = done.pop("next")
            progress = Progress(**done, next=(int(at), int(members)))
        except FileNotFoundError:
            return
        except (ValueError, TypeError, KeyError) as error:
            raise OutputError(
                f"{self.folder / _RUN} is damaged or of another program: name another output."
            ) from error
        self.state, self.progress = state, progress
        for part in self.folder.glob("part-*"):
            number = re.fullmatch(r"part-(\d+)\.\w+", part.name)
            if number is not None and int(number[1]) >= progress.parts:
                part.unlink()  # it was written and not counted

    def _part(self, number: int) -> Path:
        return self.folder / f"part-{number:05}{PART_ENDINGS[self.target.format]}"

    def _save(self) -> None:
        done = self.progress.__dict__ | {"next": list(self.progress.next)}
        write_json(self.folder / _RUN, {"state": "", "done": done, **self.state})


def is_ours(name: str) -> bool:
    """Whether a run writes files of this name into its folder."""
    return name in (_RUN, _LISTING, _JOINED) or name.lstrip(".").startswith(_OURS)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    with suppress(FileNotFoundError):
        path.unlink()


def _changes(name: str, was: Any, now: Any) -> Iterator[str]:
    """What differs, field by field."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in {**was, **now}:
            if was.get(key) != now.get(key):
                yield from _changes(f"{name}.{key}", was.get(key), now.get(key))
    else:
        yield f"{name} (was {_short(was)}, is {_short(now)})"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
