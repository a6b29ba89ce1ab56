"""What each view says by itself, before the average: the answer's part for `views=each`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alexnet.backends.base import ArtifactInfo, Backend, ViewsBackend
from alexnet.predictor import Prediction, top_scores
from serve.answer import scores_to_json
from serve.problems import Problem

MOST_NAMES = 50_000
"""Classes that one answer names: all 1,000 of 50 photos, or of 4 photos and their ten views each.
They are 5 MB, and the event loop stands still for 0.1 s; 32 photos and views took 3 s."""


def can_tell_views(backend: Backend) -> bool:
    """Whether the backend knows what each view says.

    Exported graphs average inside, and dense answers are of the whole photo.
    """
    return isinstance(backend, ViewsBackend) and backend.info.views != "dense"


def check_views(backend: Backend) -> None:
    """Refuse `views=each` where the backend does not know.

    Raises:
        Problem: `views_unavailable`.
    """
    if backend.info.views == "dense":
        raise Problem(
            422,
            "views_unavailable",
            "The model answers for the whole photo (dense), which has no views to tell apart: ask "
            "without views=each.",
        )
    if not can_tell_views(backend):
        raise Problem(
            422,
            "views_unavailable",
            f"The model file averages its views inside, so that the backend {backend.name} can't "
            "tell them apart: ask without views=each, or serve a checkpoint.",
        )


def check_size(photos: int, top_k: int, info: ArtifactInfo, *, each_view: bool) -> None:
    """Refuse what would name too many classes, over all photos and views.

    Raises:
        Problem: `answer_too_large`.
    """
    answers = photos
    if each_view:
        from alexnet.views import views_of  # here, because it imports PyTorch

        answers *= 1 + len(views_of(info.config.input, info.views))
    names = answers * min(top_k, len(info.labels))
    if names > MOST_NAMES:
        raise Problem(
            422,
            "answer_too_large",
            f"The answer would name {names} classes, and {MOST_NAMES} at most are told at once: "
            "send fewer photos, take a smaller top_k, or ask without views=each.",
        )


def add_views(
    results: Sequence[dict[str, Any]], predictions: Sequence[Prediction], info: ArtifactInfo
) -> None:
    """Give each answered photo its `views`: box, mirrored, and as many classes as the photo has.

    A box is [y, x, side], in pixels of the square of `input.size` to which a photo is fitted
    (GET /v1/model). A mirrored view is this box, turned left to right after it is cut.
    """
    from alexnet.views import views_of  # here, because it imports PyTorch

    views = views_of(info.config.input, info.views)
    for result, prediction in zip(results, predictions, strict=True):
        if prediction.views is None:
            continue
        result["views"] = [
            {
                "box": [view.y, view.x, info.config.input.crop],
                "mirrored": view.mirrored,
                "predictions": scores_to_json(
                    top_scores(row, info.labels, top_k=len(prediction.scores))
                ),
            }
            for view, row in zip(views, prediction.views, strict=True)
        ]
