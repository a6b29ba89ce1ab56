"""The figures of one checkpoint, each drawn where what it needs is there; all numbers together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet.backends import open_backend
from alexnet.checkpoint import load_checkpoint
from alexnet.errors import AlexNetError
from alexnet.figures import save_figure, styled
from alexnet.files import sha256_of
from train.dataset import Dataset
from train.evaluate import check_input, check_labels
from train.figures import answers, confusion, curves, kernels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BATCH = 32
METRICS = "metrics.jsonl"


class Gallery:
    """Draws the figures of a checkpoint into a folder.

    Raises:
        AlexNetError: there is no such checkpoint, or matplotlib is not installed.
    """

    def __init__(self, path: Path, *, out: Path, ending: str) -> None:
        self.path, self.out, self.ending = path, out, ending
        self.checkpoint = load_checkpoint(path)
        self.name = f"{self.checkpoint.config.preset}, {path.parent.name}/{path.name}".rstrip("/")
        self.facts: dict[str, Any] = {
            "checkpoint": str(path),
            "sha256": sha256_of(path),
            "drawn": [],
            "missing": {},
        }
        """What figures.json holds: numbers by figure, and in `missing` a sentence for each that
        could not be drawn."""

    def kernels(self) -> None:
        """Figure 3; missing where conv1 does not see colours."""
        try:
            columns = kernels.conv1_kernels(self.checkpoint)
        except AlexNetError as error:
            self.facts["missing"]["kernels"] = str(error)
            return
        facts = self.facts["kernels"] = kernels.colour_facts(columns)
        with styled():
            figure = kernels.draw(columns, facts, title=f"Kernels of conv1 ({self.name})")
            self._save("kernels", figure)

    def curves(self, run: Path) -> None:
        """Learning curves; missing where the run, a folder or its metrics, has left none."""
        lines = curves.read_metrics(run if run.is_file() else run / METRICS)
        if not lines:
            self.facts["missing"]["curves"] = (
                f"No learning curves: {run} has no epoch in {METRICS}; name the run's folder "
                "with --run."
            )
            return
        facts = self.facts["curves"] = curves.curves(lines)
        with styled():
            self._save("curves", curves.draw(facts, title=f"Learning curves ({run.stem})"))

    def of_photos(
        self, data: Path | None, *, seed: int, views: str, classes: int, device: str
    ) -> None:
        """Figure 4 and the confusions; missing without validation photos.

        Raises:
            AlexNetError: the photos are not such as the network takes, or of other classes.
        """
        if data is None:
            self._without_photos("name prepared photos with --data")
            return
        dataset = Dataset(data)
        check_input(self.checkpoint.config.input, dataset, name=str(self.path))
        check_labels(self.checkpoint.labels, dataset.labels)
        split = dataset.split("val")
        if not len(split):
            self._without_photos(f"{data} has no validation photos")
            return
        backend = open_backend(
            self.path, views="ten" if views == "ten" else "centre", device=device
        )
        words = "centre view" if views == "centre" else "ten views"
        chosen = answers.drawn(split, seed=seed)
        found = answers.answers(backend, split, chosen)
        self.facts["answers"] = {"data": str(data), "seed": seed, "views": views, "photos": found}
        labels = self.checkpoint.labels
        with styled():
            crops = answers.centre_crops(split.photos(chosen), self.checkpoint.config.input)
            title = f"Answers of {self.name} ({words}); orange: the correct class"
            self._save("answers", answers.draw(crops, found, labels, title=title))
        given, evaluation = confusion.predicted(backend.run, split, batch=_BATCH)
        facts = confusion.confusion(split.labels, given, labels, count=classes)
        about = {"data": str(data), "views": views, **evaluation.summary()}
        self.facts["confusion"] = {**about, **facts}
        with styled():
            title = f"The {len(facts['worst'])} classes with the most errors ({words})"
            self._save("confusion", confusion.draw(facts, labels, title=title))

    def _without_photos(self, reason: str) -> None:
        for name in ("answers", "confusion"):
            self.facts["missing"][name] = f"No answers and no confusions: {reason}."

    def _save(self, name: str, figure: Figure) -> None:
        file = f"{name}.{self.ending}"
        save_figure(figure, self.out / file)
        self.facts["drawn"].append(file)
