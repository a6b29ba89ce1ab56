"""What a run of `alexnet-label` is asked to do."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet.backends import Mode
from alexnet.config import Views
from alexnet.photo import MAX_PIXELS
from serve.formats import Format
from serve.inputs import Inputs
from serve.records import Naming
from serve.target import Target


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """What to label, with what, and where the rows go. Can be pickled."""

    inputs: Inputs
    output: Target | None
    """None: the rows go to `stream` as they come."""
    stream: Path | None = None
    """A device or a pipe; None is stdout."""
    format: Format = "csv"
    """Of the rows on stdout or another stream."""
    model: Path | None = None
    """None is the model that ships."""
    backend: str = "auto"
    views: Views | None = None
    device: str = "cpu"
    threads: int | None = None
    mode: Mode = "throughput"
    top_k: int | None = None
    """None is 5, or every class of a model that has fewer."""
    names: bool = False
    naming: Naming = "alexnet"
    probabilities: bool = False
    features: bool = False
    batch: int | None = None
    """None is 4 or 16 (`serve.labeller.batch_of`)."""
    part_photos: int = 10_000
    """Photos in a part, rounded up to whole batches."""
    decoders: int | None = None
    """Photos decoded at once; None is one per core."""
    readers: int = 16
    """URLs read at once."""
    fast: bool = False
    max_pixels: int = MAX_PIXELS
    resume: bool = False
    ray: str | None = None
    """Address of the Ray cluster that does the work, `local` for one of this machine; None is this
    process."""

    def facts(self) -> dict[str, Any]:
        """What shapes the rows, as JSON values, for run.json; the model has its own."""
        shaping = ("top_k", "names", "naming", "probabilities", "features")
        numeric = ("device", "threads", "mode", "fast", "max_pixels")
        facts = {name: getattr(self, name) for name in (*shaping, *numeric)}
        inputs = dataclasses.asdict(self.inputs)
        if self.inputs.delimiter is None:
            del inputs["delimiter"]  # runs that were begun before there was the option have none
        facts |= {"inputs": inputs, "working_folder": str(Path.cwd())}
        if self.output is not None:
            facts["format"] = self.output.format
        plain: dict[str, Any] = json.loads(json.dumps(facts))
        return plain
