"""The rows of a labelling: a photo's best classes, or why it has none."""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from alexnet.backends import Backend
from alexnet.predictor import Prediction

Naming = Literal["alexnet", "timm"]
"""Whose names the columns have."""
Kind = Literal["text", "integer", "real", "reals"]
"""What a column holds; `reals` is a list of numbers for each photo."""
Schema = dict[str, Kind]
"""Column to kind, in order."""
Value = str | int | float | npt.NDArray[np.float32] | None
Row = dict[str, Value]
"""Column to value; None is an empty CSV cell, a JSON null, and a null in Parquet."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, kw_only=True)
class RowMaker:
    """Predictions to rows. All rows of one maker have the same columns. Can be pickled."""

    top_k: int
    names: bool = False
    """Write class names for people in the place of WordNet ids."""
    naming: Naming = "alexnet"
    probabilities: bool = False
    """Add a column with the probabilities of all classes."""
    features: bool = False
    """Add a column with fc7 after its ReLU, averaged over the views."""
    model: str
    model_sha256: str
    backend: str
    views: str

    @classmethod
    def of(
        cls,
        backend: Backend,
        *,
        top_k: int,
        names: bool = False,
        naming: Naming = "alexnet",
        probabilities: bool = False,
        features: bool = False,
    ) -> RowMaker:
        """A maker whose rows name the model that `backend` runs."""
        return cls(
            top_k=top_k,
            names=names,
            naming=naming,
            probabilities=probabilities,
            features=features,
            model=readable(backend.info.path.name),
            model_sha256=backend.info.sha256,
            backend=backend.name,
            views=backend.info.views,
        )

    @functools.cached_property
    def schema(self) -> Schema:
        """The columns."""
        lists: Schema = {}
        if self.probabilities:
            lists["probabilities"] = "reals"
        if self.features:
            lists["features"] = "reals"
        if self.naming == "timm":
            return {"filename": "text", **self._timm_columns(), "error": "text", **lists}
        best: Schema = {}
        for k in range(1, self.top_k + 1):
            best |= {f"label_{k}": "text", f"score_{k}": "real"}
        return {
            "path": "text",
            "status": "text",
            "error_code": "text",
            "error_message": "text",
            "index": "integer",
            "label": "text",
            "score": "real",
            **best,
            "width": "integer",
            "height": "integer",
            "model": "text",
            "model_sha256": "text",
            "backend": "text",
            "views": "text",
            **lists,
        }

    def row(self, path: str, prediction: Prediction) -> Row:
        """The row of one photo."""
        row: Row = dict.fromkeys(self.schema)
        if prediction.error is None and self.probabilities:
            row["probabilities"] = prediction.probabilities
        if prediction.error is None and self.features:
            row["features"] = prediction.features
        if self.naming == "timm":
            return row | self._timm_row(path, prediction)
        row["path"] = readable(path)
        if prediction.error is not None:
            row["status"] = "error"
            row["error_code"] = prediction.error.code
            row["error_message"] = readable(str(prediction.error))
        else:
            row["status"] = "ok"
            row["width"], row["height"] = prediction.width, prediction.height
            for k, score in enumerate(prediction.scores, 1):
                row[f"label_{k}"] = score.name if self.names else score.label
                row[f"score_{k}"] = six_digits(score.probability)
            row["index"] = prediction.scores[0].index
            row["label"], row["score"] = row["label_1"], row["score_1"]
        row["model"], row["model_sha256"] = self.model, self.model_sha256
        row["backend"], row["views"] = self.backend, self.views
        return row

    # timm's inference.py with --fullname, --include-index and --results-separate-col [commit
    # 0041cb7, inference.py:330-380]: numbers begin with 0, and one class has none.
    def _timm_columns(self) -> Schema:
        kinds: Schema = {"index": "integer", "label": "text", "prob": "real"}
        return {
            f"{name}{end}": kind for name, kind in kinds.items() for end in _timm_ends(self.top_k)
        }

    def _timm_row(self, path: str, prediction: Prediction) -> Row:
        row: Row = {"filename": readable(path)}
        if prediction.error is not None:
            row["error"] = readable(str(prediction.error))
        for end, score in zip(_timm_ends(self.top_k), prediction.scores, strict=False):
            row[f"index{end}"] = score.index
            row[f"label{end}"] = score.name if self.names else score.label
            row[f"prob{end}"] = six_digits(score.probability)
        return row


def _timm_ends(top_k: int) -> list[str]:
    return [""] if top_k == 1 else [f"_{k}" for k in range(top_k)]


def six_digits(value: float) -> float:
    """`value` rounded to six significant digits, what a float32 holds: 0.123456789 -> 0.123457."""
    return float(f"{value:.6g}")


def readable(text: str) -> str:
    r"""`text` as valid UTF-8: a byte of a file name that is none is written as `\xNN`."""
    return os.fsencode(text).decode("utf-8", errors="backslashreplace")


def one_line(text: str) -> str:
    r"""`text` in one line for people: `readable`, and characters that control as `\n`, `\x1b`."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), readable(text))
