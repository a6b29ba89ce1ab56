"""An answer as JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from alexnet.predictor import Prediction, Score
from serve.batcher import Answers
from serve.problems import Problem, photo_problem

_BEGINNING = 4096
_ADDRESS = re.compile(rb"\s*(?:[a-z][a-z0-9+.-]{1,20}://|data:|www\.)", re.IGNORECASE)


def results(photos: Sequence[bytes], answers: Answers) -> list[dict[str, Any]]:
    """An entry for each photo of a request, in their order.

    Raises:
        Problem: there is one photo only, and it can't be used.
    """
    found = [
        _result(photo, prediction)
        for photo, prediction in zip(photos, answers.predictions, strict=True)
    ]
    if len(found) == 1 and isinstance(found[0], Problem):
        raise found[0]
    return [
        {"error": result.to_dict()} if isinstance(result, Problem) else result for result in found
    ]


def scores_to_json(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Classes and how probable they are, as JSON values."""
    return [
        {
            "index": score.index,
            "label": score.label,
            "name": score.name,
            "probability": score.probability,
        }
        for score in scores
    ]


def timings(answers: Answers, *, read: float, predict: float) -> dict[str, float]:
    """Where the time went, in milliseconds; `read` and `predict` are seconds.

    Decoding, waiting and running are those of the photo that was answered last.
    """
    spent = {
        "read": read,
        "predict": predict,
        "decode": answers.decode,
        "wait": answers.wait,
        "run": answers.run,
    }
    return {f"{name}_ms": round(1000 * seconds, 3) for name, seconds in spent.items()}


def _result(photo: bytes, prediction: Prediction) -> dict[str, Any] | Problem:
    """The answer for one photo; `frames` and `note` are said of an animation only."""
    error = prediction.error
    if error is not None and error.code == "not_a_photo" and _ADDRESS.match(photo[:_BEGINNING]):
        detail = "This is an address. The service fetches nothing: send the photo itself."
        return Problem(415, "address_refused", detail)
    if error is not None:
        return photo_problem(error.code, str(error))
    result: dict[str, Any] = {
        "width": prediction.width,
        "height": prediction.height,
        "format": prediction.format,
        "predictions": scores_to_json(prediction.scores),
    }
    if prediction.frames is not None and prediction.frames > 1:
        result["frames"] = prediction.frames
        result["note"] = f"The first of {prediction.frames} frames was used."
    return result
